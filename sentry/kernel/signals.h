// Signal state: pending queues, actions. Used by Task and ThreadGroup; the rules of delivery are in task_signals.cc.
// Thread safety: guarded by ThreadGroup::signal_mu_, except SignalActions, which has its own lock (a leaf below it).
#pragma once

#include <array>
#include <deque>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "abi/signal.h"
#include "base/ref.h"
#include "base/result.h"

namespace rampart::kernel {

// Signals that the processor raises: they are delivered before all others (Linux: SYNCHRONOUS_MASK).
inline constexpr abi::SigSet kSynchronousSignals = abi::SigBit(abi::kSigSegv) | abi::SigBit(abi::kSigBus) | abi::SigBit(abi::kSigIll) |
                                                   abi::SigBit(abi::kSigTrap) | abi::SigBit(abi::kSigFpe) | abi::SigBit(abi::kSigSys);
inline constexpr abi::SigSet kStopSignals =
    abi::SigBit(abi::kSigStop) | abi::SigBit(abi::kSigTstp) | abi::SigBit(abi::kSigTtin) | abi::SigBit(abi::kSigTtou);

// Pending signals of one task or one group: ordinary signals once, real-time signals queued in order (signal(7)).
class PendingSignals {
 public:
  // Adds; an ordinary signal that is pending already is dropped (true is returned: that is success). False: the queue limit is reached
  // (RLIMIT_SIGPENDING; EAGAIN for real-time signals sent with information). Above the limit, other signals stay pending without
  // their information, as in Linux.
  bool Enqueue(const abi::SigInfo& info, uint64_t limit);
  abi::SigSet set() const { return set_; }
  // Takes the next of `wanted` in Linux's order (synchronous faults first, then lowest number). signo 0: none.
  abi::SigInfo Dequeue(abi::SigSet wanted);
  void Discard(abi::SigSet signals);
  size_t size() const { return queue_.size(); }
  const std::deque<abi::SigInfo>& queue() const { return queue_; }

 private:
  abi::SigSet set_ = 0;
  std::deque<abi::SigInfo> queue_;
};

// What a process does with each signal; shared by processes made with CLONE_SIGHAND. Thread safety: any thread.
class SignalActions final : public RefCounted {
 public:
  SignalActions() = default;
  // REQUIRES: abi::ValidSignal(signo).
  abi::SigAction Get(int signo) const;
  abi::SigAction Exchange(int signo, const abi::SigAction& action);
  // The action for delivery; resets it to the default if it says SA_RESETHAND.
  abi::SigAction TakeForDelivery(int signo);
  // exec, CLONE_CLEAR_SIGHAND: handlers become the default; ignored signals stay ignored.
  void ResetHandlers();
  Ref<SignalActions> Clone() const;
  // Signals whose action is SIG_IGN / a handler (for /proc/PID/status).
  abi::SigSet Ignored() const;
  abi::SigSet Caught() const;

 private:
  mutable absl::Mutex mu_;
  std::array<abi::SigAction, abi::kSigMax> actions_ ABSL_GUARDED_BY(mu_);
};

enum class DefaultAction { kTerminate, kCore, kIgnore, kStop, kContinue };
// REQUIRES: abi::ValidSignal(signo).
DefaultAction DefaultActionOf(int signo);

// Whether `action` means that the signal does nothing: SIG_IGN, or SIG_DFL of a signal that is ignored by default.
bool DoesNothing(const abi::SigAction& action, int signo);

}  // namespace rampart::kernel
