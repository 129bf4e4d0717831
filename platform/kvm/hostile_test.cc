// Application code that tries to get at ring 0, at the Sentry or at other spaces, and what is left behind when much was made and destroyed.
#include <signal.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "platform/conformance/test_machine.h"
#include "platform/kvm/kvm_platform.h"
#include "platform/kvm/layout.h"

namespace rampart::platform::kvm {
namespace {

using conformance::Code;
using conformance::kCode;
using conformance::kData;
using conformance::kStackSize;
using conformance::kStackTop;
using conformance::NewContext;
using conformance::RunOn;
using conformance::SetEntry;

constexpr uint64_t kTrapFlag = 0x100;

class Hostile : public conformance::OnPlatform {
 protected:
  void SetUp() override {
    OnPlatform::SetUp();
    if (IsSkipped()) return;
    context_ = NewContext();
  }
  // Puts `code` where the processor finds it and runs it; registers but rip and rsp stay what `prepare` made of them.
  template <class F>
  Exit RunCode(Code code, F prepare, Step step = Step::kRun) {
    machine_ = std::make_unique<conformance::Machine>(code);
    SetEntry(context_->regs(), kCode);
    prepare(context_->regs());
    return RunOn(*context_, *machine_->space, step);
  }
  Exit RunCode(Code code) {
    return RunCode(code, [](abi::UserRegs&) {});
  }
  abi::UserRegs& regs() { return context_->regs(); }
  // The processor still does what it should.
  void ExpectAlive() {
    conformance::Machine good(CODE("\x48\xc7\xc7\x07\0\0\0\x0f\x05"));  // mov $7,%rdi; syscall
    SetEntry(regs(), kCode);
    EXPECT_EQ(RunOn(*context_, *good.space).reason, ExitReason::kSyscall);
    EXPECT_EQ(regs().rdi, 7u);
    EXPECT_EQ(regs().rip, kCode + 9);
    EXPECT_EQ(regs().rsp, kStackTop - 64);
    EXPECT_EQ(regs().cs, uint64_t{USER_CS});
    EXPECT_EQ(regs().eflags & 0x3000, 0u);  // IOPL
  }
  void ExpectException(Code code, int signo) {
    const Exit exit = RunCode(code);
    EXPECT_EQ(exit.reason, ExitReason::kException);
    EXPECT_EQ(exit.signo, signo);
    ExpectAlive();
  }

  std::unique_ptr<conformance::Machine> machine_;
  std::unique_ptr<Context> context_;
};

TEST_F(Hostile, RingZeroMemoryCannotBeReadWrittenOrRun) {
  for (uint64_t page = 0; page < 8; ++page) {
    const uint64_t address = KERNEL_BASE + page * kPageSize;
    for (const Code code : {CODE("\x48\x8b\x07\x0f\x05"), CODE("\x48\x89\x07\x0f\x05"), CODE("\xff\xe7")}) {
      const Exit exit = RunCode(code, [&](abi::UserRegs& r) { r.rdi = address; });
      EXPECT_EQ(exit.reason, ExitReason::kFault);
      EXPECT_EQ(exit.address, address);
      EXPECT_FALSE(exit.page_was_mapped);
    }
  }
  // Prefetch and cache flushes say nothing and change nothing.
  RunCode(CODE("\x0f\x18\x07\x0f\x05"), [](abi::UserRegs& r) { r.rdi = KERNEL_BASE; });
  ExpectAlive();
}

TEST_F(Hostile, EveryEntryPointOfRingZeroIsAFault) {
  machine_ = std::make_unique<conformance::Machine>(CODE("\x0f\x05"));
  for (uint64_t offset = 0; offset < 0x500; offset += 3) {
    SetEntry(regs(), KERNEL_BASE + offset);
    const Exit exit = RunOn(*context_, *machine_->space);
    ASSERT_EQ(exit.reason, ExitReason::kFault);
    ASSERT_EQ(exit.access, Prot::kExec);
    ASSERT_EQ(regs().rip, KERNEL_BASE + offset);
  }
  ExpectAlive();
}

TEST_F(Hostile, PrivilegedInstructionsAreGeneralProtectionFaults) {
  const Code codes[] = {
      CODE("\xf4"),              // hlt
      CODE("\xfa"),              // cli
      CODE("\xfb"),              // sti
      CODE("\x0f\x22\xd8"),      // mov %rax,%cr3
      CODE("\x0f\x20\xd8"),      // mov %cr3,%rax
      CODE("\x0f\x22\xc0"),      // mov %rax,%cr0
      CODE("\x0f\x23\xf8"),      // mov %rax,%dr7
      CODE("\x0f\x21\xf0"),      // mov %dr6,%rax
      CODE("\x0f\x30"),          // wrmsr
      CODE("\x0f\x32"),          // rdmsr
      CODE("\x0f\x01\x17"),      // lgdt (%rdi)
      CODE("\x0f\x01\x1f"),      // lidt (%rdi)
      CODE("\x0f\x00\xd8"),      // ltr %ax
      CODE("\x0f\x00\xd0"),      // lldt %ax
      CODE("\x0f\x01\x3f"),      // invlpg (%rdi)
      CODE("\x0f\x01\xf8"),      // swapgs
      CODE("\x0f\x07"),          // sysret
      CODE("\x48\x0f\x07"),      // sysretq
      CODE("\x0f\x06"),          // clts
      CODE("\xe6\x80"),          // out %al,$0x80
      CODE("\xec"),              // in (%dx),%al
      CODE("\x6e"),              // outsb
      CODE("\x0f\x01\xd1"),      // xsetbv
  };
  for (const Code code : codes) {
    const Exit exit = RunCode(code, [](abi::UserRegs& r) { r.rdi = kData; });
    EXPECT_EQ(exit.reason, ExitReason::kException) << static_cast<int>(static_cast<uint8_t>(code[1]));
    EXPECT_TRUE(exit.signo == SIGSEGV || exit.signo == SIGILL) << exit.signo;
    EXPECT_EQ(regs().rip, kCode);
  }
  ExpectAlive();
}

TEST_F(Hostile, HypercallsDoNothing) {
  for (const Code code : {CODE("\x0f\x01\xc1\x0f\x05"), CODE("\x0f\x01\xd9\x0f\x05")}) {
    const Exit exit = RunCode(code);
    EXPECT_TRUE(exit.reason == ExitReason::kSyscall || exit.signo == SIGILL || exit.signo == SIGSEGV);
    ExpectAlive();
  }
}

TEST_F(Hostile, EverySoftwareInterrupt) {
  for (int n = 0; n < 256; ++n) {
    const char bytes[] = {'\xcd', static_cast<char>(n), '\x0f', '\x05'};
    const Exit exit = RunCode(std::string_view(bytes, sizeof(bytes)));
    ASSERT_EQ(exit.reason, ExitReason::kException) << n;
    ASSERT_EQ(exit.signo, n == 3 ? SIGTRAP : SIGSEGV) << n;
    // A KVM that must deliver the interrupt a second time (its tables were not in place yet) does so as from the next instruction.
    EXPECT_TRUE(regs().rip == kCode + 2 || (regs().rip == kCode && n != 3 && n != 4)) << n;
  }
  ExpectAlive();
}

TEST_F(Hostile, NonCanonicalAddresses) {
  constexpr uint64_t kBad[] = {0x800000000000, 0x8000000000000000, 0xffff7fffffffffff};
  for (const uint64_t bad : kBad) {
    Exit exit = RunCode(CODE("\xff\xe7"), [&](abi::UserRegs& r) { r.rdi = bad; });  // jmp *%rdi
    EXPECT_EQ(exit.signo, SIGSEGV) << std::hex << bad;
    exit = RunCode(CODE("\x57"), [&](abi::UserRegs& r) { r.rsp = bad; });  // push %rdi
    EXPECT_TRUE(exit.signo == SIGBUS || exit.signo == SIGSEGV || exit.reason == ExitReason::kFault) << exit.signo;
    exit = RunCode(CODE("\x0f\x05"), [&](abi::UserRegs& r) { r.rsp = bad; });
    EXPECT_EQ(exit.reason, ExitReason::kSyscall);
    EXPECT_EQ(regs().rsp, bad);
    // Back from a system call with what SYSRET must not see.
    regs().rip = regs().rcx = bad;
    exit = RunOn(*context_, *machine_->space);
    EXPECT_EQ(exit.signo, SIGSEGV);
    ExpectAlive();
  }
}

TEST_F(Hostile, SyscallAtTheEndOfTheAddressSpace) {
  machine_ = std::make_unique<conformance::Machine>(CODE("\x0f\x05"));
  std::memcpy(machine_->file->view() + conformance::Machine::kDataOffset + kPageSize - 2, "\x0f\x05", 2);
  machine_->space->Map(kMaxUserAddress - kPageSize, kPageSize, Ref<BackingFile>(machine_->file), conformance::Machine::kDataOffset, Prot::kReadExec,
                       Populate::kNow);
  SetEntry(regs(), kMaxUserAddress - 2);
  EXPECT_EQ(RunOn(*context_, *machine_->space).reason, ExitReason::kSyscall);
  EXPECT_EQ(regs().rip, kMaxUserAddress);
  const Exit exit = RunOn(*context_, *machine_->space);
  EXPECT_EQ(exit.reason, ExitReason::kFault);
  EXPECT_EQ(exit.address, kMaxUserAddress);
  ExpectAlive();
}

TEST_F(Hostile, FlagsAfterASystemCall) {
  // push %rdi; popfq; syscall
  for (const uint64_t flag : {uint64_t{0x400}, uint64_t{0x4000}, uint64_t{0x40000}, uint64_t{0x3000}, uint64_t{0x200000}, uint64_t{0x80000}, uint64_t{0x100000}}) {
    const Exit exit = RunCode(CODE("\x57\x9d\x0f\x05\x0f\x05"), [&](abi::UserRegs& r) { r.rdi = flag | 2; });
    ASSERT_EQ(exit.reason, ExitReason::kSyscall) << std::hex << flag;
    EXPECT_EQ(regs().eflags & 0x3000, 0u);
    EXPECT_NE(regs().eflags & 0x200, 0u);
    EXPECT_EQ(RunOn(*context_, *machine_->space).reason, ExitReason::kSyscall) << std::hex << flag;
    // And through IRET, with all flags that the Sentry could be made to set.
    SetEntry(regs(), kCode + 2);
    regs().eflags = ~kTrapFlag;
    EXPECT_EQ(RunOn(*context_, *machine_->space).reason, ExitReason::kSyscall);
    ExpectAlive();
  }
}

TEST_F(Hostile, SteppingIntoTheEntryPath) {
  // push $0x102; popfq; nop …: each of these instructions with the trap flag of the application's own.
  const Code into[] = {
      CODE("\x0f\x05"),                  // syscall
      CODE("\xcc"),                      // int3
      CODE("\xcd\x80"),                  // int $0x80
      CODE("\x0f\x0b"),                  // ud2
      CODE("\x8e\xd0\x0f\x05"),          // mov %eax,%ss; syscall
      CODE("\x8e\xd0\xcc"),              // mov %eax,%ss; int3
      CODE("\x8e\xd0\xcd\x80"),          // mov %eax,%ss; int $0x80
      CODE("\x8e\xd0\x0f\x0b"),          // mov %eax,%ss; ud2
      CODE("\xf1"),                      // int1
      CODE("\x8e\xd0\xf1"),              // mov %eax,%ss; int1
  };
  for (const Code code : into) {
    const std::string program = std::string(CODE("\x68\x02\x01\0\0\x9d")) + std::string(code) + "\x0f\x05";
    Exit exit = RunCode(program, [](abi::UserRegs& r) { r.rax = USER_SS; });
    for (int i = 0; i < 6 && exit.reason != ExitReason::kSyscall; ++i) exit = RunOn(*context_, *machine_->space);
    ExpectAlive();
    exit = RunCode(code, [](abi::UserRegs& r) { r.rax = USER_SS; }, Step::kSingleInstruction);
    EXPECT_TRUE(exit.reason == ExitReason::kSyscall || exit.reason == ExitReason::kException);
    EXPECT_EQ(regs().eflags & kTrapFlag, 0u);
    ExpectAlive();
  }
}

TEST_F(Hostile, TheApplicationsTrapFlagStaysSet) {
  const Exit exit = RunCode(CODE("\x68\x02\x01\0\0\x9d\x90\x90\x0f\x05"));
  EXPECT_EQ(exit.signo, SIGTRAP);
  EXPECT_EQ(exit.code, TRAP_TRACE);
  EXPECT_NE(regs().eflags & kTrapFlag, 0u);
  const Exit next = RunOn(*context_, *machine_->space);
  EXPECT_EQ(next.signo, SIGTRAP);
  EXPECT_EQ(regs().rip, kCode + 8);
}

TEST_F(Hostile, EverySegmentLoad) {
  const Code loads[] = {CODE("\x8e\xd8\x0f\x05"), CODE("\x8e\xc0\x0f\x05"), CODE("\x8e\xe0\x0f\x05"), CODE("\x8e\xe8\x0f\x05"), CODE("\x8e\xd0\x0f\x05")};
  for (const Code load : loads) {
    machine_ = std::make_unique<conformance::Machine>(load);
    for (uint64_t selector = 0; selector < 0x60; ++selector) {
      SetEntry(regs(), kCode);
      regs().rax = selector;
      const Exit exit = RunOn(*context_, *machine_->space);
      ASSERT_TRUE(exit.reason == ExitReason::kSyscall || exit.signo == SIGSEGV || exit.signo == SIGBUS) << selector;
      if (exit.reason != ExitReason::kSyscall) continue;
      ASSERT_EQ(RunOn(*context_, *machine_->space).reason == ExitReason::kSyscall, false);  // beyond the code: zeroes
    }
  }
  for (const uint64_t selector : {uint64_t{0x10}, uint64_t{0x18}, uint64_t{0x40}, uint64_t{0xffff}, uint64_t{0x12345}}) {
    RunCode(CODE("\x0f\x05"), [&](abi::UserRegs& r) { r.ds = r.es = r.fs = r.gs = r.cs = r.ss = selector; });
    EXPECT_EQ(regs().ds, 0u);
    EXPECT_EQ(regs().ss, uint64_t{USER_SS});
  }
  ExpectAlive();
}

TEST_F(Hostile, FarReturnsAndInterruptReturns) {
  // push $selector; push $kCode+8…; lretq
  for (const uint64_t selector : {uint64_t{0}, uint64_t{0x10}, uint64_t{0x13}, uint64_t{0x18}, uint64_t{0x2b}, uint64_t{0x33}, uint64_t{0x40}, uint64_t{0x43}}) {
    machine_ = std::make_unique<conformance::Machine>(CODE("\x48\xcb\x0f\x05"));
    SetEntry(regs(), kCode);
    uint64_t* const stack = reinterpret_cast<uint64_t*>(machine_->file->view() + conformance::Machine::kStackOffset + kStackSize - 64);
    stack[0] = kCode + 2;
    stack[1] = selector;
    const Exit exit = RunOn(*context_, *machine_->space);
    EXPECT_EQ(exit.reason == ExitReason::kSyscall, selector == USER_CS) << selector;
    // iretq with each of them, and with NT.
    std::memcpy(machine_->file->view(), "\x48\xcf\x0f\x05", 4);
    stack[0] = kCode + 2;
    stack[1] = selector;
    stack[2] = 0x4202;
    stack[3] = kStackTop - 64;
    stack[4] = USER_SS;
    SetEntry(regs(), kCode);
    const Exit back = RunOn(*context_, *machine_->space);
    EXPECT_EQ(back.reason == ExitReason::kSyscall, selector == USER_CS) << selector;
    ExpectAlive();
  }
}

TEST_F(Hostile, SegmentBases) {
  // wrfsbase %rdi; wrgsbase %rdi; syscall; mov %fs:0,%rax
  const Exit exit = RunCode(CODE("\xf3\x48\x0f\xae\xd7\xf3\x48\x0f\xae\xdf\x0f\x05\x64\x48\x8b\x04\x25\0\0\0\0"), [](abi::UserRegs& r) { r.rdi = KERNEL_BASE; });
  EXPECT_EQ(exit.reason, ExitReason::kSyscall);
  EXPECT_EQ(regs().fs_base, uint64_t{KERNEL_BASE});
  EXPECT_EQ(regs().gs_base, uint64_t{KERNEL_BASE});
  const Exit read = RunOn(*context_, *machine_->space);
  EXPECT_EQ(read.reason, ExitReason::kFault);
  EXPECT_EQ(read.address, uint64_t{KERNEL_BASE});
  ExpectAlive();
  EXPECT_EQ(regs().fs_base, 0u);
  ExpectException(CODE("\x48\xb8\0\0\0\0\0\0\0\x80\xf3\x48\x0f\xae\xd0"), SIGSEGV);  // a base that is not canonical
}

TEST_F(Hostile, FaultsWithoutAStack) {
  for (const uint64_t rsp : {uint64_t{0}, uint64_t{8}, KERNEL_BASE + DATA_OFFSET + DATA_FRAME_TOP, ~uint64_t{0}}) {
    const Exit divide = RunCode(CODE("\x31\xc9\xf7\xf1"), [&](abi::UserRegs& r) { r.rsp = rsp; });
    EXPECT_EQ(divide.signo, SIGFPE);
    EXPECT_EQ(regs().rsp, rsp);
    const Exit push = RunCode(CODE("\x57"), [&](abi::UserRegs& r) { r.rsp = rsp; });
    EXPECT_TRUE(push.reason == ExitReason::kFault || push.reason == ExitReason::kException);
    ExpectAlive();
  }
}

TEST_F(Hostile, FloatingPointState) {
  // xrstor of a header that no processor takes: (rdi) has bad XCOMP_BV.
  machine_ = std::make_unique<conformance::Machine>(CODE("\x0f\xae\x2f\x0f\x05"));
  std::memset(machine_->file->view() + conformance::Machine::kDataOffset + 512, 0xff, 64);
  SetEntry(regs(), kCode);
  regs().rdi = kData;
  regs().rax = regs().rdx = ~uint64_t{0};
  EXPECT_EQ(RunOn(*context_, *machine_->space).signo, SIGSEGV);
  ExpectAlive();
  // Unmask x87's exceptions, divide 1 by 0, wait: fninit; push $0x340; fldcw (%rsp); fld1; fldz; fdivrp; fwait
  const Exit exit = RunCode(CODE("\xdb\xe3\x68\x40\x03\0\0\xd9\x2c\x24\xd9\xe8\xd9\xee\xde\xf9\x9b\x0f\x05"));
  EXPECT_EQ(exit.signo, SIGFPE);
  EXPECT_EQ(exit.code, FPE_FLTDIV);
  ExpectAlive();
  const Exit reserved = RunCode(CODE("\x6a\xff\x0f\xae\x14\x24\x0f\x05"));  // ldmxcsr with reserved bits, which QEMU's emulation takes
  EXPECT_TRUE(reserved.signo == SIGSEGV || reserved.reason == ExitReason::kSyscall);
  ExpectAlive();
}

TEST_F(Hostile, ThirtyTwoBitCode) {
  // push $0x23; push $target; lretq; target: what a 32-bit program tries
  for (const Code tried : {CODE("\xcd\x80"), CODE("\x0f\x05"), CODE("\x0f\x34"), CODE("\xf4"), CODE("\x0f\x0b")}) {
    machine_ = std::make_unique<conformance::Machine>(std::string(CODE("\x6a\x23\x68\x09\x00\x40\x00\x48\xcb")) + std::string(tried) + "\x90\x90");
    SetEntry(regs(), kCode);
    regs().rsp = 0x7ffeff00;
    machine_->space->Map(0x7ffef000, kPageSize, Ref<BackingFile>(machine_->file), conformance::Machine::kStackOffset, Prot::kReadWrite, Populate::kNow);
    const Exit exit = RunOn(*context_, *machine_->space);
    EXPECT_EQ(exit.reason, ExitReason::kException);
    EXPECT_TRUE(exit.signo == SIGSEGV || exit.signo == SIGILL);
    EXPECT_EQ(regs().cs, uint64_t{USER_CS32});
    EXPECT_EQ(regs().rip, kCode + 9);
    ExpectAlive();
  }
}

TEST_F(Hostile, TheVsyscallPageMakesSystemCallsAndCannotBeWritten) {
  constexpr uint64_t kTime = 0xffffffffff600400;
  EXPECT_EQ(RunCode(CODE("\xff\xd3\x0f\x05"), [](abi::UserRegs& r) { r.rbx = kTime; }).reason, ExitReason::kSyscall);
  EXPECT_EQ(regs().rax, 201u);
  EXPECT_EQ(RunOn(*context_, *machine_->space).reason, ExitReason::kSyscall);
  EXPECT_EQ(regs().rip, kCode + 4);
  EXPECT_EQ(RunCode(CODE("\x48\x89\x07"), [](abi::UserRegs& r) { r.rdi = kTime; }).reason, ExitReason::kFault);
  ExpectAlive();
}

TEST_F(Hostile, TheClockIsTheHosts) {
  // rdtsc; shl $32,%rdx; or %rdx,%rax; syscall
  const uint64_t before = __builtin_ia32_rdtsc();
  RunCode(CODE("\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\x0f\x05"));
  const uint64_t after = __builtin_ia32_rdtsc();
  EXPECT_GE(regs().rax, before);
  EXPECT_LE(regs().rax, after);
}

TEST_F(Hostile, NoHypervisorLeaves) {
  // cpuid; syscall
  RunCode(CODE("\x0f\xa2\x0f\x05"), [](abi::UserRegs& r) { r.rax = 1; });
  EXPECT_EQ(regs().rcx == regs().rip, true);  // rcx is SYSCALL's; the bit is looked at below
  RunCode(CODE("\x0f\xa2\x89\xcf\x0f\x05"), [](abi::UserRegs& r) { r.rax = 1; });
  EXPECT_EQ(regs().rdi & 0x80000000, 0u);
  EXPECT_NE(regs().rdi & uint32_t{1} << 27, 0u);  // OSXSAVE
}

TEST_F(Hostile, AnswersAreGivenAndCounted) {
  // syscall; jmp back while rax == 77, else syscall 39+1: mov $39,%eax; syscall; mov %rax,%rdi; mov $40,%eax; syscall
  constexpr Code kTwo = CODE("\xb8\x27\0\0\0\x0f\x05\x48\x89\xc7\xb8\x28\0\0\0\x0f\x05");
  machine_ = std::make_unique<conformance::Machine>(kTwo);
  const uint64_t before = conformance::ThePlatform().stats().answered_calls;
  const std::array<KnownAnswer, 2> answers = {{{39, 0x123456789abcdef0}, {511, 1}}};
  SetEntry(regs(), kCode);
  regs().rbx = 0xb;
  ASSERT_TRUE(context_->Commit(*machine_->space).ok());
  context_->SetAnswers(answers);
  EXPECT_EQ(RunOn(*context_, *machine_->space).reason, ExitReason::kSyscall);
  EXPECT_EQ(regs().orig_rax, 40u);
  EXPECT_EQ(regs().rdi, answers[0].result);
  EXPECT_EQ(regs().rbx, 0xbu);
  EXPECT_EQ(regs().rsp, kStackTop - 64);
  EXPECT_EQ(conformance::ThePlatform().stats().answered_calls, before + 1);
  context_->SetAnswers({});
  SetEntry(regs(), kCode);
  EXPECT_EQ(RunOn(*context_, *machine_->space).reason, ExitReason::kSyscall);
  EXPECT_EQ(regs().orig_rax, 39u);
}

TEST_F(Hostile, AnswersDoNotOutliveTheSpace) {
  machine_ = std::make_unique<conformance::Machine>(CODE("\xb8\x27\0\0\0\x0f\x05\xeb\xfe"));
  ASSERT_TRUE(context_->Commit(*machine_->space).ok());
  const std::array<KnownAnswer, 1> answers = {{{39, 1}}};
  context_->SetAnswers(answers);
  context_->Leave(*machine_->space);
  SetEntry(regs(), kCode);
  EXPECT_EQ(RunOn(*context_, *machine_->space).reason, ExitReason::kSyscall);
}

}  // namespace
}  // namespace rampart::platform::kvm
