// wait4(2) and waitid(2) (Linux kernel/exit.c: do_wait).
#include <utility>

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/task_ops.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::kernel {

Result<WaitAnswer> Task::Wait(const WaitRequest& request) {
  WaitAnswer answer;
  const auto scan = [&] {
    absl::MutexLock lock(&kernel_.state().tree_mu);
    return group_->ScanChildrenTreeLocked(*this, request, answer);
  };
  ThreadGroup::WaitScan result = scan();
  if (result.found) return answer;
  if (!result.any) return Errno::kECHILD;
  if ((request.options & abi::kWnohang) != 0) return answer;
  wait::SleeperEntry entry(sleeper_);
  group_->child_events_.Register(entry, abi::kPollIn);
  Result<WaitAnswer> outcome = Errno::kERESTARTSYS;
  while (true) {
    result = scan();
    if (result.found) {
      outcome = answer;
      break;
    }
    if (!result.any) {
      outcome = Errno::kECHILD;
      break;
    }
    const Result<void> slept = Sleep(Deadline::Never());
    if (!slept.ok()) {
      outcome = slept.error();
      break;
    }
  }
  group_->child_events_.Unregister(entry);
  return outcome;
}

bool ThreadGroup::EligibleTreeLocked(const ThreadGroup& child, const Task& waiter, const WaitRequest& request) const {
  switch (request.type) {
    case abi::kPPid:
      if (child.pid_ != request.id) return false;
      break;
    case abi::kPPgid:
      if (!child.process_group_ || child.process_group_->id() != request.id) return false;
      break;
    case abi::kPPidfd:
      if (&child != request.group.get()) return false;
      break;
    default:
      break;
  }
  if ((request.options & abi::kWnothread) != 0 && child.parent_tid_ != waiter.tid()) return false;
  if ((request.options & abi::kWall) != 0) return true;
  const bool is_clone = child.exit_signal_ != abi::kSigChld;
  return is_clone == ((request.options & abi::kWclone) != 0);
}

ThreadGroup::WaitScan ThreadGroup::ScanChildrenTreeLocked(const Task& waiter, const WaitRequest& request, WaitAnswer& answer) {
  WaitScan scan;
  for (size_t i = 0; i < children_.size(); ++i) {
    const Ref<ThreadGroup> child = children_[i];
    if (!EligibleTreeLocked(*child, waiter, request)) continue;
    // What somebody else traces ends and stops for that one first; what one of us traces is told below.
    Task* const leader = child->leader_.get();
    const bool traced = leader != nullptr && Tracing::StateOfTreeLocked(*leader).tracer != nullptr;
    const bool by_others = traced && Tracing::IsReparentedTreeLocked(*leader);
    // The dead are there only for those who wait for them (Linux: wait_task_zombie).
    if (child->zombie_ && !by_others && (request.options & abi::kWexited) == 0) continue;
    scan.any = true;
    const bool one_of_ours = traced && !by_others && !child->zombie_;
    if (one_of_ours ? Tracing::ReportStopTreeLocked(*leader, waiter, request, answer)
                    : (!by_others && ReapTreeLocked(*child, request, answer)) || ReportStopTreeLocked(*child, request, answer)) {
      scan.found = true;
      return scan;
    }
  }
  const Tracing::Scan traced = Tracing::ScanTraceesTreeLocked(*this, waiter, request, answer);
  scan.any = scan.any || traced.any;
  scan.found = traced.found;
  return scan;
}

bool ThreadGroup::ReapTreeLocked(ThreadGroup& child, const WaitRequest& request, WaitAnswer& answer) {
  if (!child.zombie_ || (request.options & abi::kWexited) == 0) return false;
  const int status = child.exit_status();
  const int signo = status & 0x7f;
  ResourceTotals usage;
  {
    absl::MutexLock lock(&child.signal_mu_);
    usage = child.dead_usage_;
    answer.info.SetSender(child.PidIn(*pid_ns_), child.leader_ ? child.leader_->GetCreds()->ruid : 0);
  }
  usage += child.children_usage_;
  answer.pid = child.PidIn(*pid_ns_);
  answer.status = status;
  answer.rusage = ToRusage(usage);
  answer.info.signo = abi::kSigChld;
  answer.info.code = signo == 0 ? abi::kCldExited : (status & 0x80) != 0 ? abi::kCldDumped : abi::kCldKilled;
  answer.info.SetChild(signo == 0 ? status >> 8 : signo, 0, 0);
  if ((request.options & abi::kWnowait) == 0) {
    children_usage_ += usage;
    child.ReleaseTreeLocked();
  }
  return true;
}

bool ThreadGroup::ReportStopTreeLocked(ThreadGroup& child, const WaitRequest& request, WaitAnswer& answer) {
  const bool keep = (request.options & abi::kWnowait) != 0;
  if (child.zombie_) return false;
  {
    absl::MutexLock lock(&child.signal_mu_);
    if ((request.options & abi::kWuntraced) != 0 && child.stop_reached_ && child.stop_unreported_) {
      child.stop_unreported_ = keep;
      answer.status = abi::StoppedStatus(child.stop_signal_);
      answer.info.code = abi::kCldStopped;
      answer.info.SetChild(child.stop_signal_, 0, 0);
    } else if ((request.options & abi::kWcontinued) != 0 && child.continue_unreported_) {
      child.continue_unreported_ = keep;
      answer.status = abi::kContinuedStatus;
      answer.info.code = abi::kCldContinued;
      answer.info.SetChild(abi::kSigCont, 0, 0);
    } else {
      return false;
    }
    answer.info.SetSender(child.PidIn(*pid_ns_), child.leader_ ? child.leader_->GetCreds()->ruid : 0);
  }
  answer.pid = child.PidIn(*pid_ns_);
  answer.info.signo = abi::kSigChld;
  answer.rusage = ToRusage(child.Usage());
  return true;
}

}  // namespace rampart::kernel
