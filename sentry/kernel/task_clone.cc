// clone(2) and its relatives (Linux kernel/fork.c: copy_process).
#include <utility>

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/task_ops.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/kernel/vfork_gate.h"
#include "sentry/keys/key.h"

namespace rampart::kernel {
namespace {

Result<void> CheckFlags(uint64_t flags) {
  const auto has = [flags](uint64_t f) { return (flags & f) != 0; };
  if (has(abi::kCloneNewns) && has(abi::kCloneFs)) return Errno::kEINVAL;
  if (has(abi::kCloneNewuser) && has(abi::kCloneFs)) return Errno::kEINVAL;
  if (has(abi::kCloneThread) && !has(abi::kCloneSighand)) return Errno::kEINVAL;
  if (has(abi::kCloneSighand) && !has(abi::kCloneVm)) return Errno::kEINVAL;
  if (has(abi::kCloneThread) && has(abi::kCloneNewuser | abi::kCloneNewpid)) return Errno::kEINVAL;
  if (has(abi::kCloneSighand) && has(abi::kCloneClearSighand)) return Errno::kEINVAL;
  if (has(abi::kClonePidfd) && has(abi::kCloneDetached)) return Errno::kEINVAL;
  if (has(abi::kCloneNewipc) && has(abi::kCloneSysvsem)) return Errno::kEINVAL;
  if (has(abi::kCloneIntoCgroup)) return Errno::kEPERM;
  return Ok();
}

}  // namespace

Result<void> Task::CheckTaskLimits() const {
  Kernel::State& state = kernel_.state();
  state.tree_mu.AssertHeld();
  const uint64_t most = state.max_tasks.load(std::memory_order_relaxed);
  const size_t now = state.pids.tasks();
  if (most != 0 && now >= most) return Errno::kEAGAIN;
  if (now >= kernel_.platform().capabilities().max_contexts) return Errno::kEAGAIN;
  const uint64_t limit = group_->limit(abi::Resource::kNproc);
  if (now < limit || creds().ruid == 0 || creds().HasCapability(abi::Capability::kSysResource) ||
      creds().HasCapability(abi::Capability::kSysAdmin)) {
    return Ok();
  }
  uint64_t mine = 0;
  for (const Ref<ThreadGroup>& group : state.pids.Groups()) {
    absl::MutexLock lock(&group->signal_mu_);
    for (const Task* task : group->tasks_) mine += task->GetCreds()->ruid == creds().ruid ? 1 : 0;
  }
  if (mine >= limit) return Errno::kEAGAIN;
  return Ok();
}

Result<PidName> Task::NumberForChild(const CloneRequest& request, const Ref<PidNamespace>& ns) {
  Kernel::State& state = kernel_.state();
  absl::MutexLock lock(&state.tree_mu);
  TRY(CheckTaskLimits());
  const bool may_choose = creds().HasCapability(abi::Capability::kSysAdmin) || creds().HasCapability(abi::Capability::kCheckpointRestore);
  return state.pids.Take(ns, request.set_tid, may_choose);
}

Result<Ref<ThreadGroup>> Task::GroupForChild(const CloneRequest& request, const PidName& name) {
  if ((request.flags & abi::kCloneThread) != 0) return group_;
  Ref<SignalActions> actions = [&] {
    absl::MutexLock lock(&group_->signal_mu_);
    return (request.flags & abi::kCloneSighand) != 0 ? group_->actions_ : group_->actions_->Clone();
  }();
  if ((request.flags & abi::kCloneClearSighand) != 0) actions->ResetHandlers();
  const Ref<ThreadGroup> child = MakeRef<ThreadGroup>(kernel_, name, std::move(actions));
  child->oom_score_adj = group_->oom_score_adj.load();
  child->oom_score_adj_min = group_->oom_score_adj_min.load();
  child->core_filter = group_->core_filter.load();
  child->container_.store(group_->container(), std::memory_order_relaxed);
  for (int r = 0; r < abi::kResourceCount; ++r) child->SetLimit(static_cast<abi::Resource>(r), group_->Limit(static_cast<abi::Resource>(r)));
  child->exit_signal_ = request.exit_signal;
  child->dumpable.store(group_->dumpable.load());
  child->personality.store(group_->personality.load());
  child->thp_disabled.store(group_->thp_disabled.load());
  return child;
}

Result<void> Task::CopyResources(const CloneRequest& request, Task& child, const Ref<PidNamespace>& pid_ns) {
  const auto has = [&request](uint64_t f) { return (request.flags & f) != 0; };
  NewNamespaces made = TRY(MakeNamespaces(request.flags, pid_ns));
  RefPtr<mm::MemoryManager> mm = mm_;
  RefPtr<UseCount> mm_users = mm_users_;
  if (has(abi::kCloneVm)) {
    // Of a vfork's parent nothing runs in the meantime, but its context still has the space.
    TRY(context_->PrepareSibling(mm_->space()));
    mm_users->Enter();
  } else {
    mm = TRY(mm_->Fork(context_, mm_users_->shared() ? mm::MemoryManager::Writers::kOthers : mm::MemoryManager::Writers::kCaller));
    mm_users = MakeRef<UseCount>();
  }
  absl::MutexLock lock(&child.mu_);
  child.mm_ = std::move(mm);
  child.mm_users_ = std::move(mm_users);
  if (has(abi::kCloneFiles)) {
    fds_users_->Enter();
    child.fds_ = fds_;
    child.fds_users_ = fds_users_;
  } else {
    child.fds_ = fds_->Clone();
    child.fds_users_ = MakeRef<UseCount>();
  }
  child.fs_ = has(abi::kCloneFs) ? fs_ : made.fs != nullptr ? std::move(made.fs) : RefPtr<vfs::FsContext>(fs_->Clone());
  child.namespaces_ = std::move(made.namespaces);
  child.creds_ = creds_;
  return Ok();
}

// What the child inherits of the thread itself.
Result<void> Task::CopyState(const CloneRequest& request, Task& child) {
  const auto has = [&request](uint64_t f) { return (request.flags & f) != 0; };
  child.start_regs_ = context_->regs();
  child.start_regs_.rax = 0;
  child.start_regs_.orig_rax = ~uint64_t{0};
  if (request.stack != 0) child.start_regs_.rsp = request.stack;
  if (has(abi::kCloneSettls)) {
    if (request.tls >= abi::kMaxUserAddress) return Errno::kEPERM;
    child.start_regs_.fs_base = request.tls;
  }
  child.start_xstate_.resize(kernel_.platform().xstate_size());
  TRY(context_->GetExtendedState(child.start_xstate_));
  child.signal_mask_.store(restore_mask_ ? saved_mask_ : signal_mask(), std::memory_order_relaxed);
  // A new thread has no alternate stack; a forked process has its copy, and so has the child of a vfork.
  if (!has(abi::kCloneVm) || has(abi::kCloneVfork)) child.alt_stack_ = alt_stack_;
  if (has(abi::kCloneChildCleartid)) child.clear_child_tid_ = request.child_tid;
  if (has(abi::kCloneSysvsem)) {
    child.sem_undo_ = EnsureSemUndo();
    child.sem_undo_identity_ = child.sem_undo_.get();
  }
  child.SetSessionKeyring(session_keyring());
  child.default_request_keyring = default_request_keyring;
  child.SetNumaPolicy(numa_policy());
  child.SetName(name());
  child.InheritSeccomp(*this);
  Scheduling inherited = scheduling();
  child.nice_.store(inherited.reset_on_fork && nice() < 0 ? 0 : nice(), std::memory_order_relaxed);
  inherited.reset_on_fork = false;
  if (inherited.io && !has(abi::kCloneIo)) inherited.io = MakeRef<IoContext>(inherited.io->priority.load());
  child.SetScheduling(std::move(inherited));
  child.timer_slack.store(timer_slack.load());
  child.mce_kill.store(mce_kill.load());
  child.default_timer_slack.store(timer_slack.load());
  return Ok();
}

// Makes the child visible to everybody. Fails only if the process may not have another thread now.
Result<void> Task::Publish(const CloneRequest& request, Task& child, bool trace) {
  const bool thread = (request.flags & abi::kCloneThread) != 0;
  Kernel::State& state = kernel_.state();
  ThreadGroup& group = child.group();
  absl::MutexLock lock(&state.tree_mu);
  if (state.dying.load() || group.NobodyIsBornTreeLocked()) return Errno::kENOMEM;
  {
    absl::MutexLock signal_lock(&group_->signal_mu_);
    if (killed_ || stop_pending_) return Errno::kERESTARTNOINTR;
    if (thread) {
      child.InheritSeccomp(*this);  // here: no filter for all threads may pass it by
      group.tasks_.push_back(&child);
    }
  }
  state.pids.AddTask(ShareRef(&child));
  if (trace) Tracing::InheritTreeLocked(*this, child);
  state.forks.fetch_add(1, std::memory_order_relaxed);
  if (thread) return Ok();
  state.pids.At(group.pid()).group = ShareRef(&group);
  if (group.own_pid_ == 1) group.pid_ns_->init_ = &group;
  const bool sibling = (request.flags & abi::kCloneParent) != 0 && group_->parent_ != nullptr;
  ThreadGroup* parent = sibling ? group_->parent_ : group_.get();
  if (sibling) group.exit_signal_ = group_->exit_signal_;
  group.parent_ = parent;
  group.parent_tid_ = sibling ? group_->parent_tid_ : tid();
  parent->children_.push_back(ShareRef(&group));
  group.JoinProcessGroupTreeLocked(group_->process_group_.ToRef());
  absl::MutexLock signal_lock(&group.signal_mu_);
  group.tasks_.push_back(&child);
  group.leader_ = ShareRef(&child);
  return Ok();
}

// The child was published but the host has no thread for it.
void Task::WithdrawUnstarted(Task& child) {
  child.exit_status_ = abi::KilledStatus(abi::kSigKill, false);
  child.exiting_.store(true);
  Kernel::State& state = kernel_.state();
  ThreadGroup& group = child.group();
  absl::MutexLock lock(&state.tree_mu);
  Tracing::ForgetTreeLocked(child);
  {
    absl::MutexLock signal_lock(&group.signal_mu_);
    std::erase(group.tasks_, &child);
  }
  if (&group == group_.get()) {
    state.pids.RemoveTask(child, child.tid());
  } else {
    group.zombie_ = true;
    group.exited_.store(true);
    group.ReleaseTreeLocked();
  }
}

// False: killed meanwhile.
bool Task::WaitForVfork(VforkGate& gate) {
  wait::SleeperEntry entry(sleeper_);
  gate.queue().Register(entry, abi::kPollIn);
  clock_.Enter(TaskClock::State::kAsleep);
  while (!gate.IsOpen()) {
    {
      absl::MutexLock lock(&group_->signal_mu_);
      if (killed_) break;
    }
    (void)sleeper_.SleepUninterruptible(Deadline::Never());
  }
  clock_.Enter(TaskClock::State::kSentry);
  gate.queue().Unregister(entry);
  return gate.IsOpen();
}

Result<abi::Pid> Task::Clone(const CloneRequest& request) {
  const auto has = [&request](uint64_t f) { return (request.flags & f) != 0; };
  TRY(CheckFlags(request.flags));
  // A thread is where its process is; and process 1 has no siblings.
  if (has(abi::kCloneThread) && namespaces_->pid_for_children.get() != &pid_namespace()) return Errno::kEINVAL;
  if (has(abi::kCloneParent) && group_->Unkillable()) return Errno::kEINVAL;
  TRY(CheckNamespaceFlags(request.flags));
  const Ref<PidNamespace> pid_ns = TRY(PidNamespaceForChildren(request.flags));
  if (Interrupted()) return Errno::kERESTARTNOINTR;  // signals first, as Linux: they would be the child's as well
  Kernel::State& state = kernel_.state();
  const PidName name = TRY(NumberForChild(request, pid_ns));
  const auto fail = [&](Errno error) {
    absl::MutexLock lock(&state.tree_mu);
    state.pids.Unreserve(name.pid);
    return error;
  };
  const Result<Ref<ThreadGroup>> group = GroupForChild(request, name);
  if (!group.ok()) return fail(group.error());
  const Ref<Task> child = MakeRef<Task>(kernel_, *group, name);
  if (const Result<void> copied = CopyState(request, *child); !copied.ok()) return fail(copied.error());
  if (const Result<void> copied = CopyResources(request, *child, pid_ns); !copied.ok()) return fail(copied.error());
  const auto undo = [&](Errno error) {
    child->ReleaseFds();
    child->ReleaseMm();
    return fail(error);
  };
  RefPtr<VforkGate> gate;
  if (has(abi::kCloneVfork)) child->vfork_gate_ = gate = MakeRef<VforkGate>();
  Result<Fd> pidfd = Fd{-1};
  if (has(abi::kClonePidfd)) {
    pidfd = fds_->Install(Pidfd::Create(*group, 0), /*close_on_exec=*/true, limit(abi::Resource::kNofile));
    if (!pidfd.ok()) return undo(pidfd.error());
    if (const Result<void> told = mm_->CopyOut(UserOut<int32_t>(request.pidfd), static_cast<int32_t>(*pidfd)); !told.ok()) {
      (void)fds_->Remove(*pidfd);
      return undo(told.error());
    }
  }
  const int event = Tracing::CloneEvent(*this, request);
  const bool trace = event != 0 || has(abi::kClonePtrace);
  if (const Result<void> published = Publish(request, *child, trace); !published.ok()) {
    if (has(abi::kClonePidfd)) (void)fds_->Remove(*pidfd);
    return undo(published.error());
  }
  const abi::Pid pid = name.In(pid_namespace());
  // Errors of these two are not reported, as in Linux.
  if (has(abi::kCloneParentSettid)) (void)mm_->CopyOut(UserOut<int32_t>(request.parent_tid), pid);
  if (has(abi::kCloneChildSettid)) (void)child->mm_->CopyOut(UserOut<int32_t>(request.child_tid), name.own());
  const platform::AddressSpace* space = &child->mm_->space();
  if (const Result<void> started = state.workers.Start(kernel_.platform(), child, space); !started.ok()) {
    WithdrawUnstarted(*child);
    if (has(abi::kClonePidfd)) (void)fds_->Remove(*pidfd);
    child->ReleaseFds();
    child->ReleaseMm();
    return started.error();
  }
  if (event != 0) Tracing::EventAbout(*this, event, name);
  if (gate && WaitForVfork(*gate)) Tracing::EventAbout(*this, abi::kPtraceEventVforkDone, name);
  return pid;
}

}  // namespace rampart::kernel
