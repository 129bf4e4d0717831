// ThreadGroup: a process: its tasks, parent and children, process group and session, signal actions, limits, exit status, controlling
// terminal's session. Process groups and sessions are objects of their own.
// Lock order and thread safety: see task.h.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "abi/resource.h"
#include "abi/signal.h"
#include "sentry/kernel/signals.h"
#include "sentry/kernel/task.h"
#include "sentry/wait/wait.h"

namespace rampart::kernel {

class ThreadGroup final : public RefCounted {
 public:
  abi::Pid pid() const { return pid_; }               // tgid in the root PID namespace
  RefPtr<Task> leader() const;
  RefPtr<ThreadGroup> parent() const;
  abi::Pid ParentPid() const;                          // 0: none visible
  abi::Pid ProcessGroupId() const;
  abi::Pid SessionId() const;
  std::vector<Ref<Task>> Tasks() const;               // live tasks
  uint64_t limit(abi::Resource r) const { return limits_[static_cast<size_t>(r)].cur.load(std::memory_order_relaxed); }
  abi::Rlimit Limit(abi::Resource r) const;
  void SetLimit(abi::Resource r, abi::Rlimit value);
  // A signal for the process (kill): picks a thread that does not block it. Permission is checked by the caller.
  Result<void> SendSignal(const abi::SigInfo& info);
  abi::SigAction Action(int signo) const;
  // Interrupts nothing; SIG_IGN discards pending ones, as sigaction(2).
  Result<abi::SigAction> SetAction(int signo, const abi::SigAction& action);
  Nanos start_time() const { return start_time_; }     // CLOCK_MONOTONIC (boot of the sandbox = 0 is the caller's arithmetic)

 private:
  friend class Task;
  friend class Kernel;
  friend struct TaskInternals;
  struct AtomicLimit {
    std::atomic<uint64_t> cur{abi::kRlimInfinity}, max{abi::kRlimInfinity};
  };
  abi::Pid pid_ = 0;
  Nanos start_time_ = 0;
  std::array<AtomicLimit, abi::kResourceCount> limits_;
  mutable absl::Mutex signal_mu_;
};

}  // namespace rampart::kernel
