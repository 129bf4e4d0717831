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

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "abi/regs.h"
#include "abi/resource.h"
#include "abi/signal.h"
#include "abi/types.h"
#include "base/ref.h"
#include "base/result.h"
#include "base/time.h"
#include "platform/platform.h"
#include "sentry/auth/credentials.h"
#include "sentry/context/caller.h"
#include "sentry/kernel/signals.h"
#include "sentry/mm/memory_manager.h"
#include "sentry/mm/user_memory.h"
#include "sentry/mm/user_ptr.h"
#include "sentry/vfs/fs_context.h"

namespace rampart::kernel {

class Kernel;
class PidNamespace;
class ThreadGroup;
struct SyscallHooks;

class Task final : public RefCounted, public Caller {
 public:
  Kernel& kernel() const { return kernel_; }
  ThreadGroup& group() const { return *group_; }
  // Thread id as seen from the sandbox's root PID namespace; from `ns`, 0 if not visible.
  abi::Pid tid() const { return tid_; }
  abi::Pid TidIn(const PidNamespace& ns) const;

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
  // Task thread: replace (credential changes, unshare, exec).
  void SetCreds(Ref<const auth::Credentials> creds);
  void SetFds(Ref<vfs::FdTable> fds);
  void SetFs(Ref<vfs::FsContext> fs);

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
  // Whether an unblocked signal or a kill waits: long operations should return.
  bool Interrupted() const { return sleeper_.interrupted(); }

  // --- signals (task_signals.cc)
  // To this thread (tgkill) / used for faults: forced past blocking and ignoring, as Linux's force_sig_info.
  Result<void> SendSignal(const abi::SigInfo& info);
  void ForceSignal(const abi::SigInfo& info);
  abi::SigSet signal_mask() const { return signal_mask_.load(std::memory_order_acquire); }
  void SetSignalMask(abi::SigSet mask);                 // task thread; removes the unblockable
  // For ppoll, pselect, epoll_pwait, sigsuspend: the mask during the call; the old one comes back after the handler ran.
  void SetTemporaryMask(abi::SigSet mask);              // task thread

  // What a call that sleeps with a relative time-out leaves for restart_syscall(2): returned with kERESTART_RESTARTBLOCK.
  void SetRestart(std::function<Result<Word>(Task&)> restart) { restart_ = std::move(restart); }  // task thread

  // --- name (prctl PR_SET_NAME, comm): at most 15 bytes.
  std::string name() const;
  void SetName(std::string name);

  // CPU time of the thread so far, in ns (the host's: Sentry thread plus stub).
  Nanos user_time() const;
  Nanos system_time() const;

 private:
  friend class ThreadGroup;
  friend class Kernel;
  friend struct TaskInternals;   // the owner's own files (task_*.cc)

  explicit Task(Kernel& kernel, Ref<ThreadGroup> group, abi::Pid tid);
  ~Task() override;

  Kernel& kernel_;
  Ref<ThreadGroup> group_;
  abi::Pid tid_;
  wait::Sleeper sleeper_;
  std::unique_ptr<platform::Context> context_;                 // task thread
  mutable absl::Mutex mu_;
  RefPtr<mm::MemoryManager> mm_;                               // written under mu_ by the task thread
  RefPtr<vfs::FdTable> fds_;
  RefPtr<vfs::FsContext> fs_;
  RefPtr<const auth::Credentials> creds_;
  std::atomic<abi::SigSet> signal_mask_{0};
  std::function<Result<Word>(Task&)> restart_;                 // task thread
};

}  // namespace rampart::kernel
