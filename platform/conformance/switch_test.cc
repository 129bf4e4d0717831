// What one context in one space reports: system calls, faults, exceptions, steps.
#include <signal.h>
#include <fcntl.h>

#include "platform/conformance/test_machine.h"

namespace rampart::platform::conformance {
namespace {

class Switch : public OnPlatform {
 protected:
  // Runs `code` from its start until the first exit.
  Exit RunCode(Code code, Step step = Step::kRun) {
    context_.reset();
    context_ = NewContext();
    machine_ = std::make_unique<Machine>(code);
    SetEntry(context_->regs(), kCode);
    return RunOn(*context_, *machine_->space, step);
  }
  Exit Again(Step step = Step::kRun) { return RunOn(*context_, *machine_->space, step); }
  abi::UserRegs& regs() { return context_->regs(); }

  std::unique_ptr<Machine> machine_;
  std::unique_ptr<Context> context_;
};

TEST_F(Switch, SyscallShowsItsRegisters) {
  // mov $39,%eax; mov $0x1234,%edi; mov $7,%esi; mov $8,%edx; mov $9,%r10d; syscall; syscall
  const Exit exit = RunCode(CODE("\xb8\x27\0\0\0\xbf\x34\x12\0\0\xbe\x07\0\0\0\xba\x08\0\0\0\x41\xba\x09\0\0\0\x0f\x05\x0f\x05"));
  EXPECT_EQ(exit.reason, ExitReason::kSyscall);
  EXPECT_EQ(regs().rax, 39u);
  EXPECT_EQ(regs().orig_rax, 39u);
  EXPECT_EQ(regs().rdi, 0x1234u);
  EXPECT_EQ(regs().rsi, 7u);
  EXPECT_EQ(regs().rdx, 8u);
  EXPECT_EQ(regs().r10, 9u);
  EXPECT_EQ(regs().rip, kCode + 28);
  EXPECT_EQ(regs().rcx, kCode + 28);
  EXPECT_EQ(regs().r11, regs().eflags);
  regs().rax = 77;  // the result, which is the number of the next call
  EXPECT_EQ(Again().reason, ExitReason::kSyscall);
  EXPECT_EQ(regs().rax, 77u);
  EXPECT_EQ(regs().rip, kCode + 30);
}

TEST_F(Switch, ResultsThatLookLikeRestartCodesAreNotRestarted) {
  RunCode(CODE("\xb8\x27\0\0\0\x0f\x05\x0f\x05"));
  for (const int64_t code : {-512, -513, -514, -516}) {
    SetEntry(regs(), kCode + 5);
    regs().rax = 39;
    ASSERT_EQ(Again().reason, ExitReason::kSyscall);
    regs().rax = static_cast<uint64_t>(code);
    ASSERT_EQ(Again().reason, ExitReason::kSyscall);
    EXPECT_EQ(regs().rip, kCode + 9);
    EXPECT_EQ(regs().rax, static_cast<uint64_t>(code));
  }
}

TEST_F(Switch, X32NumbersArriveAsGiven) {
  EXPECT_EQ(RunCode(CODE("\xb8\x27\0\0\x40\x0f\x05")).reason, ExitReason::kSyscall);
  EXPECT_EQ(regs().rax, 0x40000027u);
}

TEST_F(Switch, ReadOfUnmappedPageFaults) {
  // mov $0x12345678,%eax; mov (%rax),%rbx
  const Exit exit = RunCode(CODE("\xb8\x78\x56\x34\x12\x48\x8b\x18"));
  EXPECT_EQ(exit.reason, ExitReason::kFault);
  EXPECT_EQ(exit.address, 0x12345678u);
  EXPECT_FALSE(exit.page_was_mapped);
  EXPECT_EQ(regs().rip, kCode + 5);
}

TEST_F(Switch, WriteToReadOnlyPageFaultsAsMapped) {
  // lea 0(%rip),%rax; mov %rax,(%rax)
  const Exit exit = RunCode(CODE("\x48\x8d\x05\0\0\0\0\x48\x89\x00"));
  EXPECT_EQ(exit.reason, ExitReason::kFault);
  EXPECT_EQ(exit.address, kCode + 7);
  EXPECT_TRUE(exit.page_was_mapped);
}

TEST_F(Switch, JumpToDataFaultsAsMapped) {
  // movabs $kData,%rax; jmp *%rax
  const Exit exit = RunCode(CODE("\x48\xb8\x00\x40\x55\x55\x55\x55\0\0\xff\xe0"));
  EXPECT_EQ(exit.reason, ExitReason::kFault);
  EXPECT_EQ(exit.address, kData);
  EXPECT_TRUE(exit.page_was_mapped);
  EXPECT_EQ(regs().rip, kData);
}

TEST_F(Switch, FaultIsRetriedAfterMapping) {
  // mov $0x600000,%eax; mov (%rax),%edi; syscall
  EXPECT_EQ(RunCode(CODE("\xb8\x00\x00\x60\x00\x8b\x38\x0f\x05")).reason, ExitReason::kFault);
  machine_->data(0) = 4242;
  machine_->space->Map(0x600000, kPageSize, Ref<BackingFile>(machine_->file), Machine::kDataOffset, Prot::kRead, Populate::kNow);
  EXPECT_EQ(Again().reason, ExitReason::kSyscall);
  EXPECT_EQ(regs().rdi, 4242u);
}

TEST_F(Switch, NonCanonicalAddressIsAnException) {
  // movabs $0x8000000000000000,%rax; mov (%rax),%rbx
  const Exit exit = RunCode(CODE("\x48\xb8\0\0\0\0\0\0\0\x80\x48\x8b\x18"));
  EXPECT_EQ(exit.reason, ExitReason::kException);
  EXPECT_EQ(exit.signo, SIGSEGV);
  EXPECT_EQ(exit.code, SI_KERNEL);
}

TEST_F(Switch, NonCanonicalRipIsAnException) {
  RunCode(CODE("\x0f\x05"));
  regs().rip = 0x8000000000000000;
  const Exit exit = Again();
  EXPECT_EQ(exit.signo, SIGSEGV);
}

TEST_F(Switch, KernelAddressIsAFault) {
  // mov $-4096,%rax; mov (%rax),%rbx
  const Exit exit = RunCode(CODE("\x48\xc7\xc0\x00\xf0\xff\xff\x48\x8b\x18"));
  EXPECT_EQ(exit.reason, ExitReason::kFault);
  EXPECT_EQ(exit.address, ~uint64_t{0xfff});
}

TEST_F(Switch, Int3) {
  const Exit exit = RunCode(CODE("\xcc\x0f\x05"));
  EXPECT_EQ(exit.reason, ExitReason::kException);
  EXPECT_EQ(exit.signo, SIGTRAP);
  EXPECT_EQ(exit.code, SI_KERNEL);
  EXPECT_EQ(regs().rip, kCode + 1);
  EXPECT_EQ(Again().reason, ExitReason::kSyscall);
}

TEST_F(Switch, IllegalInstruction) {
  const Exit exit = RunCode(CODE("\x0f\x0b"));
  EXPECT_EQ(exit.reason, ExitReason::kException);
  EXPECT_EQ(exit.signo, SIGILL);
  EXPECT_EQ(exit.code, ILL_ILLOPN);
  EXPECT_EQ(exit.address, kCode);
  EXPECT_EQ(regs().rip, kCode);
}

TEST_F(Switch, DivisionByZero) {
  // xor %ecx,%ecx; div %ecx
  const Exit exit = RunCode(CODE("\x31\xc9\xf7\xf1"));
  EXPECT_EQ(exit.reason, ExitReason::kException);
  EXPECT_EQ(exit.signo, SIGFPE);
  EXPECT_EQ(exit.code, FPE_INTDIV);
  EXPECT_EQ(exit.address, kCode + 2);
}

TEST_F(Switch, BeyondTheEndOfAFileIsBusError) {
  // mov $0x700000,%eax; mov (%rax),%edi
  RunCode(CODE("\x0f\x05\xb8\x00\x00\x70\x00\x8b\x38"));
  auto small = MakeRef<TestFile>(kPageSize);
  machine_->space->Map(0x700000, kPageSize, Ref<BackingFile>(small), 0x10000, Prot::kRead, Populate::kOnFault);
  const Exit exit = Again();
  EXPECT_EQ(exit.reason, ExitReason::kException);
  EXPECT_EQ(exit.signo, SIGBUS);
  EXPECT_EQ(exit.code, BUS_ADRERR);
  EXPECT_EQ(exit.address, 0x700000u);
}

TEST_F(Switch, SingleStepRunsOneInstruction) {
  // nop; inc %ebx; syscall
  Exit exit = RunCode(CODE("\x90\xff\xc3\x0f\x05"), Step::kSingleInstruction);
  EXPECT_EQ(exit.reason, ExitReason::kException);
  EXPECT_EQ(exit.signo, SIGTRAP);
  EXPECT_EQ(exit.code, TRAP_TRACE);
  EXPECT_EQ(regs().rip, kCode + 1);
  EXPECT_EQ(regs().eflags & 0x100, 0u);
  exit = Again(Step::kSingleInstruction);
  EXPECT_EQ(regs().rip, kCode + 3);
  EXPECT_EQ(regs().rbx, 1u);
  EXPECT_EQ(Again(Step::kSingleInstruction).reason, ExitReason::kSyscall);
  EXPECT_EQ(regs().rip, kCode + 5);
}

TEST_F(Switch, StepThenRun) {
  RunCode(CODE("\x90\x90\x90\x0f\x05"), Step::kSingleInstruction);
  EXPECT_EQ(Again().reason, ExitReason::kSyscall);
}

TEST_F(Switch, SegmentBasesAreCarried) {
  // mov %fs:0,%rdi; mov %gs:8,%rsi; syscall
  RunCode(CODE("\x0f\x05\x64\x48\x8b\x3c\x25\0\0\0\0\x65\x48\x8b\x34\x25\x08\0\0\0\x0f\x05"));
  machine_->data(0) = 11;
  machine_->data(1) = 22;
  regs().fs_base = kData;
  regs().gs_base = kData;
  EXPECT_EQ(Again().reason, ExitReason::kSyscall);
  EXPECT_EQ(regs().rdi, 11u);
  EXPECT_EQ(regs().rsi, 22u);
  EXPECT_EQ(regs().fs_base, kData);
}

TEST_F(Switch, RefusedRegistersAreMadeNull) {
  RunCode(CODE("\x0f\x05\x0f\x05"));
  regs().fs_base = ~uint64_t{0};
  regs().ds = 0x1234;
  regs().cs = 0;
  regs().ss = 0;
  EXPECT_EQ(Again().reason, ExitReason::kSyscall);
  EXPECT_EQ(regs().fs_base, 0u);
  EXPECT_EQ(regs().cs, 0x33u);
}

}  // namespace
}  // namespace rampart::platform::conformance
