// The tracee's side: its stops (Linux kernel/signal.c: ptrace_stop, ptrace_signal, do_jobctl_trap; include/linux/ptrace.h: ptrace_event).
#include <utility>

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/task_ops.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::kernel {
namespace {

constexpr int kSysGoodBit = 0x80;

constexpr uint32_t OptionOf(int event) { return uint32_t{1} << event; }
constexpr int StopCode(int event, int signo) { return (event << 8) | signo; }

}  // namespace

const TraceState& Tracing::StateOf(const Task& task) { return task.trace_; }

bool Tracing::MustStopLocked(const Task& task) {
  const TraceState& s = task.trace_;
  return s.tracer != nullptr && (s.trap_stop || s.trap_notify);
}

bool Tracing::Wants(const Task& task, uint32_t options) {
  absl::MutexLock lock(&task.group_->signal_mu_);
  return task.trace_.tracer != nullptr && (task.trace_.options & options) != 0;
}

int Tracing::TracerTidIn(const Task& task, const PidNamespace& ns) {
  absl::MutexLock lock(&task.group_->signal_mu_);
  return task.trace_.tracer == nullptr ? 0 : task.trace_.tracer->TidIn(ns);
}

bool Tracing::IsStopped(const Task& task) {
  absl::MutexLock lock(&task.group_->signal_mu_);
  return task.trace_.tracer != nullptr && task.trace_.stopped;
}

// signal_mu_ held: SIGKILL ends each stop, unless the tracer is at work: then its end does.
void Tracing::KilledLocked(Task& task) {
  TraceState& s = task.trace_;
  s.stopped = false;
  s.answer = 0;
  s.resume = TraceResume::kContinue;
  if (std::exchange(s.trapping, false)) s.tracer->sleeper_.Wake();
}

void Tracing::NotifyLocked(Task& task) {
  TraceState& s = task.trace_;
  s.trap_notify = true;
  if (s.listening && s.stopped) {
    s.stopped = false;  // to stop anew, for the tracer to hear
    s.answer = 0;
    s.resume = TraceResume::kContinue;
    task.sleeper_.Wake();
  }
  task.InterruptLocked();
}

// Sits in the stop until the tracer lets go, or death does.
bool Tracing::AwaitErrandOrRelease(Task& task, int& answer, TraceResume& how) {
  const absl::FunctionRef<void()>* errand = nullptr;
  {
    absl::MutexLock lock(&task.group_->signal_mu_);
    TraceState& s = task.trace_;
    errand = s.errand;
    if (errand == nullptr) {
      if (s.stopped || s.frozen) return false;
      answer = std::exchange(s.answer, 0);
      how = std::exchange(s.resume, TraceResume::kContinue);
      s.info = nullptr;
      s.message = 0;
      s.wait_code = 0;
      s.listening = false;
      task.RecalcInterruptLocked();
      return true;
    }
  }
  (*errand)();
  absl::MutexLock lock(&task.group_->signal_mu_);
  task.trace_.errand = nullptr;
  if (task.trace_.tracer != nullptr) task.trace_.tracer->sleeper_.Wake();
  return false;
}

int Tracing::SitOut(Task& task) {
  task.clock_.Enter(TaskClock::State::kAsleep);
  int answer = 0;
  TraceResume how = TraceResume::kContinue;
  while (!AwaitErrandOrRelease(task, answer, how)) {
    {
      absl::MutexLock lock(&task.group_->signal_mu_);
      if (task.trace_.errand != nullptr || (!task.trace_.stopped && !task.trace_.frozen)) continue;
    }
    (void)task.sleeper_.SleepUninterruptible(Deadline::Never());
  }
  task.clock_.Enter(TaskClock::State::kSentry);
  Resumed(task, how);
  return answer;
}

void Tracing::Resumed(Task& task, TraceResume how) {
  const bool step = how == TraceResume::kStep || how == TraceResume::kEmulateStep;
  const bool emulate = how == TraceResume::kEmulate || how == TraceResume::kEmulateStep;
  task.trace_work_ = static_cast<uint8_t>((how == TraceResume::kSyscall ? kTraceSyscalls : 0) | (emulate ? kTraceEmulate : 0) | (step ? kTraceStep : 0));
  task.step_ = step ? platform::Step::kSingleInstruction : platform::Step::kRun;
  task.answers_due_ = true;  // the platform may answer no call that the tracer wants to see
}

int Tracing::Stop(Task& task, int code, int why, uint64_t message, abi::SigInfo* info) {
  ThreadGroup& group = *task.group_;
  bool group_stop_complete = false;
  {
    absl::MutexLock lock(&group.signal_mu_);
    TraceState& s = task.trace_;
    if (s.tracer == nullptr || task.killed_) return s.tracer == nullptr ? code : 0;
    s.stopped = true;
    s.wait_code = code;
    s.message = message;
    s.info = info;
    if (why == abi::kCldStopped && task.stop_pending_) {
      task.stop_pending_ = false;
      group_stop_complete = std::exchange(s.counts_in_stop, false) && group.CountStopLocked();
    }
    s.trap_stop = false;
    if (info != nullptr && info->code >> 8 == abi::kPtraceEventStop) s.trap_notify = false;
    if (std::exchange(s.trapping, false)) s.tracer->sleeper_.Wake();
  }
  Tell(task, why, code);
  if (group_stop_complete) {
    const bool tell_parent = [&] {
      absl::ReaderMutexLock lock(&task.kernel_.state().tree_mu);
      return task.trace_.tracer == nullptr || IsReparentedTreeLocked(task);
    }();
    if (tell_parent) group.NotifyParentOfStop(abi::kCldStopped);
  }
  return SitOut(task);
}

// SIGCHLD and whoever waits. Linux: do_notify_parent_cldstop for the tracer.
void Tracing::Tell(Task& task, int why, int code) {
  const wait::DeferWakes defer;
  int status = code & 0x7f;
  if (why != abi::kCldTrapped) {
    absl::MutexLock lock(&task.group_->signal_mu_);
    status = why == abi::kCldContinued ? abi::kSigCont : task.group_->stop_signal_ & 0x7f;
  }
  abi::SigInfo info{.signo = abi::kSigChld, .code = why};
  info.SetChild(status, task.user_time() / kClockTick, task.system_time() / kClockTick);
  absl::MutexLock lock(&task.kernel_.state().tree_mu);
  Task* const tracer = task.trace_.tracer;
  if (tracer == nullptr) return;
  info.SetSender(task.TidIn(tracer->pid_namespace()), task.creds().ruid);
  ThreadGroup& group = *tracer->group_;
  {
    absl::MutexLock signal_lock(&group.signal_mu_);
    const abi::SigAction action = group.actions_->Get(abi::kSigChld);
    if (action.handler != abi::kSigIgn && (action.flags & abi::kSaNocldstop) == 0) (void)group.SendLocked(info, nullptr, true);
  }
  group.child_events_.Notify(abi::kPollIn);
}

// A stop with a signal of its own making. Linux: ptrace_do_notify.
int Tracing::Report(Task& task, int signo, int code, int why, uint64_t message) {
  abi::SigInfo info{.signo = signo, .code = code};
  info.SetSender(task.own_tid(), task.creds().ruid);
  return Stop(task, code, why, message, &info);
}

void Tracing::Event(Task& task, int event, uint64_t message) {
  {
    absl::MutexLock lock(&task.group_->signal_mu_);
    const TraceState& s = task.trace_;
    if (s.tracer == nullptr) return;
    if ((s.options & OptionOf(event)) == 0) {
      if (event != abi::kPtraceEventExec || s.seized) return;
      // What a tracer of old expects: a SIGTRAP after exec.
      abi::SigInfo info{.signo = abi::kSigTrap, .code = abi::kSiUser};
      info.SetSender(task.group_->own_pid(), task.creds().ruid);
      (void)task.group_->SendLocked(info, &task, false);
      return;
    }
  }
  (void)Report(task, abi::kSigTrap, StopCode(event, abi::kSigTrap), abi::kCldTrapped, message);
}

void Tracing::EventAbout(Task& task, int event, const PidName& thread) {
  abi::Pid number = 0;
  {
    absl::MutexLock lock(&task.group_->signal_mu_);
    const Task* const tracer = task.trace_.tracer;
    if (tracer == nullptr) return;
    number = thread.In(tracer->pid_namespace());
  }
  Event(task, event, static_cast<uint64_t>(number));
}

void Tracing::ReportSyscall(Task& task, uint64_t message) {
  int code = abi::kSigTrap;
  {
    absl::MutexLock lock(&task.group_->signal_mu_);
    if (task.trace_.tracer == nullptr) {
      task.trace_work_ = 0;
      return;
    }
    if ((task.trace_.options & abi::kPtraceOTraceSysGood) != 0) code |= kSysGoodBit;
  }
  const int signo = Report(task, abi::kSigTrap, code, abi::kCldTrapped, message);
  if (signo == 0 || !abi::ValidSignal(signo)) return;
  absl::MutexLock lock(&task.group_->signal_mu_);
  (void)task.group_->SendLocked(abi::SigInfo{.signo = signo, .code = abi::kSiKernel}, &task, true);
}

bool Tracing::SyscallEntry(Task& task) {
  const uint8_t work = task.trace_work_;
  if ((work & (kTraceSyscalls | kTraceEmulate)) == 0) return true;
  ReportSyscall(task, abi::kPtraceMessageSyscallEntry);
  if ((work & kTraceEmulate) != 0) return false;
  absl::MutexLock lock(&task.group_->signal_mu_);
  return !task.killed_;
}

void Tracing::SyscallExit(Task& task) {
  const uint8_t work = task.trace_work_;
  if ((work & kTraceStep) != 0 && (work & kTraceEmulate) == 0) {
    // The step over the instruction is done: the platform reports the call only.
    abi::SigInfo info{.signo = abi::kSigTrap, .code = abi::kTrapBrkpt};
    info.SetAddress(task.regs().rip);
    task.ForceSignal(info);
  } else if ((work & kTraceSyscalls) != 0) {
    ReportSyscall(task, abi::kPtraceMessageSyscallExit);
  }
}

bool Tracing::Seccomp(Task& task, uint32_t data) {
  Event(task, abi::kPtraceEventSeccomp, data);
  if (static_cast<uint32_t>(task.regs().orig_rax) == ~uint32_t{0}) return false;
  absl::MutexLock lock(&task.group_->signal_mu_);
  return !task.killed_;
}

bool Tracing::SignalStop(Task& task, abi::SigInfo& info, bool for_group) {
  const int signo = Stop(task, info.signo, abi::kCldTrapped, 0, &info);
  if (!abi::ValidSignal(signo)) return false;
  if (signo != info.signo) {
    // Another signal than the one that came: its sender is the tracer, or our parent when that has let us go.
    info = abi::SigInfo{.signo = signo, .code = abi::kSiUser};
    absl::ReaderMutexLock lock(&task.kernel_.state().tree_mu);
    if (const Task* tracer = task.trace_.tracer; tracer != nullptr) {
      info.SetSender(tracer->TidIn(task.pid_namespace()), tracer->GetCreds()->ruid);
    } else if (const ThreadGroup* parent = task.group_->parent_; parent != nullptr) {
      const Kernel::State& state = task.kernel_.state();
      state.tree_mu.AssertReaderHeld();
      info.SetSender(state.pids.In(task.pid_namespace(), task.group_->parent_tid_), parent->leader_ ? parent->leader_->GetCreds()->ruid : 0);
    }
  }
  absl::MutexLock lock(&task.group_->signal_mu_);
  if ((task.signal_mask() & abi::SigBit(signo)) == 0 && !task.killed_) return true;
  (void)task.group_->SendLocked(info, for_group ? nullptr : &task, true);
  return false;
}

void Tracing::TakeTrap(Task& task) {
  int signo = 0;
  bool seized = false;
  {
    absl::MutexLock lock(&task.group_->signal_mu_);
    const TraceState& s = task.trace_;
    if (s.tracer == nullptr) return;
    seized = s.seized;
    signo = s.stop_signal;
    const bool stop_in_effect = task.group_->stop_count_ > 0 || task.group_->stop_reached_;
    if (seized && !stop_in_effect) signo = abi::kSigTrap;
    if (signo == 0) signo = task.group_->stop_signal_ != 0 ? task.group_->stop_signal_ : abi::kSigStop;
  }
  if (seized) {
    (void)Report(task, signo, StopCode(abi::kPtraceEventStop, signo), abi::kCldStopped, 0);
  } else {
    (void)Stop(task, signo, abi::kCldStopped, 0, nullptr);
  }
}

void Tracing::SteppedIntoHandler(Task& task) { (void)Report(task, abi::kSigTrap, abi::kSigTrap, abi::kCldTrapped, 0); }

void Tracing::Exiting(Task& task) {
  if (task.context_ == nullptr) return;
  {
    absl::MutexLock lock(&task.group_->signal_mu_);
    if (task.trace_.tracer == nullptr || (task.trace_.options & abi::kPtraceOTraceExit) == 0) return;
    // What kills it has been heard; only a new SIGKILL ends the stop (Linux: get_signal takes it from the queue).
    if (!task.kernel_.state().dying.load()) task.killed_ = false;
  }
  Event(task, abi::kPtraceEventExit, static_cast<uint64_t>(static_cast<uint32_t>(task.exit_status_)));
}

int Tracing::CloneEvent(const Task& task, const CloneRequest& request) {
  if ((request.flags & abi::kCloneUntraced) != 0) return 0;
  const int event = (request.flags & abi::kCloneVfork) != 0            ? abi::kPtraceEventVfork
                    : request.exit_signal != abi::kSigChld ? abi::kPtraceEventClone
                                                           : abi::kPtraceEventFork;
  return Wants(task, OptionOf(event)) ? event : 0;
}

}  // namespace rampart::kernel
