// The loop of a task: deliver signals, run application code, handle what stopped it.
#include <cstring>

#include "abi/sysno.h"
#include "base/heap_meter.h"
#include "base/log.h"
#include "sentry/ipc/object.h"
#include "sentry/kernel/current_task.h"
#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/task.h"
#include "sentry/wait/run_queue.h"

namespace rampart::kernel {
namespace {

constexpr uint64_t kNoSyscall = ~uint64_t{0};  // orig_rax outside system calls
constexpr uint64_t kSyscallInstructionLength = 2;
constexpr uint64_t kTrapPageFault = 14;

// The kernel's own objects (files in memory, pipes, sockets, names …) count towards the sandbox's limit, beyond what the runner adds for them
// (runner/cgroup: MemoryHeadroom, most of it for the sentry's threads and the gofer). Below the first the limit is not looked at.
constexpr uint64_t kUnwatchedHeap = uint64_t{16} << 20;
constexpr uint64_t kKernelHeap = uint64_t{40} << 20;
// Whoever has taken this much is the first to go; a little later it is whoever comes.
constexpr int64_t kLargeShare = int64_t{1} << 20;
constexpr uint64_t kPatience = uint64_t{8} << 20;
// What the host spends on a thread of ours and one of the application's (stacks, task structures): measured.
constexpr int64_t kHostThreads = int64_t{48} << 10;

constinit thread_local Task* t_current = nullptr;

bool IsRestart(Errno e) { return static_cast<int>(e) >= static_cast<int>(Errno::kERESTARTSYS); }
uint64_t NegativeErrno(Errno e) { return static_cast<uint64_t>(-static_cast<int64_t>(e)); }
bool MeansRestart(const abi::UserRegs& regs) {
  const uint64_t code = ~regs.rax + 1;
  return regs.orig_rax != kNoSyscall && code <= static_cast<uint64_t>(Errno::kERESTART_RESTARTBLOCK) && IsRestart(static_cast<Errno>(code));
}

}  // namespace

Task* CurrentTask() { return t_current; }

void Task::Run(platform::Context& context) {
  t_current = this;
  context_ = &context;
  clock_.Enter(TaskClock::State::kSentry);
  StartThreadHeap();
  CountBeside(kHostThreads);
  ipc::SetCurrentProcess(group_->pid());
  StartRegisters();
  answers_due_ = true;  // the Context may come from another task
  wait::Runner runner;
  runner.Enter();
  while (LoopOnce(runner)) {
  }
  Exit();
  CountBeside(-kHostThreads);
  clock_.Enter(TaskClock::State::kIdle);
  context_ = nullptr;
  t_current = nullptr;
}

void Task::RunWithoutContext() {
  ipc::SetCurrentProcess(group_->pid());
  PrepareGroupExit(abi::KilledStatus(abi::kSigKill, false));
  Exit();
}

void Task::StartRegisters() {
  context_->regs() = start_regs_;
  if (start_xstate_.empty()) return;
  const Result<void> set = context_->SetExtendedState(start_xstate_);
  if (!set.ok()) PlatformFailed(set.error());
  start_xstate_ = {};
}

// What this thread's identity answers, as long as nobody filters its calls. Another thread's filter (SECCOMP_FILTER_FLAG_TSYNC) interrupts us.
void Task::TellAnswers() {
  answers_due_ = false;
  answers_mode_ = seccomp_mode();
  if (!kernel_.config().hooks.may_be_answered) return;
  if (answers_mode_ != abi::kSeccompModeDisabled || trace_work_ != 0 || user_dispatch_.on) return context_->SetAnswers({});
  const auto number = [](abi::Sysno sysno) { return static_cast<uint32_t>(sysno); };
  const platform::KnownAnswer answers[] = {
      {number(abi::Sysno::getpid), static_cast<uint64_t>(group_->own_pid())},
      {number(abi::Sysno::gettid), static_cast<uint64_t>(own_tid())},
      {number(abi::Sysno::getuid), creds_->ruid},
      {number(abi::Sysno::geteuid), creds_->euid},
      {number(abi::Sysno::getgid), creds_->rgid},
      {number(abi::Sysno::getegid), creds_->egid},
  };
  context_->SetAnswers(answers);
}

// One round. False: the task exits.
bool Task::LoopOnce(wait::Runner& runner) {
  if (kernel_.paused()) [[unlikely]] kernel_.WaitWhilePaused(sleeper_);
  if (sleeper_.interrupted()) [[unlikely]] {
    if (!HandleInterrupts()) return false;
  }
  // Whoever interrupts sets the sleeper's bit first and looks at running_ afterwards; we do it the other way round. One of us sees the other.
  running_.store(context_, std::memory_order_seq_cst);
  if (sleeper_.interrupted() || kernel_.paused()) [[unlikely]] {
    running_.store(nullptr, std::memory_order_release);
    return true;
  }
  if (answers_due_ || answers_mode_ != seccomp_mode()) [[unlikely]] TellAnswers();
  clock_.Enter(TaskClock::State::kApplication);
  const Result<platform::Exit> exit = context_->Switch(mm_->space(), step_);
  clock_.Enter(TaskClock::State::kSentry);
  running_.store(nullptr, std::memory_order_release);
  rounds_.store(rounds_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  runner.Moved();
  if (!exit.ok()) [[unlikely]] {
    PlatformFailed(exit.error());
    return true;
  }
  switch (exit->reason) {
    case platform::ExitReason::kSyscall:
      HandleSyscall();
      if (HeapBytes() > kUnwatchedHeap) [[unlikely]] CheckKernelMemory();
      break;
    case platform::ExitReason::kFault:
      HandlePageFault(*exit);
      break;
    case platform::ExitReason::kException:
      HandleException(*exit);
      break;
    case platform::ExitReason::kInterrupted:
      break;
  }
  return true;
}

void Task::HandleSyscall() {
  if (trace_work_ != 0) [[unlikely]] return HandleTracedSyscall();
  const Result<Word> result = kernel_.config().hooks.dispatch(*this, static_cast<uint32_t>(context_->regs().orig_rax));
  // Its tracer has stopped it in the call (an event), and wants to see the end of it.
  if (trace_work_ != 0) [[unlikely]] return FinishTracedSyscall(&result);
  FinishSyscall(result);
}

void Task::FinishSyscall(const Result<Word>& result) {
  abi::UserRegs& regs = context_->regs();
  if (replaced_registers_) [[unlikely]] {
    // exec and sigreturn: all registers were set; a failed sigreturn has forced a signal.
    replaced_registers_ = false;
    regs.rax = result.ok() ? *result : regs.rax;
    regs.orig_rax = kNoSyscall;
    return;
  }
  if (result.ok()) [[likely]] {
    regs.rax = *result;
  } else {
    regs.rax = NegativeErrno(result.error());
    if (IsRestart(result.error())) {
      if (HandleInterrupts()) regs.orig_rax = kNoSyscall;
      return;
    }
  }
  if (restore_mask_) [[unlikely]] {
    // A call with a mask of its own that a signal did not end: the mask goes before signals are looked at. One that was ended by a signal keeps it
    // until the handler is entered.
    if (result.ok() || result.error() != Errno::kEINTR) {
      restore_mask_ = false;
      SetSignalMask(saved_mask_);
    } else if (HandleInterrupts()) {
      regs.orig_rax = kNoSyscall;
      return;
    }
  }
  regs.orig_rax = kNoSyscall;
}

// A call of a tracee that stops before and after it, or that is stepped over. The registers are as Linux shows them, internal restart codes included.
void Task::HandleTracedSyscall() {
  abi::UserRegs& regs = context_->regs();
  regs.rax = NegativeErrno(Errno::kENOSYS);
  const bool run = Tracing::SyscallEntry(*this);
  // A tracer that makes the number -1 wants no call, and has perhaps set a result.
  if (const auto number = static_cast<uint32_t>(regs.orig_rax); run && number != ~uint32_t{0}) {
    const Result<Word> result = kernel_.config().hooks.dispatch(*this, number);
    return FinishTracedSyscall(&result);
  }
  FinishTracedSyscall(nullptr);
}

// `result` null: the call was not carried out.
void Task::FinishTracedSyscall(const Result<Word>* result) {
  abi::UserRegs& regs = context_->regs();
  if (result != nullptr && (!replaced_registers_ || result->ok())) regs.rax = result->ok() ? **result : NegativeErrno(result->error());
  replaced_registers_ = false;
  if (exit_requested_) return;  // exit(2) never comes back
  Tracing::SyscallExit(*this);
  if (restore_mask_ && !MeansRestart(regs) && regs.rax != NegativeErrno(Errno::kEINTR)) {
    restore_mask_ = false;
    SetSignalMask(saved_mask_);
  }
  if (!(MeansRestart(regs) || restore_mask_ || sleeper_.interrupted()) || HandleInterrupts()) regs.orig_rax = kNoSyscall;
}

void Task::CheckKernelMemory() {
  const mm::MemoryFile::Usage usage = kernel_.memory_file()->usage();
  if (usage.limit_bytes == 0) return;
  const uint64_t used = usage.used_bytes + HeapBytes();
  const uint64_t most = usage.limit_bytes + kKernelHeap;
  if (used <= most || (ThreadHeapBytes() < kLargeShare && used <= most + kPatience)) return;
  Log(LogLevel::kWarning, "kernel: out of memory for the kernel's own objects: process %d (%s) is killed", group_->pid(), name().c_str());
  PrepareGroupExit(abi::KilledStatus(abi::kSigKill, false));
}

void Task::HandlePageFault(const platform::Exit& exit) {
  minor_faults_.fetch_add(1, std::memory_order_relaxed);
  const Result<void> handled = mm_->HandleFault(exit.address, exit.access, exit.page_was_mapped, context_->regs().rsp);
  if (handled.ok()) return;
  fault_ = {.trapno = kTrapPageFault, .error_code = exit.error_code, .cr2 = exit.address};
  if (fault_.error_code == 0) {
    constexpr uint64_t kPresent = 1, kWrite = 2, kUser = 4, kFetch = 16;
    const bool present = handled.error() == Errno::kEACCES;
    platform::Prot access = exit.access;
    if (access == platform::Prot::kNone) {
      // Not known: what is refused on a page that can be read was a write, unless it was the instruction itself.
      if (exit.address == context_->regs().rip) {
        access = platform::Prot::kExec;
      } else if (present && mm_->CopyIn(UserIn<uint8_t>(exit.address)).ok()) {
        access = platform::Prot::kWrite;
      }
    }
    fault_.error_code = kUser | (present ? kPresent : 0) | (platform::Any(access & platform::Prot::kWrite) ? kWrite : 0) |
                        (platform::Any(access & platform::Prot::kExec) ? kFetch : 0);
  }
  abi::SigInfo info;
  info.SetAddress(exit.address);
  switch (handled.error()) {
    case Errno::kEACCES:
      info.signo = abi::kSigSegv;
      info.code = abi::kSegvAccErr;
      break;
    case Errno::kEIO:
      info.signo = abi::kSigBus;
      info.code = abi::kBusAdrErr;
      break;
    case Errno::kENOMEM:
      Log(LogLevel::kWarning, "kernel: out of memory: process %d (%s) is killed", group_->pid(), name().c_str());
      kernel_.state().out_of_memory_kills.fetch_add(1, std::memory_order_relaxed);
      PrepareGroupExit(abi::KilledStatus(abi::kSigKill, false));
      return;
    default:
      info.signo = abi::kSigSegv;
      info.code = abi::kSegvMapErr;
      break;
  }
  ForceSignal(info);
}

void Task::HandleException(const platform::Exit& exit) {
  fault_ = {.trapno = exit.trapno, .error_code = exit.error_code, .cr2 = 0};
  abi::SigInfo info{.signo = exit.signo, .code = exit.code};
  info.SetAddress(exit.address);
  ForceSignal(info);
}

void Task::PlatformFailed(Errno error) {
  Log(LogLevel::kError, "kernel: the host cannot run process %d (%s) any longer: %s", group_->pid(), name().c_str(), ErrnoName(error));
  PrepareGroupExit(abi::KilledStatus(abi::kSigKill, false));
}

// Delivers what is pending, and begins again what a signal has interrupted: whether a system call was, and with which internal code, is in the
// registers, where a tracer may change it. False: the task exits. Linux: arch_do_signal_or_restart.
bool Task::HandleInterrupts() {
  abi::UserRegs& regs = context_->regs();
  while (true) {
    if (exit_requested_) return false;
    const Delivery delivery = NextSignal();
    if (delivery.kind == Delivery::kExit) return false;
    if (delivery.kind == Delivery::kNone) break;
    if (MeansRestart(regs)) {
      const bool again = regs.rax == NegativeErrno(Errno::kERESTARTNOINTR) ||
                         (regs.rax == NegativeErrno(Errno::kERESTARTSYS) && (delivery.action.flags & abi::kSaRestart) != 0);
      if (again) {
        regs.rax = regs.orig_rax;
        regs.rip -= kSyscallInstructionLength;
      } else {
        regs.rax = NegativeErrno(Errno::kEINTR);
      }
      regs.orig_rax = kNoSyscall;
    }
    const bool stepped = step_ != platform::Step::kRun;
    if (EnterHandler(delivery)) {
      if (stepped) Tracing::SteppedIntoHandler(*this);
    } else {
      // The frame cannot be written: SIGSEGV, or death if that is the one that failed (Linux: force_sigsegv).
      abi::SigInfo info{.signo = abi::kSigSegv, .code = abi::kSiKernel};
      if (delivery.info.signo == abi::kSigSegv) (void)group_->SetAction(abi::kSigSegv, abi::SigAction{});
      ForceSignal(info);
    }
  }
  if (MeansRestart(regs)) {
    regs.rax = regs.rax == NegativeErrno(Errno::kERESTART_RESTARTBLOCK) ? static_cast<uint64_t>(abi::Sysno::restart_syscall) : regs.orig_rax;
    regs.rip -= kSyscallInstructionLength;
  }
  if (restore_mask_) {
    restore_mask_ = false;
    SetSignalMask(saved_mask_);
  }
  return true;
}

}  // namespace rampart::kernel
