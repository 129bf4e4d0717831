// ptrace(2): one task, the tracer, stops another, its tracee, looks at it and changes it (Linux kernel/ptrace.c, and the parts of signal.c, exit.c,
// fork.c that know of it).
//
// Model. A tracee is in a *ptrace-stop* while its own thread sits in Tracing::Stop. Its registers are then the tracer's to read and write;
// what only the tracee's thread may do (extended state belongs to its platform::Context) it does as an *errand* that the tracer gives it
// there. A tracer works on a tracee through a HeldTracee, under which it is frozen: neither SIGKILL nor anything else takes it out of its stop.
// Stops: of signals before their delivery (SignalStop), of system calls, of events, of job control (TakeTrap), and those asked for by
// INTERRUPT. Tracing of calls and stepping are wishes of the last resumption: the tracee's thread keeps them in Task::trace_work_ and Task::step_,
// so a task that is not traced pays one look at a field of its own.
// A tracee that ends stays as a zombie, also a thread that is not its process's first, until the tracer has waited for it; a process is a
// zombie for others only after its traced threads have been waited for (ThreadGroup::unreaped_threads_).
//
// Locks: task.h's. Who traces whom is written under Kernel::tree_mu_ and the tracee's signal_mu_ (tree_mu_ first) and may be read under either;
// Task::tracees_ is tree_mu_'s; the rest of TraceState is signal_mu_'s. Two groups' signal_mu_ are never held at once. A tracer sleeps under none of them.
// Errors: as ptrace(2) has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "abi/ptrace.h"
#include "abi/regs.h"
#include "abi/signal.h"
#include "base/ref.h"
#include "base/result.h"
#include "sentry/kernel/ptrace_state.h"

namespace rampart::mm {
class MemoryManager;
}

namespace rampart::kernel {

class PidNamespace;
class Task;
class ThreadGroup;
struct CloneRequest;
struct PidName;
struct WaitAnswer;
struct WaitRequest;

// Linux: PTRACE_MODE_…: which of the caller's ids count. Reading and attaching differ for security modules only, which there are none of here.
enum class AccessMode : uint8_t { kFsCreds, kRealCreds };
// __ptrace_may_access: whether `caller` (its own thread) may look into or take over `target`. For ptrace, process_vm_readv, kcmp, /proc/PID and others.
bool MayAccess(const Task& caller, const Task& target, AccessMode mode);

// The parts of tracing that the kernel's other files call. All static: the state is in Task and ThreadGroup.
struct Tracing {
  // --- the tracee's thread, no lock held
  // Stops for the tracer, if there is one; returns the signal that it let the tracee go with, 0 for none. `code`: as wait tells it; `why`: CLD_….
  static int Stop(Task& task, int code, int why, uint64_t message, abi::SigInfo* info);
  // PTRACE_EVENT_… if the tracer has asked for it. EventAbout: the message is the number of a thread, as the tracer sees it.
  static void Event(Task& task, int event, uint64_t message);
  static void EventAbout(Task& task, int event, const PidName& thread);
  static bool Wants(const Task& task, uint32_t options);
  // Before and after a system call, when trace_work_ is set. Entry: false: the call is not to be carried out.
  static bool SyscallEntry(Task& task);
  static void SyscallExit(Task& task);
  // A filter of the application's own says SECCOMP_RET_TRACE, and the tracer wants to hear of it. False: the call is not to be carried out; its
  // number and arguments may have changed.
  static bool Seccomp(Task& task, uint32_t data);
  // A signal is about to be delivered. False: the tracer has taken it. `for_group`: it came from the process's queue.
  static bool SignalStop(Task& task, abi::SigInfo& info, bool for_group);
  // The stops that are due to job control, INTERRUPT and attaching.
  static void TakeTrap(Task& task);
  // A handler's frame was built under PTRACE_SINGLESTEP.
  static void SteppedIntoHandler(Task& task);
  static void Exiting(Task& task);
  // Which event a clone is to its tracer, 0 for none.
  static int CloneEvent(const Task& task, const CloneRequest& request);
  // The program is replaced: for the ids that set-id bits may give.
  static bool TracerIsUnprivileged(const Task& task);
  // While one lives nobody attaches to the task's process: what was asked of the new program's file stays true until it runs.
  class ExecGuard {
   public:
    explicit ExecGuard(Task& task);
    ~ExecGuard();
    ExecGuard(const ExecGuard&) = delete;
    ExecGuard& operator=(const ExecGuard&) = delete;

   private:
    Task& task_;
  };

  // --- under tree_mu_
  static void InheritTreeLocked(Task& parent, Task& child);
  // `task` traces nobody any longer: it exits.
  static void ReleaseTraceesTreeLocked(Task& task);
  // `task` has nobody to trace it any longer, and is gone itself.
  static void ForgetTreeLocked(Task& task);
  // `task` has ended. True: it stays, for its tracer to wait for.
  static bool StaysAsZombieTreeLocked(Task& task);
  // Wakes the tracer's wait(2) and sends it the signal.
  static void TellOfDeathTreeLocked(Task& task);
  static bool IsReparentedTreeLocked(const Task& task);
  static const TraceState& StateOfTreeLocked(const Task& task) { return StateOf(task); }
  struct Scan {
    bool any = false, found = false;
  };
  static Scan ScanTraceesTreeLocked(ThreadGroup& group, const Task& waiter, const WaitRequest& request, WaitAnswer& answer);
  static bool ReportStopTreeLocked(Task& tracee, const Task& waiter, const WaitRequest& request, WaitAnswer& answer);

  // --- under the tracee's signal_mu_
  static void KilledLocked(Task& task);
  static bool IsTracedLocked(const Task& task) { return StateOf(task).tracer != nullptr; }
  static bool MustStopLocked(const Task& task);
  // Job control has happened, to a tracee that was seized. Linux: ptrace_trap_notify.
  static void NotifyLocked(Task& task);

  // --- the tracer's thread
  static Result<void> TraceMe(Task& task);
  static Result<void> Attach(Task& tracer, Task& target, bool seize, uint32_t options);
  static Result<void> Interrupt(Task& tracer, Task& target);
  static Result<void> Kill(Task& tracer, Task& target);
  // EINVAL, EPERM.
  static Result<void> CheckOptions(const Task& tracer, uint64_t options);

  // --- any thread: what /proc shows
  static int TracerTidIn(const Task& task, const PidNamespace& ns);   // 0: none, or not seen from there
  static bool IsStopped(const Task& task);

 private:
  friend class HeldTracee;
  static const TraceState& StateOf(const Task& task);
  static void LinkTreeLocked(Task& tracer, Task& target, bool seized, uint32_t options, bool privileged);
  static void UnlinkTreeLocked(Task& target, std::optional<int> signo);
  static int Report(Task& task, int signo, int code, int why, uint64_t message);
  static void ReportSyscall(Task& task, uint64_t message);
  static void Tell(Task& task, int why, int code);
  static void Resumed(Task& task, TraceResume how);
  static int SitOut(Task& task);
  static bool AwaitErrandOrRelease(Task& task, int& answer, TraceResume& how);
  static bool ReapThreadTreeLocked(Task& tracee, const Task& waiter, const WaitRequest& request, WaitAnswer& answer);
  static bool ReapTreeLocked(ThreadGroup& group, Task& tracee, const WaitRequest& request, WaitAnswer& answer);
  static void ThreadReapedTreeLocked(Task& task);
  static bool EligibleTreeLocked(const Task& tracee, const WaitRequest& request);
};

// A tracee in its ptrace-stop, and kept there: what the tracer does with it. The tracer's thread only; not across a sleep of the application's making.
class HeldTracee {
 public:
  // ESRCH: not a tracee of `tracer`, or not in a stop (or listening).
  static Result<HeldTracee> Hold(Task& tracer, Ref<Task> tracee);
  HeldTracee(HeldTracee&& other) noexcept;
  HeldTracee(const HeldTracee&) = delete;
  HeldTracee& operator=(const HeldTracee&) = delete;
  ~HeldTracee();  // lets it be

  Task& task() const { return *tracee_; }
  abi::UserRegs& regs() const;
  // Null when the tracee has given up its memory.
  RefPtr<mm::MemoryManager> mm() const;
  // The whole XSAVE area; Set: EINVAL for what the processor would refuse.
  Result<void> GetExtendedState(std::span<std::byte> out) const;
  Result<void> SetExtendedState(std::span<const std::byte> in) const;

  uint64_t message() const;
  uint32_t options() const;
  void SetOptions(uint32_t options) const;
  // EINVAL: the stop has none (job control's).
  Result<abi::SigInfo> signal() const;
  Result<void> SetSignal(const abi::SigInfo& info) const;
  abi::SigSet mask() const;
  void SetMask(abi::SigSet mask) const;
  // At most `count` of the queued signals, from the `offset`-th on.
  std::vector<abi::SigInfo> PeekSignals(uint64_t offset, size_t count, bool shared) const;

  // These end the hold. EIO: `signo` is no signal.
  Result<void> Resume(TraceResume how, uint64_t signo) &&;
  Result<void> Detach(uint64_t signo) &&;
  // EIO: not seized, or in another stop.
  Result<void> Listen() &&;

 private:
  HeldTracee(Task& tracer, Ref<Task> tracee) : tracer_(&tracer), tracee_(std::move(tracee)) {}
  void RunThere(absl::FunctionRef<void()> errand) const;
  void LetBe();

  Task* tracer_;
  RefPtr<Task> tracee_;
};

}  // namespace rampart::kernel
