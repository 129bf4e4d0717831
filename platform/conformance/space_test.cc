// Address spaces: batches of mapping changes, isolation, what keeps files alive, reuse of stub processes.
#include <signal.h>
#include <sys/syscall.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "platform/conformance/test_machine.h"

namespace rampart::platform::conformance {
namespace {

class Space : public OnPlatform {};

// mov (%rbx),%rdi; syscall; jmp back: reads the word at rbx.
constexpr Code kReader = CODE("\x48\x8b\x3b\x0f\x05\xeb\xf9");
// mov %rdi,(%rbx); syscall; jmp back
constexpr Code kWriter = CODE("\x48\x89\x3b\x0f\x05\xeb\xf9");

TEST_F(Space, TwoSpacesAreIsolated) {
  Machine a(kReader), b(kReader);
  auto context_a = NewContext();
  a.data(0) = 1;
  b.data(0) = 2;
  SetEntry(context_a->regs(), kCode);
  context_a->regs().rbx = kData;
  RunOn(*context_a, *a.space);
  EXPECT_EQ(context_a->regs().rdi, 1u);
  JoinedThread other([&] {
    auto context_b = NewContext();
    SetEntry(context_b->regs(), kCode);
    context_b->regs().rbx = kData;
    RunOn(*context_b, *b.space);
    EXPECT_EQ(context_b->regs().rdi, 2u);
  });
  other.Join();
  RunOn(*context_a, *a.space);
  EXPECT_EQ(context_a->regs().rdi, 1u);
}

TEST_F(Space, OneContextRunsSeveralSpaces) {
  Machine a(kReader), b(kReader);
  a.data(0) = 1;
  b.data(0) = 2;
  auto context = NewContext();
  for (int i = 0; i < 10; ++i) {
    Machine& machine = i % 2 == 0 ? a : b;
    SetEntry(context->regs(), kCode);
    context->regs().rbx = kData;
    RunOn(*context, *machine.space);
    EXPECT_EQ(context->regs().rdi, i % 2 == 0 ? 1u : 2u);
    context->Leave(*machine.space);
  }
}

TEST_F(Space, ProtectionChangesTakeEffect) {
  Machine machine(kWriter);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  context->regs().rdi = 5;
  EXPECT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
  EXPECT_EQ(machine.data(0), 5u);
  machine.space->Protect(kData, kPageSize, Prot::kRead);
  const Exit exit = RunOn(*context, *machine.space);
  EXPECT_EQ(exit.reason, ExitReason::kFault);
  EXPECT_TRUE(exit.page_was_mapped);
  machine.space->Protect(kData, kPageSize, Prot::kReadWrite);
  EXPECT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
  machine.space->Unmap(kData, kPageSize);
  const Exit gone = RunOn(*context, *machine.space);
  EXPECT_EQ(gone.reason, ExitReason::kFault);
  EXPECT_FALSE(gone.page_was_mapped);
}

TEST_F(Space, ManyChangesInOneBatch) {
  Machine machine(kReader);
  auto file = MakeRef<TestFile>(2000 * kPageSize);
  auto context = NewContext();
  // Every other page, backwards: nothing coalesces; more than one command page.
  for (uint64_t i = 0; i < 1000; ++i) {
    reinterpret_cast<uint64_t*>(file->view() + i * 2 * kPageSize)[0] = i;
    machine.space->Map(0x10000000 + i * 2 * kPageSize, kPageSize, Ref<BackingFile>(file), i * 2 * kPageSize, Prot::kRead, Populate::kNow);
  }
  machine.space->Protect(0x10000000, 2000 * kPageSize, Prot::kReadWrite);
  EXPECT_LT(machine.space->applied(), machine.space->queued() + 1);
  SetEntry(context->regs(), kCode);
  for (const uint64_t i : {uint64_t{0}, uint64_t{499}, uint64_t{999}}) {
    context->regs().rbx = 0x10000000 + i * 2 * kPageSize;
    ASSERT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
    EXPECT_EQ(context->regs().rdi, i);
    EXPECT_EQ(machine.space->applied(), machine.space->queued());
  }
  context->regs().rbx = 0x10000000 + kPageSize;
  EXPECT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kFault);
}

TEST_F(Space, CommitAppliesWithoutRunning) {
  Machine machine(kReader);
  auto context = NewContext();
  ASSERT_TRUE(context->Commit(*machine.space).ok());
  machine.space->Unmap(kData, kPageSize);
  EXPECT_LE(machine.space->applied(), machine.space->queued());  // a platform may be quicker
  ASSERT_TRUE(context->Commit(*machine.space).ok());
  EXPECT_EQ(machine.space->applied(), machine.space->queued());
}

TEST_F(Space, FilesAreReleasedWhenNoLongerMapped) {
  Machine machine(kReader);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  RunOn(*context, *machine.space);
  const int before = TestFile::live();
  machine.space->Map(0x600000, 4 * kPageSize, Ref<BackingFile>(MakeRef<TestFile>(4 * kPageSize)), 0, Prot::kRead, Populate::kOnFault);
  EXPECT_EQ(TestFile::live(), before + 1);
  RunOn(*context, *machine.space);
  machine.space->Unmap(0x600000, 2 * kPageSize);
  RunOn(*context, *machine.space);
  EXPECT_EQ(TestFile::live(), before + 1);
  machine.space->Map(0x602000, 2 * kPageSize, Ref<BackingFile>(machine.file), 0, Prot::kRead, Populate::kOnFault);
  RunOn(*context, *machine.space);
  EXPECT_EQ(TestFile::live(), before);
}

}  // namespace
}  // namespace rampart::platform::conformance
