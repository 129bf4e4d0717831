// What the runner and the kernel say to each other while a sandbox runs: fixed-size messages over a SOCK_SEQPACKET socket, one message
// per packet, and one StatsReport over a pipe. Both sides are the same binary, so there is no versioning; each side still
// checks length, type and ranges, because the sentry must be assumed hostile to the runner.
//
// Order: sentry: kReady (containers), then kStarted | kStartFailed, then (kStopped kContinued)*, then kExited; kTerminalQuestion, any number, until kExited. runner: kSignal at
// any time after kStarted; one kTerminalAnswer to each question, in order, after the
// signals that were there before it.
#pragma once

#include <cstdint>

#include "abi/sysno.h"

namespace rampart::sentry::boot {

enum class ControlType : uint32_t {
  // runner → sentry
  kSignal = 1,       // value: signal number 1..64; detail: a SignalTarget
  kTerminalAnswer = 2,  // to kTerminalQuestion. value: a TerminalPlace
  kConnection = 3,   // a client's connection (control_api.proto), which comes along as SCM_RIGHTS; containers only
  kStart = 4,        // run the first program; containers only, once
  // sentry → runner
  kStarted = 16,     // the first program's image is loaded and about to run
  kStartFailed = 17,  // value: a StartFailure; detail: host-independent errno or 0; text: what could not be done, for people
  kStopped = 18,     // value: the signal that stopped the first program (its parent would see WIFSTOPPED); the runner stops itself likewise
  kContinued = 19,
  kExited = 20,      // value: wait status of the first program, as wait(2) encodes it; detail: processes killed for want of memory
  kReady = 22,       // a container's sentry is confined and waits for kStart, or for a client's Start
  kTerminalQuestion = 21,  // somebody wants to read the caller's terminal or change it: is the caller's job in its foreground?
};

enum class TerminalPlace : uint32_t {
  kBackground = 0,
  kForeground = 1,  // or the terminal is not the one that controls the caller
  kOrphaned = 2,    // in the background, and nobody would continue the job if it stopped
};

enum class SignalTarget : uint32_t {
  kFirstProcess = 0,  // as if the caller had sent it to the command that it started
  kForeground = 1,    // as if the terminal had sent it: the foreground process group, or the first process without a terminal
};

enum class StartFailure : uint32_t {
  kNotFound = 1,       // the program does not exist: exit status 127
  kNotExecutable = 2,  // it exists and cannot be run (EACCES, ENOEXEC, ELIBBAD, ...): exit status 126
  kSandbox = 3,        // the sandbox could not be set up: exit status 125
};

inline constexpr uint32_t kControlTextBytes = 496;

struct ControlMessage {
  ControlType type{};
  uint32_t value = 0;
  uint32_t detail = 0;
  uint32_t text_length = 0;  // bytes used of text, at most kControlTextBytes; not NUL-terminated
  char text[kControlTextBytes] = {};
};
static_assert(sizeof(ControlMessage) == 512);

// How often, and how long in all. Indexed by system call number.
struct SyscallCount {
  uint64_t calls = 0;
  uint64_t errors = 0;
  uint64_t nanos = 0;  // from entry to exit, blocking included
};

// What --stats prints. Written once, at the end, in a single write (it fits in a pipe).
struct StatsReport {
  uint64_t magic = kMagic;
  uint64_t wall_nanos = 0;      // from RunSandbox to the end of the first program
  uint64_t boot_nanos = 0;      // from RunSandbox to kStarted
  uint64_t tasks_created = 0;
  uint64_t faults = 0;          // page faults of applications
  uint64_t faults_copied = 0;   // of these: copy-on-write
  uint64_t switches = 0;        // platform counters: platform/platform.h
  uint64_t host_calls = 0;
  uint64_t injected_calls = 0;
  uint64_t helper_processes = 0;
  uint64_t answered_calls = 0;
  uint64_t inner_faults = 0;
  uint64_t gofer_requests = 0;
  uint64_t memory_peak_bytes = 0;
  uint64_t user_nanos = 0;      // application processor time
  uint64_t system_nanos = 0;    // sentry processor time
  char platform[16] = {};          // its name
  char platform_reason[256] = {};  // why not a better one; NUL-terminated, as the name
  SyscallCount syscalls[abi::kMaxSysno + 1];

  static constexpr uint64_t kMagic = 0x53544154'52414d31;
};

}  // namespace rampart::sentry::boot
