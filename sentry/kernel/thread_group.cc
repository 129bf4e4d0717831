#include "sentry/kernel/thread_group.h"

#include <algorithm>
#include <utility>

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/timers.h"
#include "sentry/keys/key.h"

namespace rampart::kernel {

ThreadGroup::ThreadGroup(Kernel& kernel, const PidName& name, Ref<SignalActions> actions)
    : kernel_(kernel),
      pid_(name.pid),
      numbers_(name.numbers),
      pid_ns_(numbers_ ? numbers_->ns() : kernel.state().pid_namespace),
      own_pid_(name.own()),
      start_time_(MonotonicNow()),
      protected_(numbers_ && own_pid_ == 1),
      actions_(std::move(actions)) {}

ThreadGroup::~ThreadGroup() = default;

GroupTimers& ThreadGroup::EnsureTimers() {
  absl::MutexLock lock(&signal_mu_);
  if (timers_owner_ == nullptr) {
    timers_owner_ = std::make_shared<GroupTimers>(kernel_, pid_);
    timers_.store(timers_owner_.get(), std::memory_order_release);
  }
  return *timers_owner_;
}

RefPtr<keys::Key> ThreadGroup::process_keyring() const {
  absl::MutexLock lock(&signal_mu_);
  return process_keyring_;
}

void ThreadGroup::SetProcessKeyring(RefPtr<keys::Key> keyring) {
  absl::MutexLock lock(&signal_mu_);
  std::swap(process_keyring_, keyring);
}

bool ThreadGroup::dying() const {
  absl::MutexLock lock(&signal_mu_);
  return exiting_;
}

RefPtr<Task> ThreadGroup::leader() const {
  absl::MutexLock lock(&signal_mu_);
  return leader_;
}

RefPtr<ThreadGroup> ThreadGroup::parent() const {
  absl::ReaderMutexLock lock(&kernel_.state().tree_mu);
  if (parent_ == nullptr) return nullptr;
  return ShareRef(parent_);
}

abi::Pid ThreadGroup::ParentPid() const {
  absl::ReaderMutexLock lock(&kernel_.state().tree_mu);
  return parent_ == nullptr ? 0 : parent_->pid_;
}

abi::Pid ThreadGroup::ProcessGroupId() const {
  absl::ReaderMutexLock lock(&kernel_.state().tree_mu);
  return process_group_ ? process_group_->id() : 0;
}

abi::Pid ThreadGroup::SessionId() const {
  absl::ReaderMutexLock lock(&kernel_.state().tree_mu);
  return process_group_ ? process_group_->session()->id() : 0;
}

abi::Pid ThreadGroup::ParentPidIn(const PidNamespace& ns) const {
  absl::ReaderMutexLock lock(&kernel_.state().tree_mu);
  return parent_ == nullptr ? 0 : parent_->PidIn(ns);
}

abi::Pid ThreadGroup::ProcessGroupIdIn(const PidNamespace& ns) const {
  Kernel::State& state = kernel_.state();
  absl::ReaderMutexLock lock(&state.tree_mu);
  return process_group_ ? std::as_const(state.pids).In(ns, process_group_->id()) : 0;
}

abi::Pid ThreadGroup::SessionIdIn(const PidNamespace& ns) const {
  Kernel::State& state = kernel_.state();
  absl::ReaderMutexLock lock(&state.tree_mu);
  return process_group_ ? std::as_const(state.pids).In(ns, process_group_->session()->id()) : 0;
}

std::vector<Ref<Task>> ThreadGroup::Tasks() const {
  std::vector<Ref<Task>> tasks;
  absl::MutexLock lock(&signal_mu_);
  for (Task* task : tasks_) tasks.push_back(ShareRef(task));
  return tasks;
}

std::vector<Ref<ThreadGroup>> ThreadGroup::Children() const {
  absl::ReaderMutexLock lock(&kernel_.state().tree_mu);
  return children_;
}

int ThreadGroup::exit_signal() const {
  absl::ReaderMutexLock lock(&kernel_.state().tree_mu);
  return exit_signal_;
}

bool ThreadGroup::IsZombie() const {
  absl::ReaderMutexLock lock(&kernel_.state().tree_mu);
  return zombie_;
}

abi::Rlimit ThreadGroup::Limit(abi::Resource r) const {
  const AtomicLimit& limit = limits_[static_cast<size_t>(r)];
  return {limit.cur.load(std::memory_order_relaxed), limit.max.load(std::memory_order_relaxed)};
}

void ThreadGroup::SetLimit(abi::Resource r, abi::Rlimit value) {
  AtomicLimit& limit = limits_[static_cast<size_t>(r)];
  limit.cur.store(value.cur, std::memory_order_relaxed);
  limit.max.store(value.max, std::memory_order_relaxed);
  if (r != abi::Resource::kCpu) return;
  if (value.cur != abi::kRlimInfinity || timers_if_any() != nullptr) EnsureTimers().WatchCpuLimit(value.cur);
}

ResourceTotals ThreadGroup::Usage() const {
  absl::MutexLock lock(&signal_mu_);
  ResourceTotals totals = dead_usage_;
  for (const Task* task : tasks_) totals += task->Usage();
  return totals;
}

ResourceTotals ThreadGroup::ChildrenUsage() const {
  absl::ReaderMutexLock lock(&kernel_.state().tree_mu);
  return children_usage_;
}

void ThreadGroup::JoinProcessGroupTreeLocked(Ref<ProcessGroup> group) {
  group->members_.push_back(this);
  process_group_ = std::move(group);
}

// A process group without members ends; a session without groups ends with it.
void ThreadGroup::LeaveProcessGroupTreeLocked() {
  if (!process_group_) return;
  const Ref<ProcessGroup> group = std::exchange(process_group_, nullptr).ToRef();
  std::erase(group->members_, this);
  if (!group->members_.empty()) return;
  Kernel::State& state = kernel_.state();
  state.tree_mu.AssertHeld();
  if (PidTable::Entry* entry = state.pids.Find(group->id())) entry->process_group = nullptr;
  state.pids.EraseIfEmpty(group->id());
  Session& session = *group->session();
  if (--session.groups_ > 0) return;
  if (session.terminal_) state.terminals.erase(session.terminal_.get());
  session.terminal_ = nullptr;
  const abi::Pid id = session.id();
  if (PidTable::Entry* entry = state.pids.Find(id)) entry->session = nullptr;
  state.pids.EraseIfEmpty(id);
}

Result<void> ThreadGroup::SetProcessGroup(const Task& caller, abi::Pid pgid) {
  ThreadGroup& self = caller.group();
  Kernel::State& state = kernel_.state();
  absl::MutexLock lock(&state.tree_mu);
  if (released_ || !process_group_) return Errno::kESRCH;
  if (this != &self) {
    if (parent_ != &self) return Errno::kESRCH;
    if (process_group_->session() != self.process_group_->session()) return Errno::kEPERM;
    if (did_exec_.load(std::memory_order_relaxed)) return Errno::kEACCES;
  }
  const Ref<Session> session = process_group_->session();
  if (session->id() == pid_) return Errno::kEPERM;  // a session leader stays
  if (pgid == process_group_->id()) return Ok();
  RefPtr<ProcessGroup> target;
  if (PidTable::Entry* entry = state.pids.Find(pgid)) target = entry->process_group;
  if (!target) {
    if (pgid != pid_) return Errno::kEPERM;
    target = MakeRef<ProcessGroup>(pgid, session);
    ++session->groups_;
    state.pids.At(pgid).process_group = target;
  } else if (!(target->session() == session)) {
    return Errno::kEPERM;
  }
  LeaveProcessGroupTreeLocked();
  JoinProcessGroupTreeLocked(std::move(target).ToRef());
  return Ok();
}

Result<abi::Pid> ThreadGroup::NewSession() {
  Kernel::State& state = kernel_.state();
  absl::MutexLock lock(&state.tree_mu);
  PidTable::Entry& entry = state.pids.At(pid_);
  if (entry.process_group || entry.session) return Errno::kEPERM;  // a group of that name exists, with us as leader or left by us
  const Ref<Session> session = MakeRef<Session>(pid_);
  const Ref<ProcessGroup> group = MakeRef<ProcessGroup>(pid_, session);
  ++session->groups_;
  entry.session = session;
  entry.process_group = group;
  LeaveProcessGroupTreeLocked();  // may erase other entries only: ours is not empty
  JoinProcessGroupTreeLocked(group);
  return pid_;
}

// No member has a parent in the same session but another group (POSIX: orphaned process group). PID 1's parent is outside, and counts as such a
// parent: whoever started the sandbox sees it stop and can continue it. PID 1 as the one who adopted is no such parent, as init is none outside.
bool ThreadGroup::IsOrphanedTreeLocked(const ProcessGroup& group, const ThreadGroup* ignoring) const {
  for (const ThreadGroup* member : group.members_) {
    if (member == ignoring || member->zombie_) continue;
    if (member->pid_ == 1) return false;
    const ThreadGroup* parent = member->parent_;
    if (parent == nullptr || member->adopted_by_init_ || !parent->process_group_) continue;
    if (parent->process_group_.get() != &group && parent->process_group_->session() == group.session()) return false;
  }
  return true;
}

bool ThreadGroup::IsOrphanedProcessGroup() const {
  absl::ReaderMutexLock lock(&kernel_.state().tree_mu);
  return !process_group_ || IsOrphanedTreeLocked(*process_group_, nullptr);
}

bool ThreadGroup::HasStoppedMemberTreeLocked(const ProcessGroup& group) const {
  return std::any_of(group.members_.begin(), group.members_.end(), [](const ThreadGroup* member) {
    absl::MutexLock lock(&member->signal_mu_);
    return member->stop_reached_;
  });
}

// exit(3p): when a group becomes orphaned and has stopped members, they get SIGHUP and SIGCONT. `leaving` is the process whose exit does it.
void ThreadGroup::HangUpIfOrphanedTreeLocked(const Ref<ProcessGroup>& group, const ThreadGroup* leaving) {
  if (!IsOrphanedTreeLocked(*group, leaving) || !HasStoppedMemberTreeLocked(*group)) return;
  for (ThreadGroup* member : group->members_) {
    absl::MutexLock lock(&member->signal_mu_);
    (void)member->SendLocked(abi::SigInfo{.signo = abi::kSigHup, .code = abi::kSiKernel}, nullptr, true);
    (void)member->SendLocked(abi::SigInfo{.signo = abi::kSigCont, .code = abi::kSiKernel}, nullptr, true);
  }
}

}  // namespace rampart::kernel
