// ThreadGroup: a process: its tasks, parent and children, process group and session, signal actions, limits, exit status.
// Process groups, sessions and the controlling terminal: session.h.
// Lock order and thread safety: see task.h.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "abi/resource.h"
#include "abi/signal.h"
#include "sentry/kernel/pid_namespace.h"
#include "sentry/kernel/session.h"
#include "sentry/kernel/signals.h"
#include "sentry/kernel/task.h"
#include "sentry/wait/wait.h"

namespace rampart::kernel {

class CoreDump;
class GroupTimers;

// One unit of the times in siginfo and times(2).
inline constexpr Nanos kClockTick = kNanosPerSecond / 100;

class ThreadGroup final : public RefCounted {
 public:
  Kernel& kernel() const { return kernel_; }
  abi::Pid pid() const { return pid_; }               // tgid in the sandbox's PID namespace; see pid_namespace.h
  abi::Pid own_pid() const { return own_pid_; }        // in its own
  PidNamespace& pid_namespace() const { return *pid_ns_; }
  // From `ns`; 0: not seen from there.
  abi::Pid PidIn(const PidNamespace& ns) const { return ns.is_root() ? pid_ : numbers_ ? numbers_->In(ns) : 0; }
  PidName name() const { return {pid_, numbers_}; }
  RefPtr<Task> leader() const;                         // may be a zombie while other threads run; null once reaped
  RefPtr<ThreadGroup> parent() const;
  abi::Pid ParentPid() const;                          // 0: none
  abi::Pid ProcessGroupId() const;
  abi::Pid SessionId() const;
  // The same three as `ns` has them; 0: not seen from there.
  abi::Pid ParentPidIn(const PidNamespace& ns) const;
  abi::Pid ProcessGroupIdIn(const PidNamespace& ns) const;
  abi::Pid SessionIdIn(const PidNamespace& ns) const;
  std::vector<Ref<Task>> Tasks() const;               // live tasks
  std::vector<Ref<ThreadGroup>> Children() const;      // zombies included
  int exit_signal() const;                             // what the parent is sent; 0: nothing
  bool IsZombie() const;                               // exited, not yet reaped
  uint64_t limit(abi::Resource r) const { return limits_[static_cast<size_t>(r)].cur.load(std::memory_order_relaxed); }
  abi::Rlimit Limit(abi::Resource r) const;
  void SetLimit(abi::Resource r, abi::Rlimit value);

  // --- job control (setpgid(2), setsid(2)); `caller` is the calling task. Errors as documented there.
  Result<void> SetProcessGroup(const Task& caller, abi::Pid pgid);
  Result<abi::Pid> NewSession();

  // --- signals
  // A signal for the process (kill): picks a thread that does not block it. Permission is checked by the caller. `sender`: who has named himself in `info`;
  // from a namespace around ours he is nobody (0), and what protects process 1 does not keep SIGKILL and SIGSTOP away.
  Result<void> SendSignal(const abi::SigInfo& info, const Task* sender = nullptr);
  abi::SigAction Action(int signo) const;
  // Interrupts nothing; SIG_IGN discards pending ones, as sigaction(2).
  Result<abi::SigAction> SetAction(int signo, const abi::SigAction& action);
  abi::SigSet PendingSet() const;
  abi::SigSet IgnoredSet() const;
  abi::SigSet CaughtSet() const;
  // Which table of actions it has, shared by CLONE_SIGHAND, for comparison only (kcmp(2)).
  const void* actions_identity() const;
  size_t QueuedSignals() const;
  // Told (kPollIn) whenever a signal becomes pending for the process or one of its tasks, and when an action or mask changes what is
  // deliverable: for signalfd.
  wait::WaitQueue& signal_events() { return signal_events_; }
  // SIGKILL to every thread with this wait status, as exit_group does.
  void Kill(int status);

  // Told (kPollIn) when the process has exited: for pidfds.
  wait::WaitQueue& exit_events() { return exit_events_; }
  // The wait status, valid once IsZombie or reaped.
  int exit_status() const { return final_status_.load(std::memory_order_acquire); }
  // Whether the whole process is ending: killed, or exit_group was called.
  bool dying() const;
  bool exited() const { return exited_.load(std::memory_order_acquire); }

  // --- accounting
  Nanos start_time() const { return start_time_; }     // CLOCK_MONOTONIC (boot of the sandbox = 0 is the caller's arithmetic)
  ResourceTotals Usage() const;                        // all threads, dead ones included
  ResourceTotals ChildrenUsage() const;                // of children that were waited for

  // --- interval and POSIX timers (timers.h); made on first use
  GroupTimers& EnsureTimers();
  // Null when the process never used one.
  GroupTimers* timers_if_any() const { return timers_.load(std::memory_order_acquire); }

  // keys(7): the keyring of the process; null: none yet.
  RefPtr<keys::Key> process_keyring() const;
  void SetProcessKeyring(RefPtr<keys::Key> keyring);

  // Which container of the sandbox it belongs to: 0, or what a pod's further container was given. Inherited; never changes once it can be found.
  uint32_t container() const { return container_.load(std::memory_order_relaxed); }

  // --- prctl
  std::atomic<bool> child_subreaper{false};
  std::atomic<int> dumpable{1};
  std::atomic<uint32_t> personality{0};
  std::atomic<bool> thp_disabled{false};
  // /proc/PID/oom_score_adj, and the least that may be written there without CAP_SYS_RESOURCE: remembered and inherited, nobody chooses victims by it.
  std::atomic<int> oom_score_adj{0}, oom_score_adj_min{0};
  // /proc/PID/coredump_filter: core(5)'s bits of what goes into a core.
  std::atomic<uint32_t> core_filter{0x33};

 private:
  friend class Task;
  friend class Kernel;
  friend struct TerminalOps;
  friend struct TaskTestPeer;
  friend struct Tracing;
  friend class HeldTracee;
  friend class CoreDump;
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  struct AtomicLimit {
    std::atomic<uint64_t> cur{abi::kRlimInfinity}, max{abi::kRlimInfinity};
  };
  // Which part of the children a wait looks at, and what it found.
  struct WaitScan {
    bool any = false;    // there is an eligible child
    bool found = false;
  };

  ThreadGroup(Kernel& kernel, const PidName& name, Ref<SignalActions> actions);
  ~ThreadGroup() override;
  std::atomic<uint32_t> container_{0};

  // tree_mu_ held (…TreeLocked), signal_mu_ held (…Locked).
  void JoinProcessGroupTreeLocked(Ref<ProcessGroup> group);
  void LeaveProcessGroupTreeLocked();
  bool IsOrphanedTreeLocked(const ProcessGroup& group, const ThreadGroup* ignoring) const;
  bool IsOrphanedProcessGroup() const;
  void HangUpIfOrphanedTreeLocked(const Ref<ProcessGroup>& group, const ThreadGroup* leaving);
  bool HasStoppedMemberTreeLocked(const ProcessGroup& group) const;
  ThreadGroup* FindReaperTreeLocked();
  bool NobodyIsBornTreeLocked() const;
  bool NobodyWaitsTreeLocked() const;
  void AbandonChildrenTreeLocked();
  void ReparentChildrenTreeLocked();
  void ThreadLeavesTreeLocked(Task& task);
  bool NotifyParentTreeLocked();
  void BecomeZombieTreeLocked();
  void SendParentDeathSignalTreeLocked();
  void LoseTerminalTreeLocked();   // session.cc
  void ReleaseTreeLocked();
  void EraseChildTreeLocked(ThreadGroup& child);
  WaitScan ScanChildrenTreeLocked(const Task& waiter, const WaitRequest& request, WaitAnswer& answer);
  bool EligibleTreeLocked(const ThreadGroup& child, const Task& waiter, const WaitRequest& request) const;
  bool ReapTreeLocked(ThreadGroup& child, const WaitRequest& request, WaitAnswer& answer);
  bool ReportStopTreeLocked(ThreadGroup& child, const WaitRequest& request, WaitAnswer& answer);
  void NotifyParentOfStop(int code);

  bool IgnoredLocked(const Task& task, int signo, bool force) const;
  bool PrepareSignalLocked(const Task& target, int signo, bool force);
  Result<void> SendLocked(const abi::SigInfo& info, Task* target, bool force);
  Result<void> SendFromLocked(const Task* sender, const abi::SigInfo& info, Task* target);
  void WakeForLocked(int signo, Task* target);
  void BeginExitLocked(int status, const Task* except);
  void ContinueLocked();
  void DiscardEverywhereLocked(abi::SigSet signals);
  // One fewer has to stop. True: the stop is complete and the parent is to be told.
  bool CountStopLocked();
  bool Unkillable() const;

  Kernel& kernel_;
  const abi::Pid pid_;
  const RefPtr<const PidNumbers> numbers_;             // null: it is in the sandbox's namespace
  const Ref<PidNamespace> pid_ns_;
  const abi::Pid own_pid_;
  std::atomic<GroupTimers*> timers_{nullptr};          // owned by timers_owner_
  std::shared_ptr<GroupTimers> timers_owner_;          // set once, under signal_mu_
  const Nanos start_time_;
  std::array<AtomicLimit, abi::kResourceCount> limits_;
  wait::WaitQueue signal_events_, exit_events_;
  wait::WaitQueue child_events_;                       // children of ours changed state
  std::atomic<bool> exited_{false};
  std::atomic<int> final_status_{0};
  std::atomic<bool> did_exec_{false};
  const bool protected_;                               // process 1 of a namespace that was made inside
  std::atomic<bool> protection_lost_{false};           // a protected process had a fault that it does not handle

  // Guarded by Kernel::tree_mu_.
  ThreadGroup* parent_ = nullptr;                      // null: PID 1, or reaped
  abi::Pid parent_tid_ = 0;                            // the thread of the parent that made us (or took over)
  std::vector<Ref<ThreadGroup>> children_;
  RefPtr<ProcessGroup> process_group_;
  int exit_signal_ = abi::kSigChld;
  bool zombie_ = false;
  bool released_ = false;
  int unreaped_threads_ = 0;                           // ended, and kept for their tracers
  int execs_ = 0;                                      // threads in exec: nobody attaches meanwhile
  bool adopted_by_init_ = false;                       // its own parent has gone, and PID 1 did not ask for it
  bool nobodys_ = false;                               // its own parent has gone before there was a PID 1: nobody waits for it
  ResourceTotals children_usage_;

  mutable absl::Mutex signal_mu_;
  std::vector<Task*> tasks_;                           // not yet exited; changed under tree_mu_ and signal_mu_, read under either
  RefPtr<Task> leader_;                                // guarded likewise; null when reaped
  Ref<SignalActions> actions_;                         // replaced only by exec of the last thread
  PendingSignals pending_;
  RefPtr<keys::Key> process_keyring_;
  bool exiting_ = false;
  int exit_status_ = 0;                                // valid while exiting_
  int last_status_ = 0;                                // what the last thread to exit gave to exit(2)
  CoreDump* core_ = nullptr;                           // being written
  Task* exec_task_ = nullptr;                          // waits in exec for the others to be gone
  int stop_count_ = 0;                                 // threads that have yet to stop
  int stop_signal_ = 0;                                // of the stop in progress or reached
  bool stop_reached_ = false;
  bool stop_unreported_ = false;                       // wait(WUNTRACED) has not seen the stop
  bool continue_unreported_ = false;
  bool continued_since_dequeue_ = false;               // a SIGCONT came after the last stop signal
  int parent_notice_ = 0;                              // CLD_STOPPED or CLD_CONTINUED that the next thread tells the parent
  ResourceTotals dead_usage_;                          // of threads that have gone
};

}  // namespace rampart::kernel
