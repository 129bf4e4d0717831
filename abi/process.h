// Constants of clone(2), wait(2), prctl(2), arch_prctl(2) and pidfd_open(2) on Linux x86-64.
#pragma once

#include <cstdint>

namespace rampart::abi {

// clone, unshare.
inline constexpr uint64_t kCsignal = 0xff, kCloneNewtime = 0x80, kCloneVm = 0x100, kCloneFs = 0x200, kCloneFiles = 0x400, kCloneSighand = 0x800,
                          kClonePidfd = 0x1000, kClonePtrace = 0x2000, kCloneVfork = 0x4000, kCloneParent = 0x8000, kCloneThread = 0x10000,
                          kCloneNewns = 0x20000, kCloneSysvsem = 0x40000, kCloneSettls = 0x80000, kCloneParentSettid = 0x100000,
                          kCloneChildCleartid = 0x200000, kCloneDetached = 0x400000, kCloneUntraced = 0x800000, kCloneChildSettid = 0x1000000,
                          kCloneNewcgroup = 0x2000000, kCloneNewuts = 0x4000000, kCloneNewipc = 0x8000000, kCloneNewuser = 0x10000000,
                          kCloneNewpid = 0x20000000, kCloneNewnet = 0x40000000, kCloneIo = 0x80000000u, kCloneClearSighand = 0x100000000,
                          kCloneIntoCgroup = 0x200000000;
inline constexpr uint64_t kCloneNamespaces =
    kCloneNewtime | kCloneNewns | kCloneNewcgroup | kCloneNewuts | kCloneNewipc | kCloneNewuser | kCloneNewpid | kCloneNewnet;

// struct clone_args of clone3, as of Linux 5.7 (88 bytes).
struct CloneArgs {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
inline constexpr uint64_t kCloneArgsSizeVer0 = 64;
static_assert(sizeof(CloneArgs) == 88);

// wait4, waitid.
inline constexpr uint32_t kWnohang = 1, kWuntraced = 2, kWstopped = 2, kWexited = 4, kWcontinued = 8, kWnowait = 0x01000000,
                          kWnothread = 0x20000000, kWall = 0x40000000, kWclone = 0x80000000;
inline constexpr int kPAll = 0, kPPid = 1, kPPgid = 2, kPPidfd = 3;
// Wait statuses.
constexpr int ExitedStatus(int code) { return (code & 0xff) << 8; }
constexpr int KilledStatus(int signo, bool core) { return signo | (core ? 0x80 : 0); }
constexpr int StoppedStatus(int signo) { return (signo << 8) | 0x7f; }
inline constexpr int kContinuedStatus = 0xffff;

// prctl.
inline constexpr int kPrSetPdeathsig = 1, kPrGetPdeathsig = 2, kPrGetDumpable = 3, kPrSetDumpable = 4, kPrGetUnalign = 5, kPrSetUnalign = 6,
                     kPrGetKeepcaps = 7, kPrSetKeepcaps = 8, kPrGetTiming = 13, kPrSetTiming = 14, kPrSetName = 15, kPrGetName = 16,
                     kPrGetEndian = 19, kPrSetEndian = 20, kPrGetSeccomp = 21, kPrSetSeccomp = 22, kPrCapbsetRead = 23, kPrCapbsetDrop = 24,
                     kPrGetTsc = 25, kPrSetTsc = 26, kPrGetSecurebits = 27, kPrSetSecurebits = 28, kPrSetTimerslack = 29, kPrGetTimerslack = 30,
                     kPrMceKill = 33, kPrMceKillGet = 34, kPrSetMm = 35, kPrSetChildSubreaper = 36, kPrGetChildSubreaper = 37,
                     kPrSetNoNewPrivs = 38, kPrGetNoNewPrivs = 39, kPrGetTidAddress = 40, kPrSetThpDisable = 41, kPrGetThpDisable = 42,
                     kPrCapAmbient = 47, kPrGetSpeculationCtrl = 52, kPrSetSpeculationCtrl = 53, kPrSetIoFlusher = 57, kPrGetIoFlusher = 58,
                     kPrSetMdwe = 65, kPrGetMdwe = 66, kPrSetMemoryMerge = 67, kPrGetMemoryMerge = 68, kPrSetVma = 0x53564d41,
                     kPrSetPtracer = 0x59616d61;
inline constexpr int kPrCapAmbientIsSet = 1, kPrCapAmbientRaise = 2, kPrCapAmbientLower = 3, kPrCapAmbientClearAll = 4;
inline constexpr int kPrSetMmExeFile = 13;

// arch_prctl.
inline constexpr int kArchSetGs = 0x1001, kArchSetFs = 0x1002, kArchGetFs = 0x1003, kArchGetGs = 0x1004, kArchGetCpuid = 0x1011,
                     kArchSetCpuid = 0x1012;

// capabilities(7): securebits.
inline constexpr uint32_t kSecbitNoroot = 1, kSecbitNorootLocked = 2, kSecbitNoSetuidFixup = 4, kSecbitNoSetuidFixupLocked = 8,
                          kSecbitKeepCaps = 16, kSecbitKeepCapsLocked = 32, kSecbitNoCapAmbientRaise = 64, kSecbitNoCapAmbientRaiseLocked = 128,
                          kSecbitAll = 255;

// personality.
inline constexpr uint32_t kAddrNoRandomize = 0x0040000, kReadImpliesExec = 0x0400000;

// pidfd_open: PIDFD_NONBLOCK, PIDFD_THREAD.
inline constexpr uint32_t kPidfdNonblock = 04000, kPidfdThread = 0200;

inline constexpr uint64_t kMaxUserAddress = 0x7ffffffff000;  // TASK_SIZE_MAX

}  // namespace rampart::abi
