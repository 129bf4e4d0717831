#include "sentry/kernel/session.h"

#include <utility>

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::kernel {

// Reaches into sessions for the functions below.
struct TerminalOps {
  static Session& SessionOf(const ThreadGroup& group) { return *group.process_group_->session(); }
  static RefPtr<RefCounted> Terminal(const ThreadGroup& group) {
    return group.process_group_ ? group.process_group_->session()->terminal_ : nullptr;
  }
  static bool Owns(const ThreadGroup& group, const RefCounted& terminal) { return Terminal(group).get() == &terminal; }
  static RefPtr<ProcessGroup> GroupNamed(Kernel::State& state, abi::Pid pgid) ABSL_SHARED_LOCKS_REQUIRED(state.tree_mu) {
    const PidTable::Entry* entry = state.pids.Find(pgid);
    return entry == nullptr ? nullptr : entry->process_group;
  }
  static std::vector<Ref<ThreadGroup>> Members(const RefPtr<ProcessGroup>& group) {
    std::vector<Ref<ThreadGroup>> members;
    if (!group) return members;
    for (ThreadGroup* member : group->members_) members.push_back(ShareRef(member));
    return members;
  }
  static Session* ControlledBy(Kernel::State& state, const RefCounted& terminal) ABSL_SHARED_LOCKS_REQUIRED(state.tree_mu) {
    const auto it = state.terminals.find(&terminal);
    return it == state.terminals.end() ? nullptr : it->second;
  }
  static abi::Pid& Foreground(Session& session) { return session.foreground_; }
  static RefPtr<RefCounted>& TerminalSlot(Session& session) { return session.terminal_; }
  static bool Orphaned(const ThreadGroup& group) { return group.IsOrphanedTreeLocked(*group.process_group_, nullptr); }
  static abi::Pid GroupId(const ThreadGroup& group) { return group.process_group_->id(); }

  static void Take(Kernel::State& state, Session& session, Ref<RefCounted> terminal, abi::Pid foreground)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.tree_mu) {
    state.terminals[terminal.get()] = &session;
    session.terminal_ = std::move(terminal);
    session.foreground_ = foreground;
  }
  // Returns who was in the foreground.
  static std::vector<Ref<ThreadGroup>> Lose(Kernel::State& state, Session& session) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.tree_mu) {
    std::vector<Ref<ThreadGroup>> foreground = Members(GroupNamed(state, session.foreground_));
    if (session.terminal_) state.terminals.erase(session.terminal_.get());
    session.terminal_ = nullptr;
    session.foreground_ = 0;
    return foreground;
  }
};

namespace {

abi::SigInfo KernelSignal(int signo) { return abi::SigInfo{.signo = signo, .code = abi::kSiKernel}; }

void HangUp(const std::vector<Ref<ThreadGroup>>& groups) {
  for (const Ref<ThreadGroup>& group : groups) {
    (void)group->SendSignal(KernelSignal(abi::kSigHup));
    (void)group->SendSignal(KernelSignal(abi::kSigCont));
  }
}

}  // namespace

RefPtr<RefCounted> ControllingTerminal(const ThreadGroup& group) {
  absl::ReaderMutexLock lock(&group.kernel().state().tree_mu);
  return TerminalOps::Terminal(group);
}

abi::Pid ForegroundGroupOf(const ThreadGroup& group) {
  absl::ReaderMutexLock lock(&group.kernel().state().tree_mu);
  if (!TerminalOps::Terminal(group)) return -1;
  return TerminalOps::Foreground(TerminalOps::SessionOf(group));
}

Result<void> AcquireTerminal(Task& task, Ref<RefCounted> terminal, bool steal) {
  Kernel::State& state = task.kernel().state();
  absl::MutexLock lock(&state.tree_mu);
  Session& session = TerminalOps::SessionOf(task.group());
  if (TerminalOps::Owns(task.group(), *terminal)) return Ok();
  if (session.id() != task.group().pid() || TerminalOps::TerminalSlot(session)) return Errno::kEPERM;
  if (Session* other = TerminalOps::ControlledBy(state, *terminal)) {
    if (!steal || !task.creds().HasCapability(abi::Capability::kSysAdmin)) return Errno::kEPERM;
    (void)TerminalOps::Lose(state, *other);
  }
  TerminalOps::Take(state, session, std::move(terminal), TerminalOps::GroupId(task.group()));
  return Ok();
}

Result<void> ReleaseTerminal(Task& task, RefCounted& terminal) {
  Kernel::State& state = task.kernel().state();
  std::vector<Ref<ThreadGroup>> foreground;
  {
    absl::MutexLock lock(&state.tree_mu);
    if (!TerminalOps::Owns(task.group(), terminal)) return Errno::kENOTTY;
    Session& session = TerminalOps::SessionOf(task.group());
    // A member that is not the leader gives up only its own view in Linux; a session's view is one here, so it keeps it.
    if (session.id() != task.group().pid()) return Ok();
    foreground = TerminalOps::Lose(state, session);
  }
  HangUp(foreground);
  return Ok();
}

void GiveTerminalTreeLocked(Kernel::State& state, Session& session, Ref<RefCounted> terminal, abi::Pid foreground) {
  state.tree_mu.AssertHeld();
  TerminalOps::Take(state, session, std::move(terminal), foreground);
}

// The session leader exits: the terminal is free, and whoever was in the foreground hears of it. Linux: disassociate_ctty.
void ThreadGroup::LoseTerminalTreeLocked() {
  Kernel::State& state = kernel_.state();
  state.tree_mu.AssertHeld();
  Session& session = *process_group_->session();
  if (!session.terminal_) return;
  for (const Ref<ThreadGroup>& member : TerminalOps::Lose(state, session)) {
    if (member.get() == this) continue;
    absl::MutexLock lock(&member->signal_mu_);
    (void)member->SendLocked(KernelSignal(abi::kSigHup), nullptr, true);
    (void)member->SendLocked(KernelSignal(abi::kSigCont), nullptr, true);
  }
}

void HangUpTerminal(Kernel& kernel, RefCounted& terminal) {
  Kernel::State& state = kernel.state();
  std::vector<Ref<ThreadGroup>> told;
  {
    absl::MutexLock lock(&state.tree_mu);
    Session* session = TerminalOps::ControlledBy(state, terminal);
    if (session == nullptr) return;
    const abi::Pid leader_pid = session->id();
    told = TerminalOps::Lose(state, *session);
    if (const PidTable::Entry* entry = state.pids.Find(leader_pid); entry != nullptr && entry->group) {
      const bool there = std::any_of(told.begin(), told.end(), [&](const Ref<ThreadGroup>& g) { return g->pid() == leader_pid; });
      if (!there) told.push_back(entry->group.ToRef());
    }
  }
  HangUp(told);
}

Result<abi::Pid> ForegroundGroup(Task& task, RefCounted& terminal) {
  absl::ReaderMutexLock lock(&task.kernel().state().tree_mu);
  if (!TerminalOps::Owns(task.group(), terminal)) return Errno::kENOTTY;
  return TerminalOps::Foreground(TerminalOps::SessionOf(task.group()));
}

Result<abi::Pid> TerminalSession(Task& task, RefCounted& terminal) {
  absl::ReaderMutexLock lock(&task.kernel().state().tree_mu);
  if (!TerminalOps::Owns(task.group(), terminal)) return Errno::kENOTTY;
  return TerminalOps::SessionOf(task.group()).id();
}

abi::Pid ForegroundOfTerminal(Kernel& kernel, const RefCounted& terminal) {
  absl::ReaderMutexLock lock(&kernel.state().tree_mu);
  Session* session = TerminalOps::ControlledBy(kernel.state(), terminal);
  return session == nullptr ? 0 : TerminalOps::Foreground(*session);
}

Result<abi::Pid> SessionOfTerminal(Kernel& kernel, const RefCounted& terminal) {
  absl::ReaderMutexLock lock(&kernel.state().tree_mu);
  Session* session = TerminalOps::ControlledBy(kernel.state(), terminal);
  if (session == nullptr) return Errno::kENOTTY;
  return session->id();
}

Result<void> SetForegroundGroup(Task& task, RefCounted& terminal, abi::Pid pgid) {
  TRY(CheckTerminalAccess(task, terminal, TerminalAccess::kControl));
  Kernel::State& state = task.kernel().state();
  absl::MutexLock lock(&state.tree_mu);
  if (!TerminalOps::Owns(task.group(), terminal)) return Errno::kENOTTY;
  if (pgid < 0) return Errno::kEINVAL;
  const RefPtr<ProcessGroup> group = TerminalOps::GroupNamed(state, pgid);
  if (!group) return Errno::kESRCH;
  Session& session = TerminalOps::SessionOf(task.group());
  if (group->session().get() != &session) return Errno::kEPERM;
  TerminalOps::Foreground(session) = pgid;
  return Ok();
}

bool SignalForeground(Kernel& kernel, RefCounted& terminal, int signo) {
  std::vector<Ref<ThreadGroup>> members;
  {
    Kernel::State& state = kernel.state();
    absl::MutexLock lock(&state.tree_mu);
    Session* session = TerminalOps::ControlledBy(state, terminal);
    if (session == nullptr) return false;
    members = TerminalOps::Members(TerminalOps::GroupNamed(state, TerminalOps::Foreground(*session)));
  }
  for (const Ref<ThreadGroup>& member : members) (void)member->SendSignal(KernelSignal(signo));
  return true;
}

// Linux: __tty_check_change and job_control.
Result<void> CheckTerminalAccess(Task& task, RefCounted& terminal, TerminalAccess access) {
  bool orphaned = false;
  {
    absl::ReaderMutexLock lock(&task.kernel().state().tree_mu);
    if (!TerminalOps::Owns(task.group(), terminal)) return Ok();
    const abi::Pid foreground = TerminalOps::Foreground(TerminalOps::SessionOf(task.group()));
    const abi::Pid own_group = TerminalOps::GroupId(task.group());
    if (foreground == 0 || foreground == own_group) return Ok();
    orphaned = TerminalOps::Orphaned(task.group());
  }
  return RefuseBackground(task, access, orphaned);
}

Result<void> RefuseBackground(Task& task, TerminalAccess access, bool orphaned) {
  const int signo = access == TerminalAccess::kRead ? abi::kSigTtin : abi::kSigTtou;
  const bool deaf = (task.signal_mask() & abi::SigBit(signo)) != 0 || task.group().Action(signo).handler == abi::kSigIgn;
  if (deaf) {
    if (access == TerminalAccess::kRead) return Errno::kEIO;
    return Ok();
  }
  if (orphaned) return Errno::kEIO;
  (void)task.kernel().SignalProcessGroup(task.group().ProcessGroupId(), KernelSignal(signo), nullptr);
  return Errno::kERESTARTSYS;
}

}  // namespace rampart::kernel
