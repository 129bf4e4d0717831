// KvmContext::Switch: registers in, run, decode what ring 0 reports. The hot path is one KVM_RUN and no other host call.
#include <signal.h>

#include <cerrno>
#include <cinttypes>
#include <cstring>

#include "base/log.h"
#include "platform/kvm/context.h"
#include "platform/kvm/exceptions.h"
#include "platform/kvm/ioctls.h"
#include "platform/kvm/kvm_platform.h"
#include "platform/kvm/machine.h"

namespace rampart::platform::kvm {
namespace {

constexpr uint64_t kNoSyscall = ~uint64_t{0};
constexpr uint64_t kTrap = 0x100, kResume = 0x10000;
// What an application may set: CF PF AF ZF SF TF DF OF NT RF AC ID. IF and the fixed bit are always set, IOPL never.
constexpr uint64_t kUserFlags = 0x254dd5, kAlwaysFlags = 0x202;
constexpr uint64_t kBaseLimit = 0x7ffffffff000;
constexpr int kMostRefusals = 64;
constexpr int kMostRounds = 1000;

bool Canonical(uint64_t address) { return static_cast<uint64_t>(static_cast<int64_t>(address << 16) >> 16) == address; }

// EFAULT: a page of the guest's cannot be had; ENOMEM: a page for KVM's own tables. It may pass.
bool HostLacksMemory(int error) { return error == EFAULT || error == ENOMEM; }

// Null or one of ring 3's segments in the GDT: loading it cannot fault.
bool Loadable(uint64_t selector) {
  const uint64_t index = selector & ~uint64_t{3};
  return selector <= 0xffff && (index == 0 || index == (USER_CS32 & ~3) || index == (USER_SS & ~3) || index == (USER_CS & ~3));
}

}  // namespace

Result<Exit> KvmContext::Switch(AddressSpace& space, Step step) {
  auto& own = static_cast<KvmAddressSpace&>(space);
  if (space_.get() != &own) [[unlikely]] Bind(own);
  if (!Claim()) [[unlikely]] TRY(TakeVcpu());
  own.ReleaseWhatIsDue();
  Count(switches_);
  Result<Exit> result = Exit{.reason = ExitReason::kInterrupted};
  Exit instead{};
  if (LoadRegs(step, instead)) [[likely]] {
    result = RunUntilExit(own, step);
    VCpuData& data = vcpu_.load()->data();
    Count(answered_, data.answered - answered_before_);
    answered_before_ = data.answered;
  } else {
    result = instead;
  }
  Unclaim();
  return result;
}

void KvmContext::LoadSegments(VCpuData& data) {
  abi::UserRegs& r = regs_;
  uint64_t* const mine[] = {&r.ds, &r.es, &r.fs, &r.gs};
  const uint64_t theirs[] = {inside_.ds, inside_.es, inside_.fs, inside_.gs};
  bool selectors = fresh_;
  for (size_t i = 0; i < 4; ++i) {
    if (!fresh_ && *mine[i] == theirs[i]) continue;
    if (!Loadable(*mine[i])) *mine[i] = 0;
    selectors = true;
  }
  // A base that the application loaded itself stays, whatever it is; one that the Sentry sets is what Linux would take.
  if (r.fs_base != inside_.fs_base && r.fs_base >= kBaseLimit) r.fs_base = 0;
  if (r.gs_base != inside_.gs_base && r.gs_base >= kBaseLimit) r.gs_base = 0;
  if (selectors) data.resume |= RESUME_SEGMENTS | RESUME_BASES;
  if (r.fs_base != inside_.fs_base || r.gs_base != inside_.gs_base) data.resume |= RESUME_BASES;
}

bool KvmContext::LoadRegs(Step step, Exit& instead) {
  VCpuData& data = vcpu_.load()->data();
  abi::UserRegs& r = regs_;
  if (r.cs != USER_CS && r.cs != USER_CS32) r.cs = USER_CS;
  r.ss = USER_SS;
  r.eflags = (r.eflags & kUserFlags) | kAlwaysFlags;
  r.orig_rax = kNoSyscall;
  if (!Canonical(r.rip) || (r.cs == USER_CS32 && r.rip > UINT32_MAX)) {
    instead = Exit{.reason = ExitReason::kException, .signo = SIGSEGV, .code = SI_KERNEL, .trapno = vector::kGeneralProtection};
    return false;
  }
  data.resume = 0;
  LoadSegments(data);
  const bool sysret = after_syscall_ && r.rcx == r.rip && r.r11 == r.eflags && r.cs == USER_CS && r.rip < kMaxUserAddress &&
                      (r.eflags & (kTrap | kResume)) == 0 && step == Step::kRun;
  if (!sysret) data.resume |= RESUME_IRET;
  data.regs = r;
  if (step == Step::kSingleInstruction) data.regs.eflags |= kTrap;
  if (answers_due_) [[unlikely]] StoreAnswers();
  return true;
}

void KvmContext::StoreRegs(Step step) {
  const bool own_trap = (regs_.eflags & kTrap) != 0;
  const VCpuData& data = vcpu_.load()->data();
  regs_ = data.regs;
  regs_.orig_rax = data.vector == VECTOR_SYSCALL ? regs_.rax : kNoSyscall;
  if (step == Step::kSingleInstruction && !own_trap) {
    regs_.eflags &= ~kTrap;
    if (data.vector == VECTOR_SYSCALL) regs_.r11 &= ~kTrap;
  }
}

Result<bool> KvmContext::RunMarked(KvmAddressSpace& space) {
  VCpu& vcpu = *vcpu_.load();
  if (space.NeedsShootdown()) [[unlikely]] Count(host_calls_, space.Shootdown(*this));
  // What a poke before this meant is in state_.
  __atomic_store_n(&vcpu.run().immediate_exit, uint8_t{0}, __ATOMIC_RELAXED);
  const uint32_t before = state_.fetch_or(kRunning, std::memory_order_seq_cst);
  if ((before & kPending) != 0) [[unlikely]] {
    state_.fetch_and(~(kPending | kRunning), std::memory_order_seq_cst);
    space.SomebodyLeft();
    return false;
  }
  const uint64_t generation = space.generation();
  if (fresh_ || generation != seen_.load(std::memory_order_relaxed) || vcpu.root() != space.root()) {
    vcpu.SetRoot(space.root());
    vcpu.data().resume |= RESUME_CR3;
    seen_.store(generation, std::memory_order_seq_cst);
  }
  const int error = vcpu.Run();
  Count(host_calls_);
  // Marked until the halt: on its way there the processor may run one more instruction of the application's (after MOV SS), with its old TLB.
  Result<void> halted = Ok();
  if (!AtHalt(error)) [[unlikely]] halted = EndedElsewhere(space, error);
  else refused_ = 0;
  state_.fetch_and(~kRunning, std::memory_order_seq_cst);
  space.SomebodyLeft();
  TRY(std::move(halted));
  return true;
}

bool KvmContext::AtHalt(int error) const { return error == 0 && vcpu_.load()->run().exit_reason == KVM_EXIT_HLT; }

Result<void> KvmContext::EndedElsewhere(KvmAddressSpace& space, int error) {
  if (HostLacksMemory(error)) {
    if (++refused_ > kMostRefusals) return refused_ = 0, Broken("the host has no memory for the guest", error), Errno::kENOMEM;
    space.DropUnstable();
  }
  return BringToHalt(error);
}

Result<void> KvmContext::BringToHalt(int error) {
  VCpu& vcpu = *vcpu_.load();
  kvm_run& run = vcpu.run();
  bool queued = false;
  for (int round = 0; round < kMostRounds && !AtHalt(error); ++round) {
    __atomic_store_n(&run.immediate_exit, uint8_t{0}, __ATOMIC_SEQ_CST);
    const bool window = error == 0 && run.exit_reason == KVM_EXIT_IRQ_WINDOW_OPEN;
    if (error != EINTR && error != EAGAIN && !HostLacksMemory(error) && !window) {
      return Broken("KVM_RUN ended oddly", error);
    }
    if (!queued && run.if_flag != 0 && run.ready_for_interrupt_injection != 0) {
      if (const Result<void> kicked = vcpu.InjectKick(); !kicked.ok()) return Broken("KVM_INTERRUPT failed", static_cast<int>(kicked.error()));
      queued = true;
      Count(host_calls_);
    }
    run.request_interrupt_window = queued ? 0 : 1;
    error = vcpu.Run();
    Count(host_calls_);
  }
  run.request_interrupt_window = 0;
  if (AtHalt(error)) return Ok();
  const Errno broken = Broken("the processor does not come to its halt", error);
  return HostLacksMemory(error) ? Errno::kENOMEM : broken;
}

Errno KvmContext::Broken(const char* why, int error) {
  VCpu& vcpu = *vcpu_.load();
  const VCpuData& data = vcpu.data();
  // What the reason has to say: an address, a suberror … (struct kvm_run's union).
  uint64_t details[2];
  std::memcpy(details, &vcpu.run().hw, sizeof(details));
  Log(LogLevel::kError, "kvm: a virtual processor is made anew: %s (errno %d, exit reason %u: %#" PRIx64 " %#" PRIx64 ", vector %u, rip %#" PRIx64 ")", why,
      error, vcpu.run().exit_reason, details[0], details[1], data.vector, data.regs.rip);
  fresh_ = true;
  after_syscall_ = false;
  xstate_.clear();
  xstate_due_ = true;
  (void)vcpu.Reset();
  return Errno::kESRCH;
}

Result<Exit> KvmContext::RunUntilExit(KvmAddressSpace& space, Step step) {
  VCpu& vcpu = *vcpu_.load();
  VCpuData& data = vcpu.data();
  if (xstate_due_) [[unlikely]] {
    TRY(vcpu.SetXstate(xstate_.empty() ? machine_->xstate().initial : xstate_));
    Count(host_calls_);
    xstate_due_ = false;
    xstate_.clear();
  }
  for (bool first = true;; first = false) {
    if (!TRY(RunMarked(space))) {
      if (!first) StoreRegs(step);
      return Exit{.reason = ExitReason::kInterrupted};
    }
    fresh_ = false;
    if (data.broken != 0) [[unlikely]] return Broken("an exception in ring 0", 0);
    vcpu.ForgetOldRoot();
    inside_ = data.regs;
    after_syscall_ = data.vector == VECTOR_SYSCALL;
    Exit exit{.reason = ExitReason::kSyscall};
    const Result<bool> report = after_syscall_ ? Result<bool>(true) : Decode(space, exit);
    if (!report.ok()) {
      StoreRegs(step);
      return report.error();
    }
    if (*report) {
      StoreRegs(step);
      if (data.vector == VECTOR_SYSCALL32) regs_.rip -= 2;
      return exit;
    }
    data.resume |= RESUME_IRET;
    data.resume &= RESUME_IRET | RESUME_CR3;
  }
}

Result<bool> KvmContext::Decode(KvmAddressSpace& space, Exit& exit) {
  VCpuData& data = vcpu_.load()->data();
  data.resume = 0;
  switch (data.vector) {
    case vector::kPageFault: return DecodePageFault(space, exit);
    case VECTOR_KICK:
    case vector::kNmi:
      exit.reason = ExitReason::kInterrupted;
      return (state_.fetch_and(~kPending, std::memory_order_seq_cst) & kPending) != 0;
    default: exit = ExceptionExit(data); return true;
  }
}

Result<bool> KvmContext::DecodePageFault(KvmAddressSpace& space, Exit& exit) {
  constexpr uint64_t kPresentBit = 1, kWriteBit = 2, kFetchBit = 16;
  VCpuData& data = vcpu_.load()->data();
  const uint64_t code = data.regs.orig_rax;
  const Prot access = (code & kFetchBit) != 0 ? Prot::kExec : (code & kWriteBit) != 0 ? Prot::kWrite : Prot::kRead;
  const uint64_t address = data.cr2;
  const KvmAddressSpace::Resolution found = TRY(space.Resolve(address, access));
  exit = Exit{.reason = ExitReason::kFault, .access = access, .address = address, .trapno = vector::kPageFault};
  switch (found.outcome) {
    case KvmAddressSpace::Outcome::kStale: data.resume |= RESUME_CR3; [[fallthrough]];
    case KvmAddressSpace::Outcome::kResolved: Count(inner_faults_); return false;
    case KvmAddressSpace::Outcome::kFault:
      exit.page_was_mapped = found.was_mapped;
      // As Linux: kernel addresses show as present, so that nothing can be learnt about them.
      exit.error_code = static_cast<uint32_t>((code & ~kPresentBit & 0x1f) | (found.was_mapped || address >= kBaseLimit ? kPresentBit : 0));
      return true;
    case KvmAddressSpace::Outcome::kBeyondFile:
      exit = Exit{.reason = ExitReason::kException, .signo = SIGBUS, .code = BUS_ADRERR, .address = address, .trapno = vector::kPageFault};
      return true;
  }
  UNREACHABLE();
}

}  // namespace rampart::platform::kvm
