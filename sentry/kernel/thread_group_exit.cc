// What happens to the family when a thread or a process ends (Linux kernel/exit.c: exit_notify, forget_original_parent, release_task).
#include <algorithm>
#include <utility>

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::kernel {

// `task` has done everything else; it is unlinked here, and the process with it if it was the last.
void ThreadGroup::ThreadLeavesTreeLocked(Task& task) {
  Kernel::State& state = kernel_.state();
  state.tree_mu.AssertHeld();
  Tracing::ReleaseTraceesTreeLocked(task);
  const bool is_leader = task.tid() == pid_;
  bool last = false;
  Task* heir = nullptr;
  {
    absl::MutexLock lock(&signal_mu_);
    std::erase(tasks_, &task);
    const ResourceTotals usage = task.Usage();
    dead_usage_ += usage;
    state.CountGone(usage);
    if (RefPtr<mm::MemoryManager> mm = task.mm_; mm && tasks_.empty()) {
      dead_usage_.peak_resident_bytes = std::max(dead_usage_.peak_resident_bytes, mm->stats().peak_resident_bytes);
    }
    last = tasks_.empty();
    if (exec_task_ != nullptr) exec_task_->sleeper_.Wake();
    if (!last) heir = tasks_.front();
  }
  // Children that the thread made: another thread takes over, after the signal that they asked for.
  for (const Ref<ThreadGroup>& child : children_) {
    if (child->parent_tid_ != task.tid()) continue;
    child->SendParentDeathSignalTreeLocked();
    if (heir != nullptr) child->parent_tid_ = heir->tid();
  }
  task.zombie_ = true;
  if (!is_leader && Tracing::StaysAsZombieTreeLocked(task)) {
    ++unreaped_threads_;
    Tracing::TellOfDeathTreeLocked(task);
  } else if (!is_leader) {
    Tracing::ForgetTreeLocked(task);
    state.pids.RemoveTask(task, task.tid());
  }
  if (last && unreaped_threads_ == 0) BecomeZombieTreeLocked();
}

void ThreadGroup::SendParentDeathSignalTreeLocked() {
  absl::MutexLock lock(&signal_mu_);
  for (Task* task : tasks_) {
    const int signo = task->parent_death_signal();
    if (signo != 0) (void)SendLocked(abi::SigInfo{.signo = signo, .code = abi::kSiUser}, nullptr, true);
  }
}

void ThreadGroup::BecomeZombieTreeLocked() {
  Kernel::State& state = kernel_.state();
  if (process_group_ && process_group_->session()->id() == pid_) LoseTerminalTreeLocked();
  ReparentChildrenTreeLocked();
  // Only one whose parent is in another group of the session was what kept its group from being orphaned.
  const ThreadGroup* const up = parent_;
  if (process_group_ && up != nullptr && up->process_group_ && !(up->process_group_ == process_group_) &&
      up->process_group_->session() == process_group_->session()) {
    HangUpIfOrphanedTreeLocked(process_group_.ToRef(), this);
  }
  zombie_ = true;
  {
    absl::MutexLock lock(&signal_mu_);
    final_status_.store(exiting_ ? exit_status_ : last_status_, std::memory_order_release);
    pending_.Discard(~abi::SigSet{0});
  }
  exited_.store(true, std::memory_order_release);
  exit_events_.Notify(abi::kPollIn);
  // A tracer that is not the parent hears of it first, and lets the parent hear of it by its wait.
  const bool traced_by_others = leader_ && Tracing::IsReparentedTreeLocked(*leader_) && Tracing::StaysAsZombieTreeLocked(*leader_);
  if (traced_by_others) Tracing::TellOfDeathTreeLocked(*leader_);
  const bool reap_now = !traced_by_others && NotifyParentTreeLocked();
  if (reap_now || (NobodyWaitsTreeLocked() && (!traced_by_others || state.dying.load()))) ReleaseTreeLocked();
}

// True: nobody wants the status, the process is to be released at once. Linux: do_notify_parent.
bool ThreadGroup::NotifyParentTreeLocked() {
  if (NobodyWaitsTreeLocked()) return true;
  if (parent_ == nullptr) return nobodys_;
  const int status = exit_status();
  abi::SigInfo info{.signo = exit_signal_};
  info.SetSender(PidIn(*parent_->pid_ns_), leader_ ? leader_->GetCreds()->ruid : 0);
  const int signo = status & 0x7f;
  info.code = signo == 0 ? abi::kCldExited : (status & 0x80) != 0 ? abi::kCldDumped : abi::kCldKilled;
  ResourceTotals usage;
  {
    absl::MutexLock lock(&signal_mu_);
    usage = dead_usage_;
  }
  info.SetChild(signo == 0 ? status >> 8 : signo, usage.user_time / kClockTick, usage.system_time / kClockTick);
  bool reap = false;
  {
    absl::MutexLock lock(&parent_->signal_mu_);
    bool send = exit_signal_ != 0;
    if (exit_signal_ == abi::kSigChld) {
      const abi::SigAction action = parent_->actions_->Get(abi::kSigChld);
      const bool traced = leader_ && Tracing::StateOfTreeLocked(*leader_).tracer != nullptr;
      reap = !traced && (action.handler == abi::kSigIgn || (action.flags & abi::kSaNocldwait) != 0);
      if (action.handler == abi::kSigIgn) send = false;
    }
    if (send) (void)parent_->SendLocked(info, nullptr, true);
  }
  parent_->child_events_.Notify(abi::kPollIn);
  return reap;
}

// Who adopts our children: the next ancestor in our PID namespace that asked for it, else process 1 of the namespace. Null: there is none yet.
ThreadGroup* ThreadGroup::FindReaperTreeLocked() {
  for (ThreadGroup* up = parent_; up != nullptr && up->pid_ns_ == pid_ns_; up = up->parent_) {
    if (up->child_subreaper.load(std::memory_order_relaxed) && !up->zombie_ && !up->tasks_.empty()) return up;
  }
  return pid_ns_->init_;
}

// Process 1 of our PID namespace, or of one around it, has ended: it kills whoever is there, and would miss whoever came later.
bool ThreadGroup::NobodyIsBornTreeLocked() const {
  for (const PidNamespace* ns = pid_ns_.get(); ns != nullptr; ns = ns->parent().get()) {
    if (ns->dying_) return true;
  }
  return false;
}

// Whoever would wait for us ends together with a PID namespace that we are in.
bool ThreadGroup::NobodyWaitsTreeLocked() const {
  for (const PidNamespace* ns = pid_ns_.get(); ns != nullptr; ns = ns->parent().get()) {
    if (ns->dying_ && ns->init_ != this && (parent_ == nullptr || parent_->PidIn(*ns) != 0)) return true;
  }
  return false;
}

void ThreadGroup::AbandonChildrenTreeLocked() {
  for (const Ref<ThreadGroup>& child : std::exchange(children_, {})) {
    child->parent_ = nullptr;
    child->nobodys_ = true;
    if (child->zombie_) child->ReleaseTreeLocked();
  }
}

void ThreadGroup::ReparentChildrenTreeLocked() {
  ThreadGroup* const found = FindReaperTreeLocked();
  if (found == this) return;  // PID 1 itself: its children were killed and released before
  if (found == nullptr) return AbandonChildrenTreeLocked();
  ThreadGroup& reaper = *found;
  std::vector<Ref<ThreadGroup>> children = std::exchange(children_, {});
  abi::Pid reaper_tid = reaper.pid_;
  if (!reaper.tasks_.empty()) reaper_tid = reaper.tasks_.front()->tid();
  for (const Ref<ThreadGroup>& child : children) {
    child->parent_ = &reaper;
    child->parent_tid_ = reaper_tid;
    child->exit_signal_ = abi::kSigChld;
    child->adopted_by_init_ = reaper.pid_ == 1 && !reaper.child_subreaper.load(std::memory_order_relaxed);
    reaper.children_.push_back(child);
  }
  for (const Ref<ThreadGroup>& child : children) {
    if (child->zombie_ && child->NotifyParentTreeLocked()) {
      child->ReleaseTreeLocked();
      continue;
    }
    // A child's group may have had us as the only parent outside it.
    if (child->process_group_ && process_group_ && !(child->process_group_ == process_group_) &&
        child->process_group_->session() == process_group_->session()) {
      child->HangUpIfOrphanedTreeLocked(child->process_group_.ToRef(), nullptr);
    }
  }
}

void ThreadGroup::EraseChildTreeLocked(ThreadGroup& child) {
  std::erase_if(children_, [&child](const Ref<ThreadGroup>& c) { return c.get() == &child; });
}

// The last trace goes: the number may be used again. The caller holds a reference to us.
void ThreadGroup::ReleaseTreeLocked() {
  if (std::exchange(released_, true)) return;
  const Ref<ThreadGroup> self = ShareRef(this);
  Kernel::State& state = kernel_.state();
  state.tree_mu.AssertHeld();
  LeaveProcessGroupTreeLocked();
  if (ThreadGroup* parent = std::exchange(parent_, nullptr)) parent->EraseChildTreeLocked(*this);
  RefPtr<Task> leader;
  {
    absl::MutexLock lock(&signal_mu_);
    leader = std::exchange(leader_, nullptr);
  }
  if (leader) {
    Tracing::ForgetTreeLocked(*leader);
    state.pids.RemoveTask(*leader, pid_);
  }
  if (PidTable::Entry* entry = state.pids.Find(pid_)) entry->group = nullptr;
  if (pid_ns_->init_ == this) {
    pid_ns_->init_ = nullptr;
    pid_ns_->dying_ = true;  // also when it never ran
  }
  state.pids.EraseIfEmpty(pid_);
  if (numbers_) state.task_gone.Notify(abi::kPollIn);  // process 1 may wait for us to be gone (KillRemaining)
}

}  // namespace rampart::kernel
