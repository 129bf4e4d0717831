// Kernel: everything of one sandbox that is not a process's own: platform, memory file, clocks, PID tables, UTS names, the pool of host
// threads, the system-call entry point, counters. One per Sentry; made by boot before the seccomp filter, started after it.
// Lock order and thread safety: see task.h.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "platform/platform.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/loader/vdso.h"
#include "sentry/mm/memory_file.h"

namespace rampart::time {
class TimerQueue;
}  // namespace rampart::time

namespace rampart::keys {
class Registry;
}  // namespace rampart::keys

namespace rampart::kernel {

class FutexManager;

// The layer above (syscalls/) hands itself to the kernel through these, so that kernel/ does not include it.
struct SyscallHooks {
  // Carries out the call whose number and arguments are in task.regs() and returns what rax gets, or an error (including internal
  // restart codes). Counting, strace and the application's own seccomp filters are done inside.
  Result<Word> (*dispatch)(Task& task, uint32_t number);
  // The platform may answer getpid() and its like without dispatch: nobody wants to see each call (strace).
  bool may_be_answered = false;
};

// The sandbox's limits, from the runner.
struct KernelLimits {
  uint64_t max_tasks = 0;   // --pids; 0: none (EAGAIN from clone above it)
  uint32_t cpus = 0;        // shown to the application; 0: the host's
};

struct KernelConfig {
  Ref<mm::MemoryFile> memory_file;
  std::unique_ptr<platform::Platform> platform;
  RefPtr<loader::Vdso> vdso;
  SyscallHooks hooks;
  KernelLimits limits;
  // PID 1 ignores signals that it has no handler for, even SIGKILL, unless they come from the runner: as the first process of a PID namespace
  // does (that of one made inside always). Off: it behaves like a command that was run directly.
  bool protect_init = false;
  std::string hostname = "rampart";
};

// The first process.
struct InitArgs {
  std::string executable;                 // path inside, or a name to be searched in PATH by the caller (boot does it)
  std::vector<std::string> argv, envp;
  Ref<vfs::FsContext> fs;
  Ref<vfs::FdTable> fds;
  Ref<const auth::Credentials> creds;
  std::array<abi::Rlimit, abi::kResourceCount> limits = kNoLimits;
  abi::SigSet ignored_signals = 0, blocked_signals = 0;   // inherited from the caller (nohup)
  RefPtr<RefCounted> terminal = {};       // a vfs::Terminal: becomes the controlling terminal of its session
  std::vector<abi::SockFilter> filter = {};  // a seccomp filter that it has from the start; empty: none
  uint32_t container = 0;                 // ThreadGroup::container()
  RefPtr<PidNamespace> pid_namespace = {};  // StartProcess: that it is born into; null: the sandbox's
  abi::Pid pid = 0;                       // of ReservePid; 0: the next one
  bool before_init = false;               // StartProcess: PID 1, whose number is reserved, has not been started; who loses his parent then has none
  int32_t sched_policy = 0;               // abi::kSched…; as the next ones: what sched_setattr(2), ioprio_set(2) and personality(2) would have set
  bool reset_on_fork = false;
  int32_t nice = 0;
  int32_t oom_score_adj = 0;
  int32_t io_priority = 0;                // class << 13 | level; 0: none
  uint32_t personality = 0;

  static constexpr std::array<abi::Rlimit, abi::kResourceCount> kNoLimits = [] {
    std::array<abi::Rlimit, abi::kResourceCount> all{};
    for (abi::Rlimit& limit : all) limit = {abi::kRlimInfinity, abi::kRlimInfinity};
    return all;
  }();
};

class Kernel {
 public:
  static Result<std::unique_ptr<Kernel>> Create(KernelConfig config);
  ~Kernel();

  platform::Platform& platform() const;
  const Ref<mm::MemoryFile>& memory_file() const;
  const KernelConfig& config() const;
  // Takes the next number for a process that is to be started later (InitArgs::pid), or gives it back. `ns`: the one of InitArgs::pid_namespace. EAGAIN;
  // ENOMEM: process 1 of `ns` has ended.
  Result<abi::Pid> ReservePid(const RefPtr<PidNamespace>& ns = nullptr);
  void UnreservePid(abi::Pid pid);
  // Makes PID 1 and starts its thread. Errors: as execve.
  Result<Ref<ThreadGroup>> StartInit(InitArgs args);
  // Makes a process that enters from outside, as setns(2) into a PID namespace does: it has no parent (getppid() is 0), leads a session of its
  // own, and its number lives until Reap. EAGAIN (limits), ESRCH (PID 1, or that of its namespace, has gone); else as execve. (kernel_join.cc)
  Result<Ref<ThreadGroup>> StartProcess(InitArgs args);
  // SIGKILL to every process of a container, until none is left that has not exited; for 10 s at most (false).
  bool KillContainer(uint32_t container);
  // Lets go of a process of StartProcess. False: it has not exited yet. Idempotent.
  bool Reap(ThreadGroup& group);

  // No task runs application code from Pause (which waits until that is so, for a second at most; false: not all have stopped) to Resume. Calls that
  // sleep go on sleeping. Idempotent.
  bool Pause();
  void Resume();
  bool paused() const { return paused_.load(std::memory_order_seq_cst); }

  // Waits until PID 1 has exited (everything else was then killed, as in a PID namespace) and returns its wait status
  // (exit code << 8, or signal number | 0x80 core).
  int WaitForInit();
  // Called when PID 1 stops (with the signal) or continues (with 0), from a task's thread; must not block.
  void SetStopObserver(std::function<void(int signo)> observer);
  // From the runner: a signal for PID 1 (SIGCONT: for its process group, as a shell that continues a job sends it) / SIGKILL to everything.
  void SignalInit(int signo);
  // The same for a process, as from the parent of its PID namespace: what protects it does not keep SIGKILL and SIGSTOP away.
  void SignalFromOutside(ThreadGroup& group, int signo);
  void KillAll();

  // Tables, by the sandbox's numbers. What the application names is found by Task::FindTask and FindGroup.
  RefPtr<Task> FindTask(abi::Pid tid) const;
  RefPtr<ThreadGroup> FindGroup(abi::Pid pid) const;
  std::vector<Ref<ThreadGroup>> Groups() const;     // all processes, ascending pid
  size_t task_count() const;
  // Numbers of the sandbox as `ns` has them and back (PidTable::In, Of): 0 for what is not seen there.
  abi::Pid NumberIn(const PidNamespace& ns, abi::Pid pid) const;
  abi::Pid NumberOf(const PidNamespace& ns, abi::Pid number) const;
  // Whether anything bears the sandbox's number: a thread, process, process group or session.
  bool IsTaken(abi::Pid pid) const;
  // Whether it has, or had, its process 1.
  bool HasInit(const PidNamespace& ns) const;
  // A signal to a process group (kill(-pgid), terminals). ESRCH when empty. `sender` null: the kernel.
  Result<void> SignalProcessGroup(abi::Pid pgid, const abi::SigInfo& info, const Task* sender);

  // Those that the first process is in; a task's own: Task::namespaces(), Task::pid_namespace().
  const Namespaces& namespaces() const;
  const Ref<PidNamespace>& pid_namespace() const;

  // Services. All live as long as the Kernel; KernelConfig::vdso is needed for vdso().
  FutexManager& futexes() const;
  time::TimerQueue& timers() const;
  loader::Vdso& vdso() const;
  keys::Registry& keys() const;
  // Events of all asynchronous I/O contexts together, and how many there may be (fs.aio-nr, fs.aio-max-nr).
  struct AioLimits {
    std::atomic<uint64_t> used{0}, most{65536};
  };
  AioLimits& aio_limits() const;

  // How many tasks there may be, 0: as many as may be had; config().limits has what it was in the beginning. Those that are too many stay.
  uint64_t max_tasks() const;
  void SetMaxTasks(uint64_t most);
  // Processors that the application sees; config().limits has what it was in the beginning.
  uint32_t cpus() const;
  void SetCpus(uint32_t count);     // 0: the host's
  Nanos boot_time() const;          // CLOCK_MONOTONIC at boot of the sandbox
  uint64_t forks() const;           // for /proc/stat
  uint64_t out_of_memory_kills() const;  // processes that ended because a page that they touched could not be had

  // kill(2) with pid -1: every process that the sender sees, but process 1 of its namespace and its own. ESRCH when there is none; EPERM when none may be
  // signalled.
  Result<void> SignalAll(const abi::SigInfo& info, const Task& sender);

  struct State;
  State& state() { return *state_; }

 private:
  friend class Task;
  friend class ThreadGroup;
  Kernel();
  void WaitWhilePaused(wait::Sleeper& sleeper);
  Result<PidName> NumberForTreeLocked(const InitArgs& args);
  Result<Ref<Task>> MakeFirstTask(InitArgs& args, const PidName& name);
  void PublishTreeLocked(const Ref<Task>& task, const InitArgs& args);
  void ReportInitStop(int signo);
  static Result<void> SignalEach(const std::vector<Ref<ThreadGroup>>& targets, const abi::SigInfo& info, const Task* sender);
  std::unique_ptr<State> state_;
  std::atomic<bool> paused_{false};
};

}  // namespace rampart::kernel
