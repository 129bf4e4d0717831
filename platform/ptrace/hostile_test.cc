// Application code that tries to get at the host through its stub process.
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/syscall.h>

#include "platform/ptrace/stub_filter.h"
#include "platform/ptrace/stub_layout.h"
#include "platform/conformance/test_machine.h"

namespace rampart::platform::ptrace {
namespace {

using conformance::Code;
using conformance::kCode;
using conformance::kData;
using conformance::kStackTop;
using conformance::Machine;
using conformance::NewContext;
using conformance::RunOn;
using conformance::SetEntry;

class Hostile : public ::testing::Test {
 protected:
  Exit RunAt(uint64_t rip) {
    SetEntry(context_->regs(), rip);
    return RunOn(*context_, *machine_.space);
  }
  // Still a working machine?
  void ExpectAlive() {
    SetEntry(context_->regs(), kCode);
    machine_.space->Protect(kData, kPageSize, Prot::kReadWrite);  // a batch must still work
    EXPECT_EQ(RunOn(*context_, *machine_.space).reason, ExitReason::kSyscall);
  }
  Machine machine_{CODE("\x0f\x05")};
  std::unique_ptr<Context> context_ = NewContext();
};

TEST_F(Hostile, EveryEntryIntoStubCodeMakesNoHostCall) {
  RunAt(kCode);
  const auto size = static_cast<uint64_t>(rampart_stub_end - rampart_stub_begin);
  for (uint64_t offset = 0; offset < size; ++offset) {
    abi::UserRegs& regs = context_->regs();
    SetEntry(regs, STUB_CODE + offset);
    // Registers as they would be for the worst: map, run a batch that lies in our data page.
    regs.rbx = kData;
    regs.r12 = 1;
    regs.rax = SYS_exit_group;
    machine_.data(0) = SYS_kill;
    machine_.data(1) = static_cast<uint64_t>(getpid());
    machine_.data(2) = SIGKILL;
    const Exit exit = RunOn(*context_, *machine_.space);
    ASSERT_TRUE(exit.reason == ExitReason::kSyscall || exit.reason == ExitReason::kException || exit.reason == ExitReason::kFault);
  }
  ExpectAlive();
}

TEST_F(Hostile, BatchRoutineUnderApplicationControlOnlyReportsSyscalls) {
  SetEntry(context_->regs(), StubAddress(rampart_stub_batch));
  context_->regs().rbx = kData;
  context_->regs().r12 = 1;
  machine_.data(0) = SYS_munmap;
  machine_.data(1) = STUB_CODE;
  machine_.data(2) = STUB_PAGE;
  const Exit exit = RunOn(*context_, *machine_.space);
  EXPECT_EQ(exit.reason, ExitReason::kSyscall);
  EXPECT_EQ(context_->regs().rax, static_cast<uint64_t>(SYS_munmap));
  EXPECT_EQ(context_->regs().rdi, uint64_t{STUB_CODE});
  ExpectAlive();
}

TEST_F(Hostile, StubPagesCannotBeWritten) {
  // mov %rax,(%rdi); syscall
  Machine machine(CODE("\x48\x89\x07\x0f\x05"));
  auto context = NewContext();
  for (uint64_t address = STUB_CODE; address < STUB_USER_END; address += STUB_PAGE) {
    SetEntry(context->regs(), kCode);
    context->regs().rdi = address;
    EXPECT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kFault) << std::hex << address;
  }
}

TEST_F(Hostile, HostVdsoAndControlPageAreGone) {
  // mov (%rdi),%rax; syscall: everything above the application is invisible but code and commands.
  Machine machine(CODE("\x48\x8b\x07\x0f\x05"));
  auto context = NewContext();
  for (uint64_t address = STUB_CODE; address < STUB_USER_END; address += STUB_PAGE) {
    SetEntry(context->regs(), kCode);
    context->regs().rdi = address;
    const bool ours = address < STUB_COMMANDS + STUB_COMMANDS_SIZE;
    EXPECT_EQ(RunOn(*context, *machine.space).reason, ours ? ExitReason::kSyscall : ExitReason::kFault) << std::hex << address;
  }
}

TEST_F(Hostile, Int80IsAGeneralProtectionFault) {
  // mov $20,%eax; int $0x80; syscall
  Machine machine(CODE("\xb8\x14\0\0\0\xcd\x80\x0f\x05"));
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  const Exit exit = RunOn(*context, *machine.space);
  EXPECT_EQ(exit.reason, ExitReason::kException);
  EXPECT_EQ(exit.signo, SIGSEGV);
  EXPECT_EQ(exit.code, SI_KERNEL);
  EXPECT_EQ(context->regs().rip, kCode + 5);
  EXPECT_EQ(context->regs().rax, 20u);
}

TEST_F(Hostile, Int80ThatPretendsToBeSyscallIsJustASyscall) {
  // int $0x80 with rcx = rip: the application fools only itself.
  Machine machine(CODE("\xcd\x80\x0f\x05"));
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rax = SYS_getpid;
  context->regs().rcx = kCode + 2;
  EXPECT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
}

TEST_F(Hostile, SysenterMakesNoHostCall) {
  Machine machine(CODE("\x0f\x34\x0f\x05"));
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rax = SYS_getpid;
  context->regs().rbp = kStackTop - 128;
  const Exit exit = RunOn(*context, *machine.space);
  EXPECT_EQ(exit.reason, ExitReason::kException);
  EXPECT_TRUE(exit.signo == SIGILL || exit.signo == SIGSEGV) << exit.signo;
}

TEST_F(Hostile, SyscallsFrom32BitCodeAreRefused) {
  // push $0x23; push $target; lretq; target (32 bit): int $0x80
  Machine machine(CODE("\x6a\x23\x68\x09\x00\x40\x00\x48\xcb\xcd\x80\x90\x90"));
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rsp = 0x7ffeff00;
  machine.space->Map(0x7ffef000, kPageSize, Ref<BackingFile>(machine.file), Machine::kStackOffset, Prot::kReadWrite, Populate::kNow);
  const Exit exit = RunOn(*context, *machine.space);
  EXPECT_EQ(exit.reason, ExitReason::kException);
  EXPECT_EQ(exit.signo, SIGSEGV);
  EXPECT_EQ(context->regs().cs, 0x23u);
}

TEST_F(Hostile, VsyscallPageReachesTheSentryOrFaults) {
  // call *%rbx; syscall
  Machine machine(CODE("\xff\xd3\x0f\x05"));
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = 0xffffffffff600400;  // time()
  const Exit exit = RunOn(*context, *machine.space);
  if (exit.reason == ExitReason::kFault) {
    EXPECT_EQ(exit.address, 0xffffffffff600400);  // vsyscall=none
    return;
  }
  EXPECT_EQ(exit.reason, ExitReason::kSyscall);
  EXPECT_EQ(context->regs().rax, static_cast<uint64_t>(SYS_time));
  EXPECT_EQ(context->regs().rip, kCode + 2);
  context->regs().rax = 5;
  EXPECT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
  EXPECT_EQ(context->regs().rip, kCode + 4);
}

// Evaluates the filter as the kernel would.
uint32_t Evaluate(const std::vector<sock_filter>& filter, const seccomp_data& data) {
  uint32_t accumulator = 0;
  for (size_t pc = 0; pc < filter.size(); ++pc) {
    const sock_filter& insn = filter[pc];
    switch (insn.code) {
      case BPF_LD | BPF_W | BPF_ABS: std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + insn.k, 4); break;
      case BPF_JMP | BPF_JEQ | BPF_K: pc += accumulator == insn.k ? insn.jt : insn.jf; break;
      case BPF_RET | BPF_K: return insn.k;
      default: ADD_FAILURE() << "unexpected instruction"; return 0;
    }
  }
  ADD_FAILURE() << "no return";
  return 0;
}

TEST(StubFilter, AllowsItsListAndNothingElse) {
  const std::vector<sock_filter> filter = StubFilter();
  for (int number = 0; number < 600; ++number) {
    bool listed = false, checked = false;
    for (const StubCall& call : StubCalls()) {
      listed = listed || call.number == number;
      checked = checked || (call.number == number && call.check_argument0);
    }
    seccomp_data data{};
    data.nr = number;
    data.arch = AUDIT_ARCH_X86_64;
    data.args[0] = 0xdead;
    const bool vsyscall = number == SYS_time || number == SYS_gettimeofday || number == SYS_getcpu;
    const uint32_t expected = listed && !checked ? SECCOMP_RET_ALLOW : vsyscall ? SECCOMP_RET_TRAP : SECCOMP_RET_KILL_PROCESS;
    EXPECT_EQ(Evaluate(filter, data), expected) << number;
    data.arch = AUDIT_ARCH_I386;
    EXPECT_EQ(Evaluate(filter, data), static_cast<uint32_t>(SECCOMP_RET_KILL_PROCESS)) << number;
    data.arch = AUDIT_ARCH_X86_64;
    data.nr = number | 0x40000000;
    EXPECT_EQ(Evaluate(filter, data), static_cast<uint32_t>(SECCOMP_RET_KILL_PROCESS)) << number;
  }
}

TEST(StubFilter, ArgumentsAreChecked) {
  const std::vector<sock_filter> filter = StubFilter();
  for (const StubCall& call : StubCalls()) {
    if (!call.check_argument0) continue;
    seccomp_data data{};
    data.nr = call.number;
    data.arch = AUDIT_ARCH_X86_64;
    data.args[0] = call.argument0;
    EXPECT_EQ(Evaluate(filter, data), static_cast<uint32_t>(SECCOMP_RET_ALLOW));
    data.args[0] = call.argument0 ^ 0x20000000;
    EXPECT_EQ(Evaluate(filter, data), static_cast<uint32_t>(SECCOMP_RET_KILL_PROCESS));
  }
}

}  // namespace
}  // namespace rampart::platform::ptrace
