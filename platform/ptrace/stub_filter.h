// The seccomp filter of every stub process: the few host calls that stub.S makes, as a value that tests evaluate.
//
// It is the second wall. The first is PTRACE_SYSEMU, under which no system call of application code runs at all, whatever the entry
// (SYSCALL, INT 0x80, SYSENTER) and wherever it jumped. The filter holds for the stub's own code, and for the vsyscall page, which the
// host emulates without a ptrace stop: its three calls raise SIGSYS and so reach the Sentry.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <span>
#include <vector>

namespace rampart::platform::ptrace {

// A call that a stub may make. `argument0` restricts the low 32 bits of the first argument when `check_argument0`.
struct StubCall {
  int number;
  bool check_argument0;
  uint32_t argument0;
  const char* reason;
};
std::span<const StubCall> StubCalls();

std::vector<sock_filter> StubFilter();

}  // namespace rampart::platform::ptrace
