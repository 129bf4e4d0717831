// What the pristine stub does between its clone from the Sentry and its first instruction of stub.S. It runs on a copy of the Sentry's
// stack and memory, in a process where no other thread exists: host calls only, no allocation, no lock.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include "platform/ptrace/stub_layout.h"

namespace rampart::platform::ptrace {

struct PristineStart {
  int memfd;
  pid_t sentry;         // the parent's pid as it sees itself
  Control* control;     // the Sentry's mapping, shared
  sock_fprog filter;
};

// Exit codes of a child that could not set itself up: the step that failed.
enum class PristineStep : int {
  kParent = 10,   // died, or is in another PID namespace
  kRseq = 11,
  kCapabilities = 12,
  kDumpable = 13,
  kSeccomp = 14,
  kCode = 15,
  kUnmap = 1,     // in stub.S: the host would not unmap something (a sealed vDSO) or map the code
};

[[noreturn]] void RunPristine(const PristineStart& start);

}  // namespace rampart::platform::ptrace
