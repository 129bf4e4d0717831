// The signals of the process that sentry-run is for its caller: what the caller had set when it started us, and what arrives since.
// Thread safety: none; one object per process, made before other threads.
#pragma once

#include <signal.h>
#include <sys/signalfd.h>

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace rampart::runner {

class CallerSignals {
 public:
  // Notes the inherited dispositions and mask, then blocks everything that can be passed on and takes it through a signalfd. SIGPIPE is ignored.
  static absl::StatusOr<CallerSignals> Take();
  CallerSignals(CallerSignals&&) = default;

  // Readable when Next() has something.
  int fd() const { return fd_.get(); }
  std::optional<signalfd_siginfo> Next();

  // Bit N-1: the caller started us with signal N ignored or blocked.
  uint64_t ignored() const { return ignored_; }
  uint64_t blocked() const { return blocked_; }
  bool IsIgnored(int signo) const { return (ignored_ >> (signo - 1) & 1) != 0; }

  // In a child, before it executes another program: mask and dispositions as the kernel gives them to a new process.
  static void ResetInChild();

  // Stops this process the way `signo` (SIGTSTP, SIGTTIN, SIGTTOU, SIGSTOP) would have; returns after SIGCONT. False: it did not stop, because its
  // process group is orphaned.
  bool StopSelf(int signo);

 private:
  CallerSignals() = default;

  UniqueFd fd_;
  uint64_t ignored_ = 0;
  uint64_t blocked_ = 0;
};

}  // namespace rampart::runner
