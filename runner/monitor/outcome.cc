#include <sys/wait.h>

#include <csignal>
#include <cstring>

#include "abi/sysno.h"
#include "absl/strings/str_cat.h"
#include "base/errno.h"
#include "runner/monitor/supervisor.h"

namespace rampart::runner {
namespace {

using sentry::boot::StartFailure;

constexpr int kTimeoutStatus = 124;
constexpr int kSandboxStatus = 125;
constexpr int kNotExecutableStatus = 126;
constexpr int kNotFoundStatus = 127;
constexpr int kSignalStatus = 128;

// The text came from the sentry: nothing in it may act on the caller's terminal.
std::string Printable(const std::string& text) {
  std::string out;
  for (const char c : text) out.push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c);
  return out;
}

std::string DescribeDeath(const char* who, const Outcome& outcome) {
  const Death& death = outcome.death;
  if (!death.by_signal) return absl::StrCat("the ", who, " ended unexpectedly with status ", death.value, "; the sandbox was ended");
  if (death.value == SIGSYS) {
    const std::string call = outcome.violation >= 0 ? absl::StrCat("system call ", outcome.violation, ", ",
                                                                   abi::SysnoName(static_cast<uint32_t>(outcome.violation)))
                                                    : "system call unknown: the kernel's log, which root can read, has it";
    return absl::StrCat("the ", who, " was stopped by its own seccomp filter (", call, "): a defect or an attack; the sandbox was ended");
  }
  const char* hint = death.value == SIGKILL ? " (by somebody, or because the host is out of memory)" : "";
  return absl::StrCat("the ", who, " was killed by signal ", death.value, ", ", ::strsignal(death.value), hint, "; the sandbox was ended");
}

}  // namespace

int ExitStatusOf(const Outcome& outcome) {
  switch (outcome.kind) {
    case Outcome::Kind::kExited:
      return WIFSIGNALED(outcome.wait_status) ? kSignalStatus + WTERMSIG(outcome.wait_status) : WEXITSTATUS(outcome.wait_status);
    case Outcome::Kind::kStartFailed:
      if (outcome.failure == StartFailure::kNotFound) return kNotFoundStatus;
      return outcome.failure == StartFailure::kNotExecutable ? kNotExecutableStatus : kSandboxStatus;
    case Outcome::Kind::kInterrupted:
      return kSignalStatus + outcome.death.value;
    case Outcome::Kind::kTimedOut:
      return kTimeoutStatus;
    case Outcome::Kind::kSentryDied:
    case Outcome::Kind::kGoferDied:
    case Outcome::Kind::kAbandoned:
      break;
  }
  return kSandboxStatus;
}

std::string MessageOf(const Outcome& outcome, const std::string& program) {
  switch (outcome.kind) {
    case Outcome::Kind::kExited:
      if (outcome.memory_kills == 0) return "";
      return absl::StrCat("out of memory: ", outcome.memory_kills, outcome.memory_kills == 1 ? " process was" : " processes were",
                          " killed inside (the limit is --memory, else what the host has)");
    case Outcome::Kind::kInterrupted:
      return "";
    case Outcome::Kind::kAbandoned:
      return outcome.text;
    case Outcome::Kind::kTimedOut:
      return absl::StrCat(program, ": ended because the time of --timeout was over");
    case Outcome::Kind::kStartFailed: {
      if (!outcome.text.empty()) return Printable(outcome.text);
      const char* why = outcome.error > 0 && outcome.error < 134 ? ErrnoText(static_cast<Errno>(outcome.error)) : "cannot be run";
      return absl::StrCat(program, ": ", why);
    }
    case Outcome::Kind::kSentryDied:
      return DescribeDeath("sentry", outcome);
    case Outcome::Kind::kGoferDied:
      if (!outcome.text.empty()) return absl::StrCat("the gofer could not start: ", Printable(outcome.text));
      return DescribeDeath("gofer", outcome);
  }
  return "";
}

}  // namespace rampart::runner
