#include "sentry/kernel/signals.h"

#include <bit>

namespace rampart::kernel {

bool PendingSignals::Enqueue(const abi::SigInfo& info, uint64_t limit) {
  const abi::SigSet bit = abi::SigBit(info.signo);
  const bool realtime = info.signo >= abi::kSigRtMin;
  if (!realtime && (set_ & bit) != 0) return true;
  // Linux: ordinary signals and those from the kernel may exceed the limit; SIGKILL never needs a queue entry.
  const bool over = queue_.size() >= limit && (realtime || info.code < 0);
  if (over) {
    if (realtime && info.code != abi::kSiUser) return false;
  } else {
    queue_.push_back(info);
  }
  set_ |= bit;
  return true;
}

abi::SigInfo PendingSignals::Dequeue(abi::SigSet wanted) {
  abi::SigSet ready = set_ & wanted;
  if (ready == 0) return {};
  if ((ready & kSynchronousSignals) != 0) ready &= kSynchronousSignals;
  const int signo = std::countr_zero(ready) + 1;
  abi::SigInfo result;
  result.signo = signo;
  bool found = false;
  bool more = false;
  for (auto it = queue_.begin(); it != queue_.end();) {
    if (it->signo != signo) {
      ++it;
    } else if (!found) {
      result = *it;
      found = true;
      it = queue_.erase(it);
    } else {
      more = true;
      break;
    }
  }
  if (!more) set_ &= ~abi::SigBit(signo);
  return result;
}

void PendingSignals::Discard(abi::SigSet signals) {
  if ((set_ & signals) == 0) return;
  set_ &= ~signals;
  std::erase_if(queue_, [signals](const abi::SigInfo& info) { return (abi::SigBit(info.signo) & signals) != 0; });
}

abi::SigAction SignalActions::Get(int signo) const {
  absl::MutexLock lock(&mu_);
  return actions_[static_cast<size_t>(signo - 1)];
}

abi::SigAction SignalActions::Exchange(int signo, const abi::SigAction& action) {
  absl::MutexLock lock(&mu_);
  return std::exchange(actions_[static_cast<size_t>(signo - 1)], action);
}

abi::SigAction SignalActions::TakeForDelivery(int signo) {
  absl::MutexLock lock(&mu_);
  abi::SigAction& slot = actions_[static_cast<size_t>(signo - 1)];
  const abi::SigAction action = slot;
  if (action.handler > abi::kSigIgn && (action.flags & abi::kSaResethand) != 0) slot.handler = abi::kSigDfl;
  return action;
}

void SignalActions::ResetHandlers() {
  absl::MutexLock lock(&mu_);
  for (abi::SigAction& action : actions_) action = abi::SigAction{.handler = action.handler == abi::kSigIgn ? abi::kSigIgn : abi::kSigDfl};
}

Ref<SignalActions> SignalActions::Clone() const {
  Ref<SignalActions> copy = MakeRef<SignalActions>();
  absl::MutexLock lock(&mu_);
  // A fresh object, known to nobody else: its lock is not needed.
  [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { copy->actions_ = actions_; }();
  return copy;
}

abi::SigSet SignalActions::Ignored() const {
  absl::MutexLock lock(&mu_);
  abi::SigSet set = 0;
  for (int signo = 1; signo <= abi::kSigMax; ++signo) {
    if (actions_[static_cast<size_t>(signo - 1)].handler == abi::kSigIgn) set |= abi::SigBit(signo);
  }
  return set;
}

abi::SigSet SignalActions::Caught() const {
  absl::MutexLock lock(&mu_);
  abi::SigSet set = 0;
  for (int signo = 1; signo <= abi::kSigMax; ++signo) {
    if (actions_[static_cast<size_t>(signo - 1)].handler > abi::kSigIgn) set |= abi::SigBit(signo);
  }
  return set;
}

DefaultAction DefaultActionOf(int signo) {
  switch (signo) {
    case abi::kSigCont:
      return DefaultAction::kContinue;
    case abi::kSigChld:
    case abi::kSigWinch:
    case abi::kSigUrg:
      return DefaultAction::kIgnore;
    case abi::kSigStop:
    case abi::kSigTstp:
    case abi::kSigTtin:
    case abi::kSigTtou:
      return DefaultAction::kStop;
    case abi::kSigQuit:
    case abi::kSigIll:
    case abi::kSigTrap:
    case abi::kSigAbrt:
    case abi::kSigBus:
    case abi::kSigFpe:
    case abi::kSigSegv:
    case abi::kSigXcpu:
    case abi::kSigXfsz:
    case abi::kSigSys:
      return DefaultAction::kCore;
    default:
      return DefaultAction::kTerminate;
  }
}

bool DoesNothing(const abi::SigAction& action, int signo) {
  if (action.handler == abi::kSigIgn) return true;
  if (action.handler != abi::kSigDfl) return false;
  const DefaultAction what = DefaultActionOf(signo);
  return what == DefaultAction::kIgnore || what == DefaultAction::kContinue;
}

}  // namespace rampart::kernel
