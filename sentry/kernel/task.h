// Task: one thread of the application, run by one host thread. ThreadGroup: a process. Kernel: the sandbox.
//
// Model. A task's host thread runs Task::Run: deliver signals, Context::Switch, then handle what the switch returned (a system call through the
// table, a fault through mm, an exception as a signal), until the task exits. All state marked "task thread" is touched by that thread alone.
// Split by aspect: task.cc (life), task_clone.cc, task_exec.cc, task_exit.cc (exit and wait), task_run.cc (the loop), task_signals.cc, …
//
// Lock order (all of kernel/): Kernel::tree_mu_ (who is whose parent, group, session; pid tables) → ThreadGroup::signal_mu_ (pending signals,
// actions, stops of the group and its tasks) → Task::mu_ (resource pointers, name) → WaitQueue / Sleeper.
// Nothing of mm or vfs is called under any of them.
// Thread safety: as marked; unmarked functions may be called from any thread holding a reference.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "abi/process.h"
#include "abi/regs.h"
#include "abi/resource.h"
#include "abi/seccomp.h"
#include "abi/signal.h"
#include "abi/types.h"
#include "base/ref.h"
#include "base/result.h"
#include "base/time.h"
#include "platform/platform.h"
#include "sentry/auth/credentials.h"
#include "sentry/context/caller.h"
#include "sentry/kernel/ptrace_state.h"
#include "sentry/kernel/signals.h"
#include "sentry/kernel/task_usage.h"
#include "sentry/kernel/use_count.h"
#include "sentry/mm/memory_manager.h"
#include "sentry/mm/user_memory.h"
#include "sentry/mm/user_ptr.h"
#include "sentry/vfs/fs_context.h"

namespace rampart::appfilter {
class Filter;
}  // namespace rampart::appfilter

namespace rampart::ipc {
class UndoList;
}  // namespace rampart::ipc

namespace rampart::keys {
class Key;
}  // namespace rampart::keys

namespace rampart::wait {
class Runner;
}

namespace rampart::kernel {

class Kernel;
class PidNamespace;
class PidNumbers;
class ThreadGroup;
struct CloneRequest;
struct ExecRequest;
struct SyscallHooks;
struct WaitAnswer;
struct WaitRequest;
class VforkGate;
struct ExecImage;
struct InitArgs;
struct Namespaces;
struct PidName;

// What clone(2) and unshare(2) put in the place of a task's own.
struct NewNamespaces {
  Ref<const Namespaces> namespaces;
  RefPtr<vfs::FsContext> fs;  // null: as it was
};

class Task final : public RefCounted, public Caller {
 public:
  Kernel& kernel() const { return kernel_; }
  ThreadGroup& group() const { return *group_; }
  // Thread id: the sandbox's, and in the task's own PID namespace (pid_namespace.h); from `ns`, 0 if it is not seen from there.
  abi::Pid tid() const { return tid_.load(std::memory_order_relaxed); }
  abi::Pid own_tid() const { return own_tid_.load(std::memory_order_relaxed); }
  abi::Pid TidIn(const PidNamespace& ns) const;
  PidName pid_name() const;
  PidNamespace& pid_namespace() const;  // never changes
  // By the numbers that this task knows. Null: it sees no such one.
  RefPtr<Task> FindTask(abi::Pid tid) const;
  RefPtr<ThreadGroup> FindGroup(abi::Pid pid) const;
  // Numbers of processes, threads, process groups and sessions: the sandbox's as this task knows them, and back. 0: not seen.
  abi::Pid ToOwn(abi::Pid pid) const;
  abi::Pid FromOwn(abi::Pid pid) const;

  // --- Caller
  const auth::Credentials& creds() const override { return *creds_; }  // task thread
  uint64_t limit(abi::Resource resource) const override;
  uint32_t umask() const override;
  wait::Sleeper& sleeper() override { return sleeper_; }
  Task* task() override { return this; }

  // --- resources. The plain accessors are for the task's own thread; Get… copies take the lock and are for others (null after exit).
  mm::MemoryManager& mm() const { return *mm_; }
  vfs::FdTable& fds() const { return *fds_; }
  vfs::FsContext& fs() const { return *fs_; }
  Ref<const auth::Credentials> CredsRef() const { return creds_.ToRef(); }
  RefPtr<mm::MemoryManager> GetMm() const;
  RefPtr<vfs::FdTable> GetFds() const;
  RefPtr<vfs::FsContext> GetFs() const;
  Ref<const auth::Credentials> GetCreds() const;
  const Namespaces& namespaces() const { return *namespaces_; }
  RefPtr<const Namespaces> GetNamespaces() const;
  // Task thread: replace (credential changes, unshare, exec).
  void SetCreds(Ref<const auth::Credentials> creds);
  void SetFds(Ref<vfs::FdTable> fds);
  void SetFs(Ref<vfs::FsContext> fs);
  void SetNamespaces(Ref<const Namespaces> namespaces);

  // --- registers, task thread. Valid between Switches.
  abi::UserRegs& regs() { return context_->regs(); }
  platform::Context& context() { return *context_; }

  // --- user memory, task thread.
  template <Crossable T>
  Result<T> CopyIn(UserIn<T> from) {
    return mm_->CopyIn(from);
  }
  template <Crossable T>
  Result<void> CopyOut(UserOut<T> to, const T& value) {
    return mm_->CopyOut(to, value);
  }
  // A path: ENAMETOOLONG, EFAULT.
  Result<std::string> CopyInPath(UserPath from) { return mm_->CopyInString(from.address(), abi::kPathMax, Errno::kENAMETOOLONG); }

  // --- sleeping, task thread (more in blocking.h). Ok when woken; kERESTARTSYS when a signal is to be handled; ETIMEDOUT.
  Result<void> Sleep(Deadline deadline);
  // --- for membarrier(2); any thread. How often it has come back from application code / whether it may be in it now; seq_cst.
  uint64_t rounds() const { return rounds_.load(std::memory_order_seq_cst); }
  bool InApplication() const { return running_.load(std::memory_order_seq_cst) != nullptr; }
  // Makes it come back soon, if it is.
  void Recall();

  // Whether an unblocked signal or a kill waits: long operations should return.
  bool Interrupted() const { return sleeper_.interrupted(); }

  // --- signals (task_signals.cc)
  // To this thread (tgkill; `sender`: as ThreadGroup::SendSignal) / used for faults: forced past blocking and ignoring, as Linux's force_sig_info.
  Result<void> SendSignal(const abi::SigInfo& info, const Task* sender = nullptr);
  void ForceSignal(const abi::SigInfo& info);
  abi::SigSet signal_mask() const { return signal_mask_.load(std::memory_order_acquire); }
  void SetSignalMask(abi::SigSet mask);                 // task thread; removes the unblockable
  // For ppoll, pselect, epoll_pwait, sigsuspend: the mask during the call; the old one comes back after the handler ran.
  void SetTemporaryMask(abi::SigSet mask);              // task thread

  // Pending for this thread or its process; also those that are blocked. Any thread.
  abi::SigSet PendingSet() const;
  abi::SigSet OwnPendingSet() const;   // of the thread alone
  // Takes one pending signal of `wanted`, as signalfd and sigtimedwait do. signo 0: none. Task thread.
  abi::SigInfo DequeueSignal(abi::SigSet wanted);
  // rt_sigtimedwait(2): waits for one of `wanted` (blocked or not) and takes it. EAGAIN at the deadline, EINTR for another signal.
  Result<abi::SigInfo> WaitForSignal(abi::SigSet wanted, Deadline deadline);
  // sigaltstack(2), task thread. EPERM while running on it, EINVAL (flags), ENOMEM (too small).
  abi::SigStack AltStack() const;
  Result<void> SetAltStack(const abi::SigStack& stack);
  // rt_sigreturn(2): takes the state from the frame on the stack. Returns rax. A bad frame forces SIGSEGV.
  Result<Word> SignalReturn();
  // Whether `sender` may send `signo` to this task (kill(2)). EPERM.
  Result<void> CheckKillPermission(const Task& sender, int signo) const;

  // --- life; task thread
  // Returns the child's tid in our PID namespace. EAGAIN, EINVAL, ENOMEM, ENOSPC, EPERM, kERESTARTNOINTR. (task_clone.cc)
  Result<abi::Pid> Clone(const CloneRequest& request);
  // On success the task runs the new program when the call returns. (task_exec.cc)
  Result<void> Exec(ExecRequest request);
  // Opens a file for execution: EACCES for what is not a regular executable file on a mount that allows it. An empty `path`: `start` itself.
  Result<Ref<vfs::FileDescription>> OpenForExec(vfs::Path start, const std::string& path, bool follow_last);
  // exit(2) / exit_group(2): takes effect when the call returns. `status` is a wait status. (task_exit.cc)
  void PrepareExit(int status);
  void PrepareGroupExit(int status);
  // ECHILD, EINVAL, kERESTARTSYS. (task_wait.cc)
  Result<WaitAnswer> Wait(const WaitRequest& request);
  // unshare(2) of descriptors, of root, cwd and umask, of System V adjustments, and of namespaces (task_namespaces.cc). EPERM, EINVAL, ENOSPC.
  Result<void> Unshare(uint64_t flags);
  Result<void> UnshareFds();
  // The adjustments of SEM_UNDO, made on first use; shared by CLONE_SYSVSEM. unshare(CLONE_SYSVSEM) applies them, if nobody shares them.
  Ref<ipc::UndoList> EnsureSemUndo();
  void DropSemUndo();
  // keys(7): the keyrings of the thread and of its session; null: none yet. Any thread. The process's is ThreadGroup's.
  RefPtr<keys::Key> thread_keyring() const;
  RefPtr<keys::Key> session_keyring() const;
  void SetThreadKeyring(RefPtr<keys::Key> keyring);
  void SetSessionKeyring(RefPtr<keys::Key> keyring);
  // KEYCTL_SET_REQKEY_KEYRING: KEY_REQKEY_DEFL_…; inherited. Task thread.
  int32_t default_request_keyring = 0;
  // set_mempolicy(2); inherited. Any thread.
  mm::NumaPolicy numa_policy() const;
  void SetNumaPolicy(const mm::NumaPolicy& policy);
  // Which list that is, for comparison only (kcmp(2)); null: none. Any thread.
  const void* sem_undo_identity() const { return sem_undo_identity_.load(std::memory_order_relaxed); }
  // set_tid_address(2), CLONE_CHILD_CLEARTID.
  UserAddr clear_child_tid() const { return clear_child_tid_; }
  void SetClearChildTid(UserAddr address) { clear_child_tid_ = address; }
  // set_robust_list(2): kept here, used by robust_list.cc. Any thread may read.
  UserAddr robust_list() const { return robust_list_.load(std::memory_order_relaxed); }
  void SetRobustList(UserAddr head) { robust_list_.store(head, std::memory_order_relaxed); }
  // PR_SET_PDEATHSIG: 0 is none. Task thread; read by the dying parent.
  int parent_death_signal() const { return parent_death_signal_.load(std::memory_order_relaxed); }
  void SetParentDeathSignal(int signo) { parent_death_signal_.store(signo, std::memory_order_relaxed); }

  // What a call that sleeps with a relative time-out leaves for restart_syscall(2): returned with kERESTART_RESTARTBLOCK.
  void SetRestart(std::function<Result<Word>(Task&)> restart) { restart_ = std::move(restart); }  // task thread
  // restart_syscall(2). EINTR when nothing was left.
  Result<Word> Restart();

  // prctl(PR_SET_SYSCALL_USER_DISPATCH): calls made outside of [offset, offset + length) become SIGSYS while the byte at `selector` says so (or
  // always, if that is 0). Task thread; not inherited, gone with exec. Change it by SetUserDispatch.
  struct UserDispatch {
    bool on = false;
    uint64_t offset = 0, length = 0, selector = 0;
  };
  const UserDispatch& user_dispatch() const { return user_dispatch_; }
  void SetUserDispatch(const UserDispatch& dispatch);
  // PR_MCE_KILL_…: kept; no machine checks come here.
  std::atomic<uint32_t> mce_kill{2};

  // --- the application's own seccomp (task_seccomp.cc): kSeccompMode…; cheap. Any thread.
  uint32_t seccomp_mode() const { return seccomp_mode_.load(std::memory_order_acquire); }
  RefPtr<const appfilter::Filter> seccomp_filter() const;
  // EINVAL: it has filters already. Task thread.
  Result<void> EnterSeccompStrict();
  // Adds a filter, with `all_threads` for the whole process. 0, or the thread that stands in the way of that. EINVAL, ENOMEM. Task thread.
  Result<abi::Pid> AddSeccompFilter(std::vector<abi::SockFilter> program, bool all_threads);

  // --- name (prctl PR_SET_NAME, comm): at most 15 bytes.
  std::string name() const;
  void SetName(std::string name);

  // --- what /proc shows; any thread
  // 'R' running, 'S' sleeping, 'T' stopped, 't' stopped by its tracer, 'Z' zombie, 'X' dead.
  char StateLetter() const;
  bool alive() const { return !exiting_.load(std::memory_order_acquire); }
  Nanos start_time() const { return start_time_; }   // CLOCK_MONOTONIC
  int nice() const { return nice_.load(std::memory_order_relaxed); }
  void SetNice(int nice) { nice_.store(nice, std::memory_order_relaxed); }
  // What sched_setscheduler(2) and sched_setaffinity(2) were told: remembered, inherited and reported. The host's scheduler hears nothing of it.
  // What tasks made with CLONE_IO share (ioprio_set(2)); remembered only.
  struct IoContext : RefCounted {
    explicit IoContext(int32_t first) : priority(first) {}
    std::atomic<int32_t> priority;  // class << 13 | level
  };
  struct Scheduling {
    int32_t policy = 0;             // abi::kSched…
    bool reset_on_fork = false;
    std::vector<uint64_t> allowed;  // bits of processors; empty: all
    RefPtr<IoContext> io;           // null: no priority was ever set
  };
  Scheduling scheduling() const;
  void SetScheduling(Scheduling scheduling);
  // Bits of the processors that it may run on, of those that there are now; all of them where that leaves none, as with a cpuset.
  std::vector<uint64_t> AllowedProcessors() const;
  // CLOCK_MONOTONIC-rounding of short sleeps (PR_SET_TIMERSLACK), ns; kept, not used. The default is what the creator had.
  std::atomic<uint64_t> timer_slack{50000}, default_timer_slack{50000};

  // CPU time of the thread so far, in ns; see task_usage.h.
  Nanos user_time() const { return TicksToNanos(clock_.user_ticks()); }
  Nanos system_time() const { return TicksToNanos(clock_.system_ticks()); }
  ResourceTotals Usage() const;
  // For /proc/PID/io: a call that has moved so many bytes. Task thread.
  void CountRead(uint64_t bytes) { Raise(bytes_read_, bytes), Raise(read_calls_, 1); }
  void CountWrite(uint64_t bytes) { Raise(bytes_written_, bytes), Raise(write_calls_, 1); }

  // Runs the task on its host thread until it exits; called by the thread pool.
  void Run(platform::Context& context);
  // The host has no Context for it: the process is killed.
  void RunWithoutContext();

 private:
  friend class ThreadGroup;
  friend class Kernel;
  friend class WorkerPool;
  friend struct TaskTestPeer;
  friend struct Tracing;
  friend class HeldTracee;
  friend class CoreDump;
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);

  // What the next signal asks of the loop.
  struct Delivery {
    enum Kind { kNone, kHandler, kExit } kind = kNone;
    abi::SigInfo info;
    abi::SigAction action;
  };
  // x86 details of the last fault, for signal frames.
  struct FaultDetail {
    uint64_t trapno = 0, error_code = 0, cr2 = 0;
  };

  Task(Kernel& kernel, Ref<ThreadGroup> group, const PidName& name);
  ~Task() override;

  // task_run.cc
  bool LoopOnce(wait::Runner& runner);
  void HandleSyscall();
  void HandleTracedSyscall();
  void FinishTracedSyscall(const Result<Word>* result);
  void FinishSyscall(const Result<Word>& result);
  // Ends the process when the kernel holds too much for the sandbox, most likely on its behalf.
  void CheckKernelMemory();
  void HandlePageFault(const platform::Exit& exit);
  void HandleException(const platform::Exit& exit);
  bool HandleInterrupts();
  void PlatformFailed(Errno error);
  void StartRegisters();
  void TellAnswers();

  // task_signals.cc; …Locked: group's signal_mu_ held.
  Delivery NextSignal();
  bool TakeDefaultAction(const abi::SigInfo& info);
  void SignalTaken(abi::SigInfo& info);
  void InterruptLocked();
  void KillLocked();
  void RecalcInterruptLocked();
  bool HasDeliverableLocked() const;
  abi::SigInfo DequeueLocked(abi::SigSet wanted);
  void Stop(int signo);
  void ParticipateInStop();
  void SetMaskLocked(abi::SigSet mask);
  // Runs a handler: builds its frame. False: the frame cannot be written. (signals_frame.cc)
  bool EnterHandler(const Delivery& delivery);
  bool BuildFrame(const abi::SigInfo& info, const abi::SigAction& action);
  Result<void> RestoreXstate(UserAddr address);
  bool OnAltStack(uint64_t sp) const;

  // task_clone.cc
  Result<Ref<ThreadGroup>> GroupForChild(const CloneRequest& request, const PidName& name);
  Result<PidName> NumberForChild(const CloneRequest& request, const Ref<PidNamespace>& ns);
  Result<void> CopyResources(const CloneRequest& request, Task& child, const Ref<PidNamespace>& pid_ns);
  Result<void> CopyState(const CloneRequest& request, Task& child);
  Result<void> CheckTaskLimits() const;
  Result<void> Publish(const CloneRequest& request, Task& child, bool trace);
  void WithdrawUnstarted(Task& child);
  bool WaitForVfork(VforkGate& gate);

  // task_namespaces.cc
  Result<void> CheckNamespaceFlags(uint64_t flags) const;
  Result<Ref<PidNamespace>> PidNamespaceForChildren(uint64_t flags) const;
  Result<NewNamespaces> MakeNamespaces(uint64_t flags, const Ref<PidNamespace>& pid_ns) const;

  // task_seccomp.cc
  void SetSeccompFilter(RefPtr<const appfilter::Filter> filter);
  void InheritSeccomp(const Task& parent);

  // task_exec.cc
  Result<void> LoadFirstProgram(const InitArgs& args);
  Result<ExecImage> LoadImage(ExecRequest request);
  Result<void> ReplaceProgram(ExecRequest request);
  Result<void> KillSiblings();
  void TakeLeadership();
  void InstallImage(ExecImage& image);

  // task_exit.cc
  void Exit();
  void ExitSignals();
  void ReleaseRobustFutexes();
  void KillRemaining();
  void ReleaseMm();
  RefPtr<mm::MemoryManager> DropMm();
  void ReleaseFds();
  void ReleaseVforkParent();
  void ExitNotify();

  Kernel& kernel_;
  const Ref<ThreadGroup> group_;
  std::atomic<abi::Pid> tid_, own_tid_;                        // change only when exec takes the leader's place
  const RefPtr<const PidNumbers> numbers_;                     // those that it was born with
  const Nanos start_time_;
  wait::Sleeper sleeper_;
  mutable absl::Mutex mu_;
  RefPtr<mm::MemoryManager> mm_;                               // this and the next six: written under mu_ by the task thread
  RefPtr<vfs::FdTable> fds_;
  RefPtr<vfs::FsContext> fs_;
  RefPtr<const Namespaces> namespaces_;
  RefPtr<const auth::Credentials> creds_;
  RefPtr<UseCount> mm_users_;
  RefPtr<UseCount> fds_users_;
  std::string name_ ABSL_GUARDED_BY(mu_);
  Scheduling scheduling_ ABSL_GUARDED_BY(mu_);
  RefPtr<const appfilter::Filter> seccomp_filter_ ABSL_GUARDED_BY(mu_);
  RefPtr<keys::Key> thread_keyring_ ABSL_GUARDED_BY(mu_);
  RefPtr<keys::Key> session_keyring_ ABSL_GUARDED_BY(mu_);
  mm::NumaPolicy numa_policy_ ABSL_GUARDED_BY(mu_);

  // Task thread.
  platform::Context* context_ = nullptr;                       // of the host thread that runs it
  std::function<Result<Word>(Task&)> restart_;
  UserAddr clear_child_tid_ = 0;
  abi::SigStack alt_stack_;
  abi::SigSet saved_mask_ = 0;                                 // valid while restore_mask_
  bool restore_mask_ = false;
  bool exit_requested_ = false;
  bool answers_due_ = true;                                    // the platform must be told what getpid() and its like answer
  UserDispatch user_dispatch_;
  uint32_t answers_mode_ = 0;                                  // the seccomp mode when it was told
  bool replaced_registers_ = false;                            // the call set all registers itself (exec, sigreturn)
  uint8_t trace_work_ = 0;                                     // kTrace…: what the last resumption by our tracer asked for
  platform::Step step_ = platform::Step::kRun;
  bool secure_exec_ = false;
  int exit_status_ = 0;
  FaultDetail fault_;
  abi::UserRegs start_regs_{};                                 // set by the parent before the thread starts
  std::vector<std::byte> start_xstate_;
  RefPtr<ipc::UndoList> sem_undo_;
  std::atomic<const void*> sem_undo_identity_{nullptr};
  RefPtr<VforkGate> vfork_gate_;                               // the parent that waits for our exec or exit

  // Any thread.
  std::atomic<platform::Context*> running_{nullptr};           // non-null while in Switch
  std::atomic<uint64_t> rounds_{0};                            // times that it has come back from Switch
  std::atomic<abi::SigSet> signal_mask_{0};                    // written under signal_mu_ by the task thread
  std::atomic<UserAddr> robust_list_{0};
  std::atomic<int> parent_death_signal_{0};
  std::atomic<int> nice_{0};
  std::atomic<uint32_t> seccomp_mode_{abi::kSeccompModeDisabled};
  std::atomic<bool> exiting_{false};                           // written under signal_mu_
  TaskClock clock_;
  std::atomic<uint64_t> minor_faults_{0}, sleeps_{0};
  // Written by the task's thread only.
  static void Raise(std::atomic<uint64_t>& counter, uint64_t by) { counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed); }
  std::atomic<uint64_t> bytes_read_{0}, bytes_written_{0}, read_calls_{0}, write_calls_{0};

  // Guarded by group_->signal_mu_.
  PendingSignals pending_;
  abi::SigSet awaited_ = 0;                                    // sigtimedwait: blocked signals that it waits for
  bool killed_ = false;
  bool stop_pending_ = false;
  bool stopped_ = false;
  bool past_core_dump_ = false;                                // its registers are wanted no more
  bool ending_ = false;                                        // it has asked whether it is the last thread of its process
  TraceState trace_;                                           // some of it also under tree_mu_

  // Guarded by Kernel::tree_mu_.
  bool zombie_ = false;                                        // has ended; a leader, or somebody's tracee, may yet be in the table
  std::vector<Ref<Task>> tracees_;                             // those that we trace (ptrace.h)
};

}  // namespace rampart::kernel
