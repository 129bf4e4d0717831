#include "platform/testing/fake_platform.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/safe_math.h"
#include "platform/testing/test_file.h"

namespace rampart::platform::testing {
namespace {

TEST(FakeAddressSpace, MapReplacesAndUnmapSplits) {
  auto file = MakeRef<TestFile>(16 * kPageSize);
  auto space = MakeRef<FakeAddressSpace>();
  space->Map(0x10000, 4 * kPageSize, Ref<BackingFile>(file), 0, Prot::kReadWrite, Populate::kNow);
  space->Unmap(0x11000, kPageSize);
  space->Map(0x12000, kPageSize, Ref<BackingFile>(file), 0x8000, Prot::kRead, Populate::kOnFault);
  EXPECT_EQ(space->Find(0x10123)->offset, 0u);
  EXPECT_FALSE(space->Find(0x11000).has_value());
  EXPECT_EQ(space->Find(0x12000)->offset, 0x8000u);
  EXPECT_EQ(space->Find(0x12000)->prot, Prot::kRead);
  EXPECT_EQ(space->Find(0x13fff)->offset, 0x3000u);
  EXPECT_FALSE(space->Find(0x14000).has_value());
  EXPECT_EQ(space->Mappings().size(), 3u);
}

TEST(FakeAddressSpace, ProtectLeavesHoles) {
  auto file = MakeRef<TestFile>(16 * kPageSize);
  auto space = MakeRef<FakeAddressSpace>();
  space->Map(0x10000, kPageSize, Ref<BackingFile>(file), 0, Prot::kReadWrite, Populate::kNow);
  space->Map(0x12000, kPageSize, Ref<BackingFile>(file), 0x2000, Prot::kReadWrite, Populate::kNow);
  space->Protect(0x10000, 4 * kPageSize, Prot::kRead);
  EXPECT_EQ(space->Find(0x10000)->prot, Prot::kRead);
  EXPECT_FALSE(space->Find(0x11000).has_value());
  EXPECT_EQ(space->Find(0x12000)->prot, Prot::kRead);
  EXPECT_EQ(space->Find(0x12000)->offset, 0x2000u);
}

TEST(FakeAddressSpace, HeldChangesApplyAtSwitch) {
  FakePlatform platform;
  auto file = MakeRef<TestFile>(kPageSize);
  auto space = MakeRef<FakeAddressSpace>();
  space->HoldChanges(true);
  space->Map(0x10000, kPageSize, Ref<BackingFile>(file), 0, Prot::kReadWrite, Populate::kNow);
  EXPECT_LT(space->applied(), space->queued());
  FakeContext context(platform);
  EXPECT_TRUE(context.Commit(*space).ok());
  EXPECT_EQ(space->applied(), space->queued());
  space->FailNextApply(Errno::kENOMEM);
  EXPECT_EQ(context.Switch(*space, Step::kRun).error(), Errno::kENOMEM);
}

TEST(FakeContext, PlaysItsScriptInOrder) {
  FakePlatform platform;
  auto space = MakeRef<FakeAddressSpace>();
  FakeContext context(platform);
  context.Push(Exit{.reason = ExitReason::kSyscall});
  context.Push([](FakeContext& c, FakeAddressSpace&, Step) -> Result<Exit> {
    c.regs().rax = 5;
    return Exit{.reason = ExitReason::kFault, .address = 0x1000};
  });
  EXPECT_EQ(context.Switch(*space, Step::kRun)->reason, ExitReason::kSyscall);
  EXPECT_EQ(context.Switch(*space, Step::kRun)->address, 0x1000u);
  EXPECT_EQ(context.regs().rax, 5u);
}

TEST(FakeContext, InterruptAndKickEndASwitch) {
  FakePlatform platform;
  auto space = MakeRef<FakeAddressSpace>();
  FakeContext context(platform);
  context.Interrupt();
  EXPECT_EQ(context.Switch(*space, Step::kRun)->reason, ExitReason::kInterrupted);
  std::thread other([&] {
    while (context.switches() < 2) std::this_thread::yield();
    space->Kick();
  });
  EXPECT_EQ(context.Switch(*space, Step::kRun)->reason, ExitReason::kInterrupted);
  other.join();
}

TEST(FakePlatform, ProgramRunsOnEveryContext) {
  FakePlatform platform;
  platform.SetProgram([](FakeContext&, FakeAddressSpace&, Step) -> Result<Exit> { return Exit{.reason = ExitReason::kSyscall}; });
  auto space = platform.NewAddressSpace().value();
  auto context = platform.NewContext().value();
  EXPECT_EQ(context->Switch(*space, Step::kRun)->reason, ExitReason::kSyscall);
  EXPECT_EQ(platform.contexts().size(), 1u);
}

}  // namespace
}  // namespace rampart::platform::testing
