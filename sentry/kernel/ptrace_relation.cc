// Who traces whom: beginning, inheriting and ending it, and who may (Linux kernel/ptrace.c: ptrace_attach, ptrace_traceme, __ptrace_unlink,
// exit_ptrace, __ptrace_may_access).
#include <algorithm>
#include <utility>

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::kernel {

bool MayAccess(const Task& caller, const Task& target, AccessMode mode) {
  if (&caller.group() == &target.group()) return true;
  const auth::Credentials& mine = caller.creds();
  if (mine.HasCapability(abi::Capability::kSysPtrace)) return true;
  const Ref<const auth::Credentials> theirs = target.GetCreds();
  const bool fs = mode == AccessMode::kFsCreds;
  const abi::Uid uid = fs ? mine.fsuid : mine.ruid;
  const abi::Gid gid = fs ? mine.fsgid : mine.rgid;
  if (uid != theirs->euid || uid != theirs->suid || uid != theirs->ruid || gid != theirs->egid || gid != theirs->sgid || gid != theirs->rgid) return false;
  if (target.GetMm() && target.group().dumpable.load() != 1) return false;
  // Linux: cap_ptrace_access_check.
  return (theirs->permitted & ~(fs ? mine.effective : mine.permitted)) == 0;
}

Result<void> Tracing::CheckOptions(const Task& tracer, uint64_t options) {
  if ((options & ~uint64_t{abi::kPtraceOMask}) != 0) return Errno::kEINVAL;
  if ((options & abi::kPtraceOSuspendSeccomp) == 0) return Ok();
  // Nobody's filters can be suspended here: as a kernel that was built without checkpointing.
  (void)tracer;
  return Errno::kEINVAL;
}

void Tracing::LinkTreeLocked(Task& tracer, Task& target, bool seized, uint32_t options, bool privileged) {
  tracer.tracees_.push_back(ShareRef(&target));
  absl::MutexLock lock(&target.group_->signal_mu_);
  TraceState& s = target.trace_;
  s.tracer = &tracer;
  s.seized = seized;
  s.options = options;
  s.tracer_privileged = privileged;
}

// Linux: __ptrace_unlink. `signo`: what a tracee in a stop goes on with; none: with the signal that nobody has been told of.
void Tracing::UnlinkTreeLocked(Task& target, std::optional<int> signo) {
  Task* tracer = nullptr;
  {
    ThreadGroup& group = *target.group_;
    absl::MutexLock lock(&group.signal_mu_);
    TraceState& s = target.trace_;
    tracer = std::exchange(s.tracer, nullptr);
    if (tracer == nullptr) return;
    s.seized = s.tracer_privileged = s.trap_stop = s.trap_notify = s.trapping = false;
    s.options = 0;
    const bool alive = !target.exiting_.load(std::memory_order_relaxed);
    // A stop by job control that is in effect takes it in again; nobody counts on that.
    if (alive && (group.stop_reached_ || group.stop_count_ > 0)) target.stop_pending_ = true;
    if (s.stopped) {
      s.answer = signo.value_or(s.wait_code);
      s.resume = TraceResume::kContinue;
      s.stopped = s.frozen = false;
      target.sleeper_.Wake();
    }
    if (alive && target.stop_pending_) target.InterruptLocked();
  }
  std::erase_if(tracer->tracees_, [&target](const Ref<Task>& t) { return t.get() == &target; });
}

void Tracing::ForgetTreeLocked(Task& task) { UnlinkTreeLocked(task, 0); }

bool Tracing::IsReparentedTreeLocked(const Task& task) {
  const Task* tracer = task.trace_.tracer;
  return tracer != nullptr && tracer->group_.get() != task.group_->parent_;
}

bool Tracing::TracerIsUnprivileged(const Task& task) {
  absl::MutexLock lock(&task.group_->signal_mu_);
  return task.trace_.tracer != nullptr && !task.trace_.tracer_privileged;
}

Tracing::ExecGuard::ExecGuard(Task& task) : task_(task) {
  absl::MutexLock lock(&task_.kernel_.state().tree_mu);
  ++task_.group_->execs_;
}

Tracing::ExecGuard::~ExecGuard() {
  Kernel::State& state = task_.kernel_.state();
  {
    absl::MutexLock lock(&state.tree_mu);
    --task_.group_->execs_;
  }
  if (!state.exec_done.empty()) state.exec_done.Notify(abi::kPollIn);
}

Result<void> Tracing::TraceMe(Task& task) {
  const bool child_has_more = task.creds().permitted != 0;
  absl::MutexLock lock(&task.kernel_.state().tree_mu);
  if (task.trace_.tracer != nullptr) return Errno::kEPERM;
  ThreadGroup* parent = task.group_->parent_;
  if (parent == nullptr) return Errno::kEPERM;  // the parent is outside
  for (Task* tracer : parent->tasks_) {
    if (tracer->tid() != task.group_->parent_tid_) continue;
    if (tracer->exiting_.load(std::memory_order_relaxed)) return Ok();
    const Ref<const auth::Credentials> theirs = tracer->GetCreds();
    const bool privileged = theirs->HasCapability(abi::Capability::kSysPtrace);
    if (child_has_more && !privileged && (task.creds().permitted & ~theirs->permitted) != 0) return Errno::kEPERM;
    LinkTreeLocked(*tracer, task, false, 0, privileged);
    return Ok();
  }
  return Ok();  // it is just ending
}

Result<void> Tracing::Attach(Task& tracer, Task& target, bool seize, uint32_t options) {
  if (&tracer.group() == &target.group()) return Errno::kEPERM;
  Kernel::State& state = tracer.kernel_.state();
  const auto attempt = [&]() -> Result<bool> {
    const wait::DeferWakes defer;
    absl::MutexLock lock(&state.tree_mu);
    if (target.group_->execs_ != 0) return false;
    if (!MayAccess(tracer, target, AccessMode::kRealCreds)) return Errno::kEPERM;
    if (target.zombie_ || target.trace_.tracer != nullptr) return Errno::kEPERM;
    LinkTreeLocked(tracer, target, seize, options, tracer.creds().HasCapability(abi::Capability::kSysPtrace));
    absl::MutexLock signal_lock(&target.group_->signal_mu_);
    if (!seize) (void)target.group_->SendLocked(abi::SigInfo{.signo = abi::kSigStop, .code = abi::kSiKernel}, &target, true);
    if (target.stopped_) {
      // From a stop of job control to one of tracing.
      target.trace_.trap_stop = target.trace_.trapping = true;
      target.stopped_ = false;
      target.InterruptLocked();
      target.sleeper_.Wake();
    }
    return true;
  };
  Result<bool> done = attempt();
  if (done.ok() && !*done) {
    wait::SleeperEntry entry(tracer.sleeper_);
    state.exec_done.Register(entry, abi::kPollIn);
    for (done = attempt(); done.ok() && !*done; done = attempt()) {
      if (!tracer.Sleep(Deadline::Never()).ok()) {
        done = Errno::kERESTARTNOINTR;
        break;
      }
    }
    state.exec_done.Unregister(entry);
  }
  if (!done.ok()) return done.error();
  while (true) {
    {
      absl::MutexLock lock(&target.group_->signal_mu_);
      if (!target.trace_.trapping) return Ok();
    }
    (void)tracer.sleeper_.SleepUninterruptible(Deadline::Never());
  }
}

// Linux: ptrace_init_task, for a child that the tracer of its parent gets as well.
void Tracing::InheritTreeLocked(Task& parent, Task& child) {
  const TraceState& from = parent.trace_;
  if (from.tracer == nullptr) return;
  uint32_t options = 0;
  {
    absl::MutexLock lock(&parent.group_->signal_mu_);
    options = from.options;
  }
  LinkTreeLocked(*from.tracer, child, from.seized, options, from.tracer_privileged);
  absl::MutexLock lock(&child.group_->signal_mu_);
  if (from.seized) {
    child.trace_.trap_stop = true;
  } else {
    (void)child.pending_.Enqueue(abi::SigInfo{.signo = abi::kSigStop, .code = abi::kSiUser}, UINT64_MAX);
  }
  child.sleeper_.Interrupt();
}

// Linux: exit_ptrace.
void Tracing::ReleaseTraceesTreeLocked(Task& task) {
  const std::vector<Ref<Task>> tracees = task.tracees_;
  for (const Ref<Task>& tracee : tracees) {
    ThreadGroup& group = *tracee->group_;
    const bool reparented = IsReparentedTreeLocked(*tracee);
    {
      absl::MutexLock lock(&group.signal_mu_);
      if ((tracee->trace_.options & abi::kPtraceOExitKill) != 0) {
        (void)group.SendLocked(abi::SigInfo{.signo = abi::kSigKill, .code = abi::kSiKernel}, tracee.get(), true);
      }
    }
    UnlinkTreeLocked(*tracee, std::nullopt);
    if (!tracee->zombie_) continue;
    // The dead that only the tracer kept, and those that the real parent may see from now on. Linux: __ptrace_detach.
    if (tracee->tid() != group.pid_) {
      ThreadReapedTreeLocked(*tracee);
    } else if (group.zombie_ && reparented) {
      if (group.NotifyParentTreeLocked()) group.ReleaseTreeLocked();
    }
  }
}

Result<void> Tracing::Interrupt(Task& tracer, Task& target) {
  absl::MutexLock lock(&target.group_->signal_mu_);
  TraceState& s = target.trace_;
  if (s.tracer != &tracer) return Errno::kESRCH;
  if (!s.seized || target.exiting_.load(std::memory_order_relaxed)) return Errno::kEIO;
  s.trap_stop = true;
  if (s.listening && s.stopped) {
    s.stopped = false;
    s.answer = 0;
    s.resume = TraceResume::kContinue;
    target.sleeper_.Wake();
  }
  target.InterruptLocked();
  return Ok();
}

Result<void> Tracing::Kill(Task& tracer, Task& target) {
  absl::MutexLock lock(&target.group_->signal_mu_);
  if (target.trace_.tracer != &tracer) return Errno::kESRCH;
  (void)target.group_->SendLocked(abi::SigInfo{.signo = abi::kSigKill, .code = abi::kSiUser}, &target, false);
  return Ok();
}

}  // namespace rampart::kernel
