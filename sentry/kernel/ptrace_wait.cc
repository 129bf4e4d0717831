// The end of a tracee, and wait(2) for tracees (Linux kernel/exit.c: wait_consider_task, wait_task_stopped, wait_task_zombie).
#include <utility>

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/task_ops.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::kernel {

bool Tracing::StaysAsZombieTreeLocked(Task& task) {
  return task.trace_.tracer != nullptr && !task.kernel_.state().dying.load();
}

void Tracing::TellOfDeathTreeLocked(Task& task) {
  Task* const tracer = task.trace_.tracer;
  if (tracer == nullptr) return;
  const int status = task.exit_status_;
  const int signo = status & 0x7f;
  abi::SigInfo info{.signo = abi::kSigChld, .code = signo == 0 ? abi::kCldExited : (status & 0x80) != 0 ? abi::kCldDumped : abi::kCldKilled};
  info.SetSender(task.TidIn(tracer->pid_namespace()), task.GetCreds()->ruid);
  info.SetChild(signo == 0 ? status >> 8 : signo, task.user_time() / kClockTick, task.system_time() / kClockTick);
  ThreadGroup& group = *tracer->group_;
  {
    absl::MutexLock lock(&group.signal_mu_);
    (void)group.SendLocked(info, nullptr, true);
  }
  group.child_events_.Notify(abi::kPollIn);
}

// A traced thread that was not its process's first has been waited for; the process may be a zombie from now on, or exec go on.
void Tracing::ThreadReapedTreeLocked(Task& task) {
  Kernel::State& state = task.kernel_.state();
  state.tree_mu.AssertHeld();
  const Ref<ThreadGroup> group = task.group_;
  state.pids.RemoveTask(task, task.tid());
  --group->unreaped_threads_;
  bool last = false;
  {
    absl::MutexLock lock(&group->signal_mu_);
    last = group->tasks_.empty();
    if (group->exec_task_ != nullptr) group->exec_task_->sleeper_.Wake();
  }
  if (last && group->unreaped_threads_ == 0 && !group->zombie_) group->BecomeZombieTreeLocked();
}

bool Tracing::EligibleTreeLocked(const Task& tracee, const WaitRequest& request) {
  switch (request.type) {
    case abi::kPPid:
      return tracee.tid() == request.id;
    case abi::kPPgid:
      return tracee.group_->process_group_ && tracee.group_->process_group_->id() == request.id;
    case abi::kPPidfd:
      return tracee.group_.get() == request.group.get() && tracee.tid() == tracee.group_->pid_;
    default:
      return true;
  }
}

bool Tracing::ReportStopTreeLocked(Task& tracee, const Task& waiter, const WaitRequest& request, WaitAnswer& answer) {
  int code = 0;
  {
    absl::MutexLock lock(&tracee.group_->signal_mu_);
    TraceState& s = tracee.trace_;
    if (!s.stopped || s.listening || s.wait_code == 0) return false;
    code = (request.options & abi::kWnowait) != 0 ? s.wait_code : std::exchange(s.wait_code, 0);
  }
  answer.pid = tracee.TidIn(waiter.pid_namespace());
  answer.status = abi::StoppedStatus(code);
  answer.info.signo = abi::kSigChld;
  answer.info.code = abi::kCldTrapped;
  answer.info.SetSender(answer.pid, tracee.GetCreds()->ruid);
  answer.info.SetChild(code, 0, 0);
  answer.rusage = ToRusage(tracee.group_->Usage());
  return true;
}

bool Tracing::ReapThreadTreeLocked(Task& tracee, const Task& waiter, const WaitRequest& request, WaitAnswer& answer) {
  if ((request.options & abi::kWexited) == 0) return false;
  const Ref<Task> hold = ShareRef(&tracee);
  int status = tracee.exit_status_;
  {
    absl::MutexLock lock(&tracee.group_->signal_mu_);
    if (tracee.group_->exiting_) status = tracee.group_->exit_status_;
  }
  const int signo = status & 0x7f;
  answer.pid = tracee.TidIn(waiter.pid_namespace());
  answer.status = status;
  answer.info.signo = abi::kSigChld;
  answer.info.code = signo == 0 ? abi::kCldExited : (status & 0x80) != 0 ? abi::kCldDumped : abi::kCldKilled;
  answer.info.SetSender(answer.pid, tracee.GetCreds()->ruid);
  answer.info.SetChild(signo == 0 ? status >> 8 : signo, 0, 0);
  answer.rusage = ToRusage(tracee.Usage());
  if ((request.options & abi::kWnowait) == 0) {
    UnlinkTreeLocked(tracee, 0);
    ThreadReapedTreeLocked(tracee);
  }
  return true;
}

bool Tracing::ReapTreeLocked(ThreadGroup& group, Task& tracee, const WaitRequest& request, WaitAnswer& answer) {
  const Ref<ThreadGroup> child = tracee.group_;
  if (!IsReparentedTreeLocked(tracee)) return group.ReapTreeLocked(*child, request, answer);
  WaitRequest look = request;
  look.options |= abi::kWnowait;
  if (!group.ReapTreeLocked(*child, look, answer)) return false;
  if ((request.options & abi::kWnowait) == 0) {
    // The real parent's turn.
    UnlinkTreeLocked(tracee, 0);
    if (child->NotifyParentTreeLocked()) child->ReleaseTreeLocked();
  }
  return true;
}

Tracing::Scan Tracing::ScanTraceesTreeLocked(ThreadGroup& group, const Task& waiter, const WaitRequest& request, WaitAnswer& answer) {
  Scan scan;
  const auto consider = [&](Task& tracee) {
    if (!EligibleTreeLocked(tracee, request)) return false;
    ThreadGroup& process = *tracee.group_;
    const bool leader = tracee.tid() == process.pid_;
    if (!tracee.zombie_) {
      scan.any = true;
    } else if (!leader) {
      if (ReapThreadTreeLocked(tracee, waiter, request, answer)) return true;
    } else if (process.zombie_) {
      if (ReapTreeLocked(group, tracee, request, answer)) return true;
    }
    if (tracee.zombie_ && (request.options & (abi::kWcontinued | abi::kWexited)) != 0) scan.any = true;
    if (!tracee.zombie_ && ReportStopTreeLocked(tracee, waiter, request, answer)) return true;
    if (!leader || process.zombie_ || (request.options & abi::kWcontinued) == 0) return false;
    WaitRequest continued = request;
    continued.options &= ~abi::kWuntraced;
    return group.ReportStopTreeLocked(process, continued, answer);
  };
  const auto scan_of = [&](const Task& tracer) {
    for (size_t i = 0; i < tracer.tracees_.size(); ++i) {
      const Ref<Task> tracee = tracer.tracees_[i];
      if (!consider(*tracee)) continue;
      scan.any = scan.found = true;
      return true;
    }
    return false;
  };
  if ((request.options & abi::kWnothread) != 0) {
    (void)scan_of(waiter);
    return scan;
  }
  for (const Task* tracer : group.tasks_) {
    if (!tracer->tracees_.empty() && scan_of(*tracer)) break;
  }
  return scan;
}

}  // namespace rampart::kernel
