// Signals of Linux x86-64: numbers, siginfo, sigaction, stack_t, codes. Layouts as the kernel's, without padding holes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace rampart::abi {

inline constexpr int kSigHup = 1, kSigInt = 2, kSigQuit = 3, kSigIll = 4, kSigTrap = 5, kSigAbrt = 6, kSigBus = 7, kSigFpe = 8, kSigKill = 9,
                     kSigUsr1 = 10, kSigSegv = 11, kSigUsr2 = 12, kSigPipe = 13, kSigAlrm = 14, kSigTerm = 15, kSigStkflt = 16,
                     kSigChld = 17, kSigCont = 18, kSigStop = 19, kSigTstp = 20, kSigTtin = 21, kSigTtou = 22, kSigUrg = 23, kSigXcpu = 24,
                     kSigXfsz = 25, kSigVtalrm = 26, kSigProf = 27, kSigWinch = 28, kSigIo = 29, kSigPwr = 30, kSigSys = 31;
inline constexpr int kSigRtMin = 32, kSigMax = 64;

// A set of signals: bit N-1 is signal N.
using SigSet = uint64_t;
constexpr SigSet SigBit(int signo) { return uint64_t{1} << (signo - 1); }
constexpr bool ValidSignal(int signo) { return signo >= 1 && signo <= kSigMax; }
inline constexpr SigSet kUnblockable = SigBit(kSigKill) | SigBit(kSigStop);

// si_code.
inline constexpr int kSiUser = 0, kSiKernel = 0x80, kSiQueue = -1, kSiTimer = -2, kSiMesgq = -3, kSiAsyncIo = -4, kSiSigio = -5, kSiTkill = -6;
inline constexpr int kIllOpn = 2, kFpeIntDiv = 1, kSegvMapErr = 1, kSegvAccErr = 2, kBusAdrAln = 1, kBusAdrErr = 2, kTrapBrkpt = 1, kTrapTrace = 2;
inline constexpr int kCldExited = 1, kCldKilled = 2, kCldDumped = 3, kCldTrapped = 4, kCldStopped = 5, kCldContinued = 6;
inline constexpr int kSysSeccomp = 1;

// siginfo_t: the common head and 112 bytes whose meaning depends on the code, reached through typed accessors.
struct SigInfo {
  int32_t signo = 0;
  int32_t err = 0;
  int32_t code = 0;
  int32_t pad = 0;
  uint8_t fields[112] = {};

  template <class T>
  T Get(size_t offset) const {
    T value;
    std::memcpy(&value, fields + offset, sizeof(T));
    return value;
  }
  template <class T>
  void Set(size_t offset, T value) {
    std::memcpy(fields + offset, &value, sizeof(T));
  }
  // kill, sigqueue, SIGCHLD.
  int32_t pid() const { return Get<int32_t>(0); }
  uint32_t uid() const { return Get<uint32_t>(4); }
  void SetSender(int32_t pid, uint32_t uid) { Set(0, pid), Set(4, uid); }
  // sigqueue, timers: sigval at 8.
  uint64_t value() const { return Get<uint64_t>(8); }
  void SetValue(uint64_t value) { Set(8, value); }
  // POSIX timers: id and overrun at 0 and 4.
  void SetTimer(int32_t id, int32_t overrun) { Set(0, id), Set(4, overrun); }
  // SIGCHLD: status at 8, utime and stime (clock ticks) at 16 and 24.
  int32_t status() const { return Get<int32_t>(8); }
  void SetChild(int32_t status, int64_t utime, int64_t stime) { Set(8, status), Set(16, utime), Set(24, stime); }
  // Faults.
  void SetAddress(uint64_t address) { Set(0, address); }
  // SIGIO: band at 0, fd at 8.
  void SetPoll(int64_t band, int32_t fd) { Set(0, band), Set(8, fd); }
  // SIGSYS: call address, number, arch.
  void SetSyscall(uint64_t address, int32_t number, uint32_t arch) { Set(0, address), Set(8, number), Set(12, arch); }
};
static_assert(sizeof(SigInfo) == 128);

inline constexpr uint64_t kSaNocldstop = 1, kSaNocldwait = 2, kSaSiginfo = 4, kSaRestorer = 0x04000000, kSaOnstack = 0x08000000,
                          kSaRestart = 0x10000000, kSaNodefer = 0x40000000, kSaResethand = 0x80000000;
inline constexpr uint64_t kSigDfl = 0, kSigIgn = 1;

// struct sigaction as rt_sigaction(2) has it.
struct SigAction {
  uint64_t handler = kSigDfl;
  uint64_t flags = 0;
  uint64_t restorer = 0;
  SigSet mask = 0;
};

inline constexpr int32_t kSsOnstack = 1, kSsDisable = 2;
inline constexpr uint32_t kSsAutodisarm = 0x80000000u;
inline constexpr uint64_t kMinSigStackSize = 2048;
struct SigStack {
  uint64_t sp = 0;
  int32_t flags = kSsDisable;
  int32_t pad = 0;
  uint64_t size = 0;
};

}  // namespace rampart::abi
