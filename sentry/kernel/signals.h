// Signal state: pending queues, actions. Used by Task and ThreadGroup; the rules of delivery are in task_signals.cc.
// Thread safety: guarded by ThreadGroup::signal_mu_.
#pragma once

#include <deque>

#include "abi/signal.h"
#include "base/ref.h"
#include "base/result.h"

namespace rampart::kernel {

// Pending signals of one task or one group: ordinary signals once, real-time signals queued in order (signal(7)).
class PendingSignals {
 public:
  // Adds; an ordinary signal that is pending already is dropped (true is returned: that is success). False: the queue limit is reached
  // (RLIMIT_SIGPENDING; EAGAIN for real-time signals).
  bool Enqueue(const abi::SigInfo& info, uint64_t limit);
  abi::SigSet set() const { return set_; }
  // Takes the next of `wanted` in Linux's order (synchronous faults first, then lowest number). signo 0: none.
  abi::SigInfo Dequeue(abi::SigSet wanted);
  void Discard(abi::SigSet signals);
  size_t size() const { return queue_.size(); }

 private:
  abi::SigSet set_ = 0;
  std::deque<abi::SigInfo> queue_;
};

enum class DefaultAction { kTerminate, kCore, kIgnore, kStop, kContinue };
DefaultAction DefaultActionOf(int signo);

}  // namespace rampart::kernel
