// PtraceContext::Switch: registers in, run, decode what stopped it. The hot path is POKEUSER (or SETREGS), SYSEMU, wait4, GETREGS
// and nothing else.
#include <elf.h>
#include <linux/audit.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "platform/ptrace/context.h"
#include "platform/ptrace/platform_impl.h"
#include "platform/ptrace/xstate.h"

namespace rampart::platform::ptrace {
namespace {

constexpr uint64_t kNoSyscall = ~uint64_t{0};
constexpr uint64_t kUserCs = 0x33;
constexpr uint64_t kUserCs32 = 0x23;
constexpr uint64_t kUserSs = 0x2b;
constexpr uint64_t kBaseLimit = 0x7ffffffff000;  // the host refuses segment bases from here on

// x86 vectors.
constexpr uint32_t kDivide = 0, kDebug = 1, kBreakpoint = 3, kInvalidOpcode = 6, kGeneralProtection = 13, kPageFault = 14, kX87 = 16,
                   kAlignment = 17, kSimd = 19;

uint32_t VectorOf(int signal, int code) {
  switch (signal) {
    case SIGILL: return kInvalidOpcode;
    case SIGTRAP: return code == SI_KERNEL ? kBreakpoint : kDebug;
    case SIGFPE: return code == FPE_INTDIV ? kDivide : (code == FPE_FLTDIV || code == FPE_FLTINV ? kSimd : kX87);
    case SIGBUS: return code == BUS_ADRALN ? kAlignment : kPageFault;
    default: return kGeneralProtection;
  }
}

// Values of rax that make the host restart a system call when a signal comes while orig_rax still names that call (ERESTARTSYS …
// ERESTART_RESTARTBLOCK of Linux's kernel-internal errnos).
bool MeansRestart(uint64_t rax) {
  constexpr int64_t kFirst = -516, kLast = -512;
  return static_cast<int64_t>(rax) >= kFirst && static_cast<int64_t>(rax) <= kLast;
}

uint64_t AddressOf(const siginfo_t& info) {
  // SAFETY: si_addr is a number here; it is never dereferenced.
  return reinterpret_cast<uintptr_t>(info.si_addr);
}

// True when the stop's system call came by SYSCALL in 64-bit code. The CPU leaves rcx = rip then; where it does not (FRED), the host
// must be asked.
bool IsNativeSyscall(pid_t tid, const abi::UserRegs& regs) {
  if (regs.cs == kUserCs && regs.rcx == regs.rip) [[likely]] return true;
  __ptrace_syscall_info info{};
  if (syscall(SYS_ptrace, PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) < 0) return true;
  return info.arch == AUDIT_ARCH_X86_64;
}

}  // namespace

Result<Exit> PtraceContext::Switch(AddressSpace& space, Step step) {
  auto& own = static_cast<PtraceAddressSpace&>(space);
  if (space_.get() != &own) [[unlikely]] TRY(Bind(own));
  if (thread_ == nullptr) [[unlikely]] return Errno::kESRCH;
  const uint32_t before = state_.fetch_or(kRunning, std::memory_order_seq_cst);
  if ((before & kPending) != 0) [[unlikely]] {
    state_.fetch_and(~(kPending | kRunning), std::memory_order_seq_cst);
    return Exit{.reason = ExitReason::kInterrupted};
  }
  Result<Exit> result = SwitchBound(own, step);
  state_.fetch_and(~kRunning, std::memory_order_seq_cst);
  return result;
}

Result<Exit> PtraceContext::SwitchBound(PtraceAddressSpace& space, Step step) {
  if (space.NeedsFlush()) [[unlikely]] {
    TRY(FlushIfNeeded(space));
    // The batch swallowed the signal if one came.
    if ((state_.load(std::memory_order_seq_cst) & kPending) != 0) {
      state_.fetch_and(~kPending, std::memory_order_seq_cst);
      return Exit{.reason = ExitReason::kInterrupted};
    }
  }
  TRY(Load());
  if (pair_.OwnerCountsSwitch()) [[unlikely]] platform_.placement().OwnerPins(pair_);
  counters_.switches.store(counters_.switches.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  return RunUntilExit(step == Step::kRun ? PTRACE_SYSEMU : PTRACE_SYSEMU_SINGLESTEP);
}

Result<void> PtraceContext::Load() {
  if (xstate_due_) [[unlikely]] {
    const std::span<const std::byte> state = xstate_.empty() ? InitialXstate() : std::span<const std::byte>(xstate_);
    const Result<void> set = SetXstate(thread_->tid(), state.data(), state.size());
    if (!set.ok()) return set.error() == Errno::kESRCH ? ThreadDied() : set.error();
    xstate_due_ = false;
    xstate_.clear();
  }
  regs_.orig_rax = kNoSyscall;  // or the host would restart what it takes for an interrupted call of its own
  if (in_stub_valid_) {
    // The usual return of a system call is another rax and nothing else; the retry of a fault changes nothing.
    const bool same_rax = in_stub_.rax == regs_.rax && in_stub_.orig_rax == kNoSyscall;
    in_stub_.rax = regs_.rax;
    in_stub_.orig_rax = kNoSyscall;
    if (std::memcmp(&regs_, &in_stub_, sizeof(regs_)) == 0 && !MeansRestart(regs_.rax)) {
      if (same_rax || PokeRax(thread_->tid(), regs_.rax).ok()) return Ok();
    }
  }
  if (regs_.cs != kUserCs && regs_.cs != kUserCs32) regs_.cs = kUserCs;
  if (regs_.ss != kUserSs) regs_.ss = kUserSs;
  const Result<void> set = SetRegs(thread_->tid(), regs_);
  if (set.ok()) [[likely]] return Ok();
  if (set.error() == Errno::kESRCH) return ThreadDied();
  return LoadSanitized();
}

// Selectors and bases that the host refuses: as a CPU would have it, they cannot be loaded, so they are null.
Result<void> PtraceContext::LoadSanitized() {
  regs_.ds = regs_.es = regs_.fs = regs_.gs = 0;
  if (regs_.fs_base >= kBaseLimit) regs_.fs_base = 0;
  if (regs_.gs_base >= kBaseLimit) regs_.gs_base = 0;
  const Result<void> set = SetRegs(thread_->tid(), regs_);
  if (!set.ok() && set.error() == Errno::kESRCH) return ThreadDied();
  return set;
}

Result<Exit> PtraceContext::RunUntilExit(int request) {
  const pid_t tid = thread_->tid();
  in_stub_valid_ = false;
  for (;;) {
    if (!Resume(tid, request).ok()) [[unlikely]] return ThreadDied();
    const Result<WaitStatus> status = WaitFor(tid);
    if (!status.ok()) [[unlikely]] return ThreadDied();
    if (status->dead()) [[unlikely]] {
      thread_->MarkReaped();
      return ThreadDied();
    }
    Exit exit{.reason = ExitReason::kSyscall};
    bool report = status->syscall();
    if (!report && status->signal() != 0) report = TRY(DecodeSignal(status->signal(), exit));
    if (!report) {
      AddCalls(3);
      continue;
    }
    if (!GetRegs(tid, regs_).ok()) [[unlikely]] return ThreadDied();
    AddCalls(4);
    in_stub_ = regs_;
    in_stub_valid_ = true;
    if (status->syscall()) return DecodeSyscall();
    if (exit.reason == ExitReason::kSyscall) regs_.orig_rax = regs_.rax = static_cast<uint64_t>(exit.code);
    return exit;
  }
}

Exit PtraceContext::DecodeSyscall() {
  regs_.rax = regs_.orig_rax;
  if (IsNativeSyscall(thread_->tid(), regs_)) [[likely]] return Exit{.reason = ExitReason::kSyscall};
  // INT 0x80 or SYSENTER: as on a kernel without 32-bit emulation, a general protection fault at the instruction (both are two bytes).
  constexpr uint64_t kInstructionLength = 2;
  regs_.rip -= kInstructionLength;
  regs_.orig_rax = kNoSyscall;
  return Exit{.reason = ExitReason::kException, .signo = SIGSEGV, .code = SI_KERNEL, .trapno = kGeneralProtection};
}

Result<bool> PtraceContext::DecodeSignal(int signal, Exit& exit) {
  if (signal == kInterruptSignal) {
    if ((state_.fetch_and(~kPending, std::memory_order_seq_cst) & kPending) == 0) return false;
    exit.reason = ExitReason::kInterrupted;
    return true;
  }
  if (signal != SIGSEGV && signal != SIGBUS && signal != SIGILL && signal != SIGFPE && signal != SIGTRAP && signal != SIGSYS) return false;
  siginfo_t info{};
  const Result<void> got = GetSigInfo(thread_->tid(), info);
  if (!got.ok()) return ThreadDied();
  if (info.si_code <= 0) return false;  // somebody on the host sent it
  if (signal == SIGSYS) {
    // The vsyscall page: the host's emulation met our filter and has already returned to the caller.
    exit.code = info.si_syscall;
    return true;
  }
  exit.address = info.si_code == SI_KERNEL ? 0 : AddressOf(info);
  exit.signo = signal;
  exit.code = info.si_code;
  if (signal == SIGSEGV && (info.si_code == SEGV_MAPERR || info.si_code == SEGV_ACCERR)) {
    exit.reason = ExitReason::kFault;
    exit.page_was_mapped = info.si_code == SEGV_ACCERR;
    exit.trapno = kPageFault;
    return true;
  }
  exit.reason = ExitReason::kException;
  exit.trapno = VectorOf(signal, info.si_code);
  return true;
}

}  // namespace rampart::platform::ptrace
