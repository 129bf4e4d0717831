// The machine's resources: nothing is left behind, few processors serve many threads, files that change under the guest.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <list>
#include <thread>

#include "platform/conformance/test_machine.h"
#include "platform/kvm/platform_impl.h"

namespace rampart::platform::kvm {
namespace {

using conformance::Code;
using conformance::JoinedThread;
using conformance::kCode;
using conformance::kData;
using conformance::NewContext;
using conformance::RunOn;
using conformance::SetEntry;
using conformance::TestFile;

constexpr Code kReader = CODE("\x48\x8b\x3b\x0f\x05\xeb\xf9");  // mov (%rbx),%rdi; syscall; jmp back
constexpr Code kWriteLoop = CODE("\x48\x89\x3b\xeb\xfb");       // mov %rdi,(%rbx); jmp back
constexpr Code kShadowedWriteLoop = CODE("\x8e\xd0\x48\x89\x3b\xeb\xf9");  // mov %eax,%ss; mov %rdi,(%rbx); jmp back: no interrupt before the write

class MachineTest : public conformance::OnPlatform {
 protected:
  static Machine& TheMachine() { return static_cast<KvmPlatform&>(conformance::ThePlatform()).machine(); }
};

TEST_F(MachineTest, ThousandSpacesAndTwoHundredThreadsLeaveNothing) {
  const auto one = [](bool leave) {
    auto context = NewContext();
    conformance::Machine machine(kReader);
    SetEntry(context->regs(), kCode);
    context->regs().rbx = kData;
    ASSERT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
    if (leave) context->Leave(*machine.space);
  };
  one(true);
  TheMachine().memory().Trim();
  const Machine::Counts before = TheMachine().counts();
  for (int i = 0; i < 1000; ++i) one(i % 2 == 0);
  for (int round = 0; round < 20; ++round) {
    std::list<JoinedThread> threads;
    for (int i = 0; i < 10; ++i) threads.emplace_back([&] { one(true); });
  }
  TheMachine().memory().Trim();
  const Machine::Counts after = TheMachine().counts();
  EXPECT_EQ(after.spaces, before.spaces);
  EXPECT_EQ(after.contexts, before.contexts);
  EXPECT_EQ(after.memory.used, before.memory.used);
  EXPECT_EQ(after.memory.idle, 0u);
  EXPECT_LE(after.memory.slots, before.memory.slots + 1);  // page tables may have grown by one
  EXPECT_LE(after.vcpus, before.vcpus + 10);
  EXPECT_EQ(after.vcpus, after.free_vcpus);
  // A processor has pages of its own, and keeps the root that is in its CR3.
  EXPECT_LE(after.pages, before.pages + (after.vcpus - before.vcpus) * 4 + after.vcpus);
}

TEST_F(MachineTest, MoreThreadsThanProcessors) {
  Result<std::unique_ptr<Platform>> made = KvmPlatform::Create();
  ASSERT_TRUE(made.ok());
  auto& platform = static_cast<KvmPlatform&>(**made);
  platform.machine().LimitVcpusForTesting(2);
  // movq %rdi,%xmm0; lock incq (%rbx); syscall; movq %xmm0,%rsi; syscall
  constexpr Code kXmm = CODE("\x66\x48\x0f\x6e\xc7\xf0\x48\xff\x03\x0f\x05\x66\x48\x0f\x7e\xc6\x0f\x05");
  {
    auto file = MakeRef<TestFile>(uint64_t{0x40000});
    std::memcpy(file->view(), kXmm.data(), kXmm.size());
    Ref<AddressSpace> space = platform.NewAddressSpace().value();
    space->Map(kCode, kPageSize, Ref<BackingFile>(file), 0, Prot::kReadExec, Populate::kNow);
    space->Map(kData, kPageSize, Ref<BackingFile>(file), 0x10000, Prot::kReadWrite, Populate::kOnFault);
    std::list<JoinedThread> threads;
    for (uint64_t i = 1; i <= 8; ++i) {
      threads.emplace_back([&, i] {
        auto context = platform.NewContext().value();
        for (int round = 0; round < 20; ++round) {
          SetEntry(context->regs(), kCode);
          context->regs().rdi = i * 1000;
          context->regs().rbx = kData;
          ASSERT_EQ(RunOn(*context, *space).reason, ExitReason::kSyscall);
          std::this_thread::yield();
          ASSERT_EQ(RunOn(*context, *space).reason, ExitReason::kSyscall);
          ASSERT_EQ(context->regs().rsi, i * 1000);
        }
        context->Leave(*space);
      });
    }
    for (JoinedThread& thread : threads) thread.Join();
    EXPECT_EQ(*reinterpret_cast<uint64_t*>(file->view() + 0x10000), 8u * 20);
    EXPECT_LE(platform.machine().counts().vcpus, 2u);
  }
}

TEST_F(MachineTest, SpinningThreadsTakeTurns) {
  Result<std::unique_ptr<Platform>> made = KvmPlatform::Create();
  ASSERT_TRUE(made.ok());
  auto& platform = static_cast<KvmPlatform&>(**made);
  platform.machine().LimitVcpusForTesting(1);
  auto file = MakeRef<TestFile>(uint64_t{0x40000});
  std::memcpy(file->view(), "\xf0\x48\xff\x03\xeb\xfa", 6);  // lock incq (%rbx); jmp back
  {
    Ref<AddressSpace> space = platform.NewAddressSpace().value();
    space->Map(kCode, kPageSize, Ref<BackingFile>(file), 0, Prot::kReadExec, Populate::kNow);
    space->Map(kData, kPageSize, Ref<BackingFile>(file), 0x10000, Prot::kReadWrite, Populate::kOnFault);
    std::atomic<bool> stop{false};
    std::list<JoinedThread> threads;
    const auto word = [&](uint64_t i) { return reinterpret_cast<std::atomic<uint64_t>*>(file->view() + 0x10000 + i * 8); };
    for (uint64_t i = 0; i < 3; ++i) {
      threads.emplace_back([&, i] {
        auto context = platform.NewContext().value();
        SetEntry(context->regs(), kCode);
        context->regs().rbx = kData + i * 8;
        while (!stop.load()) ASSERT_EQ(context->Switch(*space, Step::kRun)->reason, ExitReason::kInterrupted);
      });
    }
    for (int tries = 0; tries < 1000; ++tries) {
      if (word(0)->load() != 0 && word(1)->load() != 0 && word(2)->load() != 0) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    stop = true;
    for (int i = 0; i < 200; ++i) {
      space->Kick();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    for (JoinedThread& thread : threads) thread.Join();
    for (uint64_t i = 0; i < 3; ++i) EXPECT_NE(word(i)->load(), 0u) << i;
  }
}

TEST_F(MachineTest, TruncatedFileIsABusErrorAndComesBack) {
  auto file = MakeRef<TestFile>(uint64_t{0x40000}, /*stable=*/false);
  conformance::Machine machine(kReader);
  machine.space->Map(0x700000, 0x10000, Ref<BackingFile>(file), 0, Prot::kReadWrite, Populate::kOnFault);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = 0x702000;
  ASSERT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
  ASSERT_EQ(ftruncate(file->fd(), kPageSize), 0);
  const Exit exit = RunOn(*context, *machine.space);
  EXPECT_EQ(exit.reason, ExitReason::kException);
  EXPECT_EQ(exit.signo, SIGBUS);
  EXPECT_EQ(exit.address, 0x702000u);
  EXPECT_EQ(RunOn(*context, *machine.space).signo, SIGBUS);
  ASSERT_EQ(ftruncate(file->fd(), 0x40000), 0);
  EXPECT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
  EXPECT_EQ(context->regs().rdi, 0u);
}

// A thread writes; its page's rights are taken away; from then on no write may come through.
void TakeAPageFromAWriter(Code loop) {
  conformance::Machine machine(loop);
  std::atomic<bool> faulted{false};
  JoinedThread spinner([&] {
    auto context = NewContext();
    SetEntry(context->regs(), kCode);
    context->regs().rax = context->regs().ss;
    context->regs().rbx = kData;
    context->regs().rdi = 1;
    const Exit exit = RunOn(*context, *machine.space);
    EXPECT_EQ(exit.reason, ExitReason::kFault);
    EXPECT_EQ(exit.access, Prot::kWrite);
    faulted = true;
  });
  while (machine.data(0) == 0) std::this_thread::yield();
  auto context = NewContext();
  machine.space->Protect(kData, kPageSize, Prot::kRead);
  ASSERT_TRUE(context->Commit(*machine.space).ok());
  EXPECT_EQ(machine.space->applied(), machine.space->queued());
  machine.data(0) = 99;
  spinner.Join();
  EXPECT_TRUE(faulted.load());
  EXPECT_EQ(machine.data(0), 99u);
}

TEST_F(MachineTest, UnmappingReachesThreadsThatRun) {
  TakeAPageFromAWriter(kWriteLoop);
  for (int i = 0; i < 30; ++i) TakeAPageFromAWriter(kShadowedWriteLoop);
}

TEST_F(MachineTest, ManyFilesTakeSlotsAndGiveThemBack) {
  const Machine::Counts before = TheMachine().counts();
  auto context = NewContext();
  {
    conformance::Machine machine(kReader);
    for (uint64_t i = 0; i < 300; ++i) {
      machine.space->Map(0x10000000, kPageSize, Ref<BackingFile>(MakeRef<TestFile>(kPageSize)), 0, Prot::kRead, Populate::kOnFault);
      SetEntry(context->regs(), kCode);
      context->regs().rbx = 0x10000000;
      ASSERT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
    }
    EXPECT_LE(TheMachine().counts().memory.slots, before.memory.slots + 270);
    context->Leave(*machine.space);
  }
  TheMachine().memory().Trim();
  EXPECT_LE(TestFile::live(), 1);
  EXPECT_LE(TheMachine().counts().memory.slots, before.memory.slots + 1);
}

}  // namespace
}  // namespace rampart::platform::kvm
