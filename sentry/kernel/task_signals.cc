// Sending and taking signals of a task (signal(7); Linux kernel/signal.c). The process's side is in thread_group_signals.cc.
#include <utility>

#include "sentry/kernel/core_dump.h"
#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/kernel/timers.h"

namespace rampart::kernel {

Result<void> Task::SendSignal(const abi::SigInfo& info, const Task* sender) {
  absl::MutexLock lock(&group_->signal_mu_);
  if (exiting_.load(std::memory_order_relaxed)) return Errno::kESRCH;
  return group_->SendFromLocked(sender, info, this);
}

void Task::ForceSignal(const abi::SigInfo& info) {
  absl::MutexLock lock(&group_->signal_mu_);
  const abi::SigSet bit = abi::SigBit(info.signo);
  const bool blocked = (signal_mask() & bit) != 0;
  abi::SigAction action = group_->actions_->Get(info.signo);
  if (blocked || action.handler == abi::kSigIgn) {
    action.handler = abi::kSigDfl;
    (void)group_->actions_->Exchange(info.signo, action);
    if (blocked) SetMaskLocked(signal_mask() & ~bit);
  }
  if (action.handler == abi::kSigDfl && !Tracing::IsTracedLocked(*this)) group_->protection_lost_.store(true, std::memory_order_relaxed);
  // The same signal pending from elsewhere would swallow this one's information.
  pending_.Discard(bit);
  (void)group_->SendLocked(info, this, /*force=*/true);
}

void Task::SetMaskLocked(abi::SigSet mask) {
  signal_mask_.store(mask & ~abi::kUnblockable, std::memory_order_release);
  RecalcInterruptLocked();
}

void Task::SetSignalMask(abi::SigSet mask) {
  absl::MutexLock lock(&group_->signal_mu_);
  const abi::SigSet newly_blocked = mask & ~abi::kUnblockable & ~signal_mask();
  SetMaskLocked(mask);
  // Signals for the process that were counting on us must find somebody else.
  const abi::SigSet orphaned = group_->pending_.set() & newly_blocked;
  for (Task* other : group_->tasks_) {
    if (orphaned == 0) break;
    if (other != this && (orphaned & ~other->signal_mask()) != 0 && !other->exiting_.load(std::memory_order_relaxed)) other->InterruptLocked();
  }
}

void Task::SetTemporaryMask(abi::SigSet mask) {
  saved_mask_ = signal_mask();
  restore_mask_ = true;
  SetSignalMask(mask);
}

abi::SigSet Task::PendingSet() const {
  absl::MutexLock lock(&group_->signal_mu_);
  return pending_.set() | group_->pending_.set();
}

abi::SigSet Task::OwnPendingSet() const {
  absl::MutexLock lock(&group_->signal_mu_);
  return pending_.set();
}

bool Task::HasDeliverableLocked() const {
  return ((pending_.set() | group_->pending_.set()) & ~(signal_mask() & ~awaited_)) != 0;
}

void Task::InterruptLocked() {
  sleeper_.Interrupt();
  // Pairs with the order in LoopOnce.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (platform::Context* context = running_.load(std::memory_order_seq_cst)) context->Interrupt();
}

void Task::KillLocked() {
  killed_ = true;
  stop_pending_ = false;
  stopped_ = false;
  Tracing::KilledLocked(*this);
  InterruptLocked();
  sleeper_.Wake();  // also out of sleeps that are deaf to signals (vfork, a stop)
}

void Task::RecalcInterruptLocked() {
  if (killed_ || stop_pending_ || exit_requested_ || Tracing::MustStopLocked(*this) || group_->parent_notice_ != 0 || HasDeliverableLocked()) {
    sleeper_.Interrupt();
  } else {
    sleeper_.ClearInterrupt();
  }
}

abi::SigInfo Task::DequeueLocked(abi::SigSet wanted) {
  // Synchronous signals are always the thread's own; among the rest its own come before the process's (Linux: dequeue_signal).
  abi::SigInfo info = pending_.Dequeue(wanted);
  if (info.signo == 0) info = group_->pending_.Dequeue(wanted);
  return info;
}

abi::SigInfo Task::DequeueSignal(abi::SigSet wanted) {
  abi::SigInfo info;
  {
    absl::MutexLock lock(&group_->signal_mu_);
    info = DequeueLocked(wanted);
    if (info.signo != 0) RecalcInterruptLocked();
  }
  SignalTaken(info);
  return info;
}

// A signal has left its queue: whoever made it may send the next one.
void Task::SignalTaken(abi::SigInfo& info) {
  if (info.code != abi::kSiTimer) return;
  if (GroupTimers* timers = group_->timers_if_any(); timers != nullptr) timers->SignalTaken(info);
}

Result<abi::SigInfo> Task::WaitForSignal(abi::SigSet wanted, Deadline deadline) {
  wanted &= ~abi::kUnblockable;
  while (true) {
    abi::SigInfo info;
    {
      absl::MutexLock lock(&group_->signal_mu_);
      awaited_ = 0;
      info = DequeueLocked(wanted);
      RecalcInterruptLocked();
      if (info.signo == 0) {
        if (sleeper_.interrupted()) return Errno::kEINTR;
        if (deadline.Passed()) return Errno::kEAGAIN;
        awaited_ = wanted;
      }
    }
    if (info.signo != 0) {
      SignalTaken(info);
      return info;
    }
    const Result<void> slept = Sleep(deadline);
    if (!slept.ok() && slept.error() == Errno::kETIMEDOUT) deadline = Deadline::Immediately();
  }
}

// Picks what the loop has to do next. Stops and default actions happen in here. Linux: get_signal.
Task::Delivery Task::NextSignal() {
  while (true) {
    int notice = 0;
    bool stop = false, trap = false, traced = false, for_group = false;
    abi::SigInfo info;
    {
      absl::MutexLock lock(&group_->signal_mu_);
      if (killed_) {
        exit_requested_ = true;
        exit_status_ = group_->exiting_ ? group_->exit_status_ : abi::KilledStatus(abi::kSigKill, false);
        return Delivery{.kind = Delivery::kExit, .info = {}, .action = {}};
      }
      notice = std::exchange(group_->parent_notice_, 0);
      traced = Tracing::IsTracedLocked(*this);
      // A tracee takes part in a stop by stopping for its tracer.
      if (notice == 0) trap = traced && (stop_pending_ || Tracing::MustStopLocked(*this));
      if (notice == 0) stop = stop_pending_ && !traced;
      if (notice == 0 && !stop && !trap) {
        info = pending_.Dequeue(~signal_mask());
        for_group = info.signo == 0;
        if (for_group) info = group_->pending_.Dequeue(~signal_mask());
        if (info.signo == 0) {
          RecalcInterruptLocked();
          return {};
        }
      }
    }
    if (notice != 0) {
      group_->NotifyParentOfStop(notice);
      continue;
    }
    if (trap) {
      Tracing::TakeTrap(*this);
      continue;
    }
    if (stop) {
      ParticipateInStop();
      continue;
    }
    SignalTaken(info);
    if (traced && !Tracing::SignalStop(*this, info, for_group)) continue;
    const abi::SigAction action = group_->actions_->TakeForDelivery(info.signo);
    if (action.handler == abi::kSigIgn) continue;
    if (action.handler != abi::kSigDfl) return {.kind = Delivery::kHandler, .info = info, .action = action};
    if (TakeDefaultAction(info)) return Delivery{.kind = Delivery::kExit, .info = {}, .action = {}};
  }
}

// True: the process ends.
bool Task::TakeDefaultAction(const abi::SigInfo& info) {
  const int signo = info.signo;
  const DefaultAction what = DefaultActionOf(signo);
  if (what == DefaultAction::kIgnore || what == DefaultAction::kContinue) return false;
  if (group_->Unkillable() && (abi::kUnblockable & abi::SigBit(signo)) == 0) return false;
  if (what == DefaultAction::kStop) {
    // A stop from the terminal does nothing where nobody could continue the process (POSIX).
    if (signo != abi::kSigStop && group_->IsOrphanedProcessGroup()) return false;
    Stop(signo);
    return false;
  }
  const bool dumped = what == DefaultAction::kCore && CoreDump::Write(*this, info);
  PrepareGroupExit(abi::KilledStatus(signo, dumped));
  return true;
}

// Begins the stop of the whole process, and takes part in it. Linux: do_signal_stop.
void Task::Stop(int signo) {
  {
    absl::MutexLock lock(&group_->signal_mu_);
    if (killed_ || group_->exiting_ || group_->exec_task_ != nullptr) return;
    // A SIGCONT that came since the signal was taken cancels the stop.
    if (group_->continued_since_dequeue_) return;
    if (group_->stop_count_ == 0) {
      if (!group_->stop_reached_) group_->stop_signal_ = signo;
      for (Task* task : group_->tasks_) {
        if (task->stopped_ || task->exiting_.load(std::memory_order_relaxed)) continue;
        task->stop_pending_ = true;
        task->trace_.counts_in_stop = true;
        task->trace_.stop_signal = signo;
        ++group_->stop_count_;
        if (task == this) continue;
        if (task->trace_.seized) {
          Tracing::NotifyLocked(*task);
        } else {
          task->InterruptLocked();
        }
      }
    }
    if (Tracing::IsTracedLocked(*this)) return;  // NextSignal sees to it
  }
  ParticipateInStop();
}

void Task::ParticipateInStop() {
  bool complete = false;
  {
    absl::MutexLock lock(&group_->signal_mu_);
    if (!stop_pending_ || Tracing::IsTracedLocked(*this)) return;
    stop_pending_ = false;
    stopped_ = true;
    complete = std::exchange(trace_.counts_in_stop, false) && group_->CountStopLocked();
  }
  if (complete) group_->NotifyParentOfStop(abi::kCldStopped);
  clock_.Enter(TaskClock::State::kAsleep);
  while (true) {
    {
      absl::MutexLock lock(&group_->signal_mu_);
      if (!stopped_) break;
    }
    (void)sleeper_.SleepUninterruptible(Deadline::Never());
  }
  clock_.Enter(TaskClock::State::kSentry);
}

Result<void> Task::CheckKillPermission(const Task& sender, int signo) const {
  if (&sender.group() == &group()) return Ok();
  const auth::Credentials& mine = sender.creds();
  const Ref<const auth::Credentials> theirs = GetCreds();
  if (mine.euid == theirs->suid || mine.euid == theirs->ruid || mine.ruid == theirs->suid || mine.ruid == theirs->ruid) return Ok();
  if (mine.HasCapability(abi::Capability::kKill)) return Ok();
  if (signo == abi::kSigCont && sender.group().SessionId() == group().SessionId()) return Ok();
  return Errno::kEPERM;
}

abi::SigStack Task::AltStack() const {
  abi::SigStack stack = alt_stack_;
  const uint64_t sp = context_->regs().rsp;
  const int32_t autodisarm = stack.flags & static_cast<int32_t>(abi::kSsAutodisarm);
  stack.flags = (stack.size == 0 ? abi::kSsDisable : OnAltStack(sp) ? abi::kSsOnstack : 0) | autodisarm;
  stack.pad = 0;
  return stack;
}

Result<void> Task::SetAltStack(const abi::SigStack& stack) {
  if (OnAltStack(context_->regs().rsp)) return Errno::kEPERM;
  const int32_t mode = stack.flags & ~static_cast<int32_t>(abi::kSsAutodisarm);
  if (mode != abi::kSsDisable && mode != abi::kSsOnstack && mode != 0) return Errno::kEINVAL;
  if (mode == abi::kSsDisable) {
    alt_stack_ = abi::SigStack{.sp = 0, .flags = stack.flags, .pad = 0, .size = 0};
    return Ok();
  }
  if (stack.size < abi::kMinSigStackSize) return Errno::kENOMEM;
  alt_stack_ = stack;
  alt_stack_.pad = 0;
  return Ok();
}

bool Task::OnAltStack(uint64_t sp) const {
  // With SS_AUTODISARM the stack is switched off while a handler runs on it, so nobody is ever on it.
  if ((alt_stack_.flags & static_cast<int32_t>(abi::kSsAutodisarm)) != 0) return false;
  return sp > alt_stack_.sp && sp - alt_stack_.sp <= alt_stack_.size;
}

}  // namespace rampart::kernel
