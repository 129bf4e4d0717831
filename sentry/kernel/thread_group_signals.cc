// The process's side of signals: who gets one, what it stops, continues and ends (Linux kernel/signal.c).
#include <utility>

#include "sentry/kernel/core_dump.h"
#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::kernel {

Result<void> ThreadGroup::SendSignal(const abi::SigInfo& info, const Task* sender) {
  absl::MutexLock lock(&signal_mu_);
  return SendFromLocked(sender, info, nullptr);
}

// Linux: send_signal_locked.
Result<void> ThreadGroup::SendFromLocked(const Task* sender, const abi::SigInfo& info, Task* target) {
  const bool from_kernel = info.code == abi::kSiKernel || info.code > 0;
  if (sender == nullptr || sender->group().PidIn(*pid_ns_) != 0) return SendLocked(info, target, from_kernel);
  abi::SigInfo seen = info;
  const bool names_sender = info.code <= 0 && info.code != abi::kSiTimer && info.code != abi::kSiSigio;
  if (names_sender) seen.SetSender(0, info.uid());
  return SendLocked(seen, target, /*force=*/true);
}

abi::SigAction ThreadGroup::Action(int signo) const {
  absl::MutexLock lock(&signal_mu_);
  return actions_->Get(signo);
}

Result<abi::SigAction> ThreadGroup::SetAction(int signo, const abi::SigAction& action) {
  if (!abi::ValidSignal(signo) || (abi::kUnblockable & abi::SigBit(signo)) != 0) return Errno::kEINVAL;
  absl::MutexLock lock(&signal_mu_);
  abi::SigAction wanted = action;
  wanted.mask &= ~abi::kUnblockable;
  const abi::SigAction old = actions_->Exchange(signo, wanted);
  // POSIX: pending instances of a signal that is now ignored go, even blocked ones.
  if (DoesNothing(wanted, signo)) DiscardEverywhereLocked(abi::SigBit(signo));
  return old;
}

abi::SigSet ThreadGroup::PendingSet() const {
  absl::MutexLock lock(&signal_mu_);
  return pending_.set();
}
abi::SigSet ThreadGroup::IgnoredSet() const {
  absl::MutexLock lock(&signal_mu_);
  return actions_->Ignored();
}
const void* ThreadGroup::actions_identity() const {
  absl::MutexLock lock(&signal_mu_);
  return actions_.get();
}

abi::SigSet ThreadGroup::CaughtSet() const {
  absl::MutexLock lock(&signal_mu_);
  return actions_->Caught();
}
size_t ThreadGroup::QueuedSignals() const {
  absl::MutexLock lock(&signal_mu_);
  size_t n = pending_.size();
  for (const Task* task : tasks_) n += task->pending_.size();
  return n;
}

bool ThreadGroup::Unkillable() const {
  const bool is_protected = protected_ || (pid_ == 1 && kernel_.config().protect_init);
  return is_protected && !protection_lost_.load(std::memory_order_relaxed);
}

void ThreadGroup::DiscardEverywhereLocked(abi::SigSet signals) {
  pending_.Discard(signals);
  for (Task* task : tasks_) task->pending_.Discard(signals);
}

// Linux: sig_task_ignored. A blocked signal is kept: its action may change before it is unblocked.
bool ThreadGroup::IgnoredLocked(const Task& task, int signo, bool force) const {
  if ((task.signal_mask() & abi::SigBit(signo)) != 0) return false;
  if (signo != abi::kSigKill && Tracing::IsTracedLocked(task)) return false;  // the tracer sees also what does nothing
  const abi::SigAction action = actions_->Get(signo);
  const bool forced = force && (abi::kUnblockable & abi::SigBit(signo)) != 0;
  if (Unkillable() && action.handler == abi::kSigDfl && !forced) return true;
  return DoesNothing(action, signo);
}

// What a signal does by being sent, whoever will take it: stops and SIGCONT cancel each other. False: it is not to be queued.
// Linux: prepare_signal.
bool ThreadGroup::PrepareSignalLocked(const Task& target, int signo, bool force) {
  if (exiting_) {
    if (core_ != nullptr && signo == abi::kSigKill) core_->dumper().KillLocked();  // no more of the dump
    return false;
  }
  const abi::SigSet bit = abi::SigBit(signo);
  if ((bit & kStopSignals) != 0) {
    DiscardEverywhereLocked(abi::SigBit(abi::kSigCont));
    continued_since_dequeue_ = false;
  } else if (signo == abi::kSigCont) {
    ContinueLocked();
  }
  return !IgnoredLocked(target, signo, force);
}

void ThreadGroup::ContinueLocked() {
  DiscardEverywhereLocked(kStopSignals);
  continued_since_dequeue_ = true;
  const bool was_stopping = stop_count_ > 0;
  const bool was_stopped = stop_reached_;
  for (Task* task : tasks_) {
    task->stop_pending_ = false;
    task->trace_.counts_in_stop = false;
    if (task->trace_.seized) {
      Tracing::NotifyLocked(*task);
      continue;
    }
    if (!std::exchange(task->stopped_, false)) continue;
    task->InterruptLocked();  // to look for signals, and for the parent's notice
    task->sleeper_.Wake();
  }
  stop_count_ = 0;
  if (!was_stopped && !was_stopping) return;
  // A stop that was not complete is reported as a stop all the same.
  parent_notice_ = was_stopped ? abi::kCldContinued : abi::kCldStopped;
  continue_unreported_ = true;
  stop_reached_ = false;
  stop_unreported_ = false;
  for (Task* task : tasks_) {
    if (!task->exiting_.load(std::memory_order_relaxed)) task->InterruptLocked();
  }
}

bool ThreadGroup::CountStopLocked() {
  if (stop_count_ > 0) --stop_count_;
  if (stop_count_ > 0 || stop_reached_) return false;
  stop_reached_ = true;
  stop_unreported_ = true;
  continue_unreported_ = false;
  return true;
}

// `target` null: for the process. Linux: __send_signal_locked.
Result<void> ThreadGroup::SendLocked(const abi::SigInfo& info, Task* target, bool force) {
  Task* asked = target != nullptr ? target : leader_.get();
  if (asked == nullptr) return Errno::kESRCH;
  const int signo = info.signo;
  if (!PrepareSignalLocked(*asked, signo, force)) return Ok();
  PendingSignals& queue = target != nullptr ? target->pending_ : pending_;
  if (signo < abi::kSigRtMin && (queue.set() & abi::SigBit(signo)) != 0) return Ok();
  if (!queue.Enqueue(info, limit(abi::Resource::kSigpending))) return Errno::kEAGAIN;
  signal_events_.Notify(abi::kPollIn);
  WakeForLocked(signo, target);
  return Ok();
}

// Finds who takes the signal, and begins the end of the process at once when that is what it will come to. Linux: complete_signal.
void ThreadGroup::WakeForLocked(int signo, Task* target) {
  const abi::SigSet bit = abi::SigBit(signo);
  const auto wants = [&](const Task& task) {
    if (task.exiting_.load(std::memory_order_relaxed)) return false;
    if ((task.signal_mask() & ~task.awaited_ & bit) != 0) return false;
    return signo == abi::kSigKill || (!task.stopped_ && !task.trace_.stopped);
  };
  Task* chosen = nullptr;
  if (target != nullptr) {
    if (wants(*target)) chosen = target;
  } else {
    // The main thread first, then one that is not busy with another signal, then anyone.
    if (leader_ && wants(*leader_)) chosen = leader_.get();
    for (Task* task : tasks_) {
      if (chosen != nullptr && !chosen->sleeper_.interrupted()) break;
      if (wants(*task) && (chosen == nullptr || !task->sleeper_.interrupted())) chosen = task;
    }
  }
  if (chosen == nullptr) return;
  const Task* asked = target != nullptr ? target : leader_.get();
  const bool traced = asked != nullptr && Tracing::IsTracedLocked(*asked);  // whose tracer decides
  const bool deadly = signo == abi::kSigKill || (!traced && actions_->Get(signo).handler == abi::kSigDfl &&
                                                 DefaultActionOf(signo) == DefaultAction::kTerminate && !Unkillable());
  if (deadly && (chosen->signal_mask() & bit) == 0) {
    BeginExitLocked(abi::KilledStatus(signo, false), nullptr);
    return;
  }
  chosen->InterruptLocked();
}

// All threads but `except` are told to exit; the first status counts.
void ThreadGroup::BeginExitLocked(int status, const Task* except) {
  if (!exiting_) {
    exiting_ = true;
    exit_status_ = status;
    stop_count_ = 0;
    stop_reached_ = false;
    parent_notice_ = 0;
  }
  for (Task* task : tasks_) {
    if (task != except) task->KillLocked();
  }
}

void ThreadGroup::Kill(int status) {
  absl::MutexLock lock(&signal_mu_);
  BeginExitLocked(status, nullptr);
}

// SIGCHLD for a stop or a continuation, and waiters in wait(2). Linux: do_notify_parent_cldstop.
void ThreadGroup::NotifyParentOfStop(int code) {
  int status = abi::kSigCont;
  if (code == abi::kCldStopped) {
    absl::MutexLock lock(&signal_mu_);
    status = stop_signal_;
  }
  if (pid_ == 1) kernel_.ReportInitStop(code == abi::kCldStopped ? status : 0);
  const RefPtr<Task> self = leader();
  const ResourceTotals usage = Usage();
  absl::MutexLock lock(&kernel_.state().tree_mu);
  if (parent_ == nullptr || !self) return;
  abi::SigInfo info{.signo = abi::kSigChld, .code = code};
  info.SetSender(PidIn(*parent_->pid_ns_), self->GetCreds()->ruid);
  info.SetChild(status, usage.user_time / kClockTick, usage.system_time / kClockTick);
  {
    absl::MutexLock parent_lock(&parent_->signal_mu_);
    const abi::SigAction action = parent_->actions_->Get(abi::kSigChld);
    if (action.handler != abi::kSigIgn && (action.flags & abi::kSaNocldstop) == 0) (void)parent_->SendLocked(info, nullptr, true);
  }
  parent_->child_events_.Notify(abi::kPollIn);
}

}  // namespace rampart::kernel
