// Several contexts in one space, interrupts, extended state.
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <list>
#include <optional>
#include <thread>
#include <vector>

#include "platform/conformance/test_machine.h"

namespace rampart::platform::conformance {
namespace {

class Threads : public OnPlatform {};
class Interrupt : public OnPlatform {};
class Kick : public OnPlatform {};
class ExtendedState : public OnPlatform {};

constexpr Code kSpin = CODE("\xeb\xfe");
// lock incq (%rbx); syscall; jmp back
constexpr Code kCount = CODE("\xf0\x48\xff\x03\x0f\x05\xeb\xf8");

// Stress goes on for so many rounds or so long: on a busy machine each round waits for the end of a spinning thread's time slice.
constexpr std::chrono::seconds kPatience{3};


TEST_F(Threads, SiblingsShareTheSpace) {
  Machine machine(kCount);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  RunOn(*context, *machine.space);
  constexpr int kThreads = 8;
  constexpr int kRounds = 200;
  std::list<JoinedThread> threads;
  for (int i = 0; i < kThreads; ++i) {
    ASSERT_TRUE(context->PrepareSibling(*machine.space).ok());
    threads.emplace_back([&] {
      auto own = NewContext();
      SetEntry(own->regs(), kCode);
      own->regs().rbx = kData;
      for (int round = 0; round < kRounds; ++round) ASSERT_EQ(RunOn(*own, *machine.space).reason, ExitReason::kSyscall);
      own->Leave(*machine.space);
    });
  }
  for (JoinedThread& thread : threads) thread.Join();
  EXPECT_EQ(machine.data(0), 1u + kThreads * kRounds);
}

TEST_F(Threads, CreatedAndJoinedManyTimesReuseHostThreads) {
  Machine machine(kCount);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  RunOn(*context, *machine.space);
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(context->PrepareSibling(*machine.space).ok());
    JoinedThread thread([&] {
      auto own = NewContext();
      SetEntry(own->regs(), kCode);
      own->regs().rbx = kData;
      ASSERT_EQ(RunOn(*own, *machine.space).reason, ExitReason::kSyscall);
      own->Leave(*machine.space);
    });
    thread.Join();
    ASSERT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
  }
  EXPECT_EQ(machine.data(0), 1u + 400u);
}

TEST_F(Threads, FirstThreadMayLeaveBeforeTheOthers) {
  Machine machine(kCount);
  std::atomic<bool> go{false};
  std::optional<JoinedThread> second;
  JoinedThread first([&] {
    auto context = NewContext();
    SetEntry(context->regs(), kCode);
    context->regs().rbx = kData;
    RunOn(*context, *machine.space);
    ASSERT_TRUE(context->PrepareSibling(*machine.space).ok());
    second.emplace([&] {
      auto own = NewContext();
      SetEntry(own->regs(), kCode);
      own->regs().rbx = kData;
      ASSERT_EQ(RunOn(*own, *machine.space).reason, ExitReason::kSyscall);
      while (!go.load()) std::this_thread::yield();
      ASSERT_EQ(RunOn(*own, *machine.space).reason, ExitReason::kSyscall);
      machine.space->Protect(kData, kPageSize, Prot::kRead);
      ASSERT_EQ(RunOn(*own, *machine.space).reason, ExitReason::kFault);
    });
  });
  first.Join();
  go = true;
}

TEST_F(Interrupt, BeforeSwitchIsNotLost) {
  Machine machine(kSpin);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->Interrupt();
  EXPECT_EQ(context->Switch(*machine.space, Step::kRun)->reason, ExitReason::kInterrupted);
}

TEST_F(Interrupt, TakesASpinningThreadOut) {
  Machine machine(kSpin);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().r15 = 0x1234;
  JoinedThread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    context->Interrupt();
  });
  EXPECT_EQ(context->Switch(*machine.space, Step::kRun)->reason, ExitReason::kInterrupted);
  other.Join();
  EXPECT_EQ(context->regs().rip, kCode);
  EXPECT_EQ(context->regs().r15, 0x1234u);
}

TEST_F(Interrupt, NoneIsLostUnderStress) {
  Machine machine(kSpin);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  constexpr int kRounds = 10000;
  std::atomic<int> served{0};
  const auto all_served = [&] { served = kRounds; };
  JoinedThread other(
      [&] {
        for (int i = 0; i < kRounds; ++i) {
          context->Interrupt();
          while (served.load(std::memory_order_acquire) <= i) std::this_thread::yield();  // a lost one hangs here
        }
      },
      all_served);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  for (int i = 0; i < kRounds && std::chrono::steady_clock::now() < end; ++i) {
    ASSERT_EQ(context->Switch(*machine.space, Step::kRun)->reason, ExitReason::kInterrupted);
    served.store(i + 1, std::memory_order_release);
  }
  other.Join();
}

TEST_F(Interrupt, NoneIsLostAmongSystemCallsAndMappings) {
  Machine machine(kCount);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  std::atomic<int> wanted{0}, served{0};
  std::atomic<bool> stop{false}, failed{false};
  JoinedThread other(
      [&] {
        const auto end = std::chrono::steady_clock::now() + kPatience;
        for (int i = 1; i <= 2000 && std::chrono::steady_clock::now() < end; ++i) {
          wanted.store(i, std::memory_order_release);
          context->Interrupt();
          while (served.load(std::memory_order_acquire) < i && !failed.load()) std::this_thread::yield();
        }
        stop = true;
      },
      [&] { failed = true; });
  uint64_t calls = 0;
  for (int i = 0; !stop.load(); ++i) {
    const Result<Exit> exit = context->Switch(*machine.space, Step::kRun);
    ASSERT_TRUE(exit.ok());
    if (exit->reason == ExitReason::kSyscall) {
      ++calls;
      if (i % 8 == 0) machine.space->Protect(kStackTop - kStackSize, kPageSize, i % 16 == 0 ? Prot::kRead : Prot::kReadWrite);
    } else {
      ASSERT_EQ(exit->reason, ExitReason::kInterrupted);
      served.store(wanted.load(std::memory_order_acquire), std::memory_order_release);
    }
  }
  other.Join();
  // One more instruction may have been counted than was reported, never a call swallowed.
  EXPECT_GE(machine.data(0), calls);
  EXPECT_LE(machine.data(0), calls + 1);
}

// Linux drops the SIGTRAP of the int3 that ends a stub routine when another one is pending: nothing but SIGTRAPs makes that frequent.

TEST_F(Kick, MakesThreadsApplyChanges) {
  // mov (%rbx),%rdi; jmp back: faults once the page is gone.
  Machine machine(CODE("\x48\x8b\x3b\xeb\xfb"));
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  JoinedThread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    machine.space->Unmap(kData, kPageSize);
    const uint64_t wanted = machine.space->queued();
    machine.space->Kick();
    while (machine.space->applied() < wanted) std::this_thread::yield();
  });
  EXPECT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kFault);
  other.Join();
}

TEST_F(Kick, OfASpaceThatDoesNotRunDoesNothing) {
  Machine machine(kCount);
  machine.space->Kick();
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  EXPECT_EQ(context->Switch(*machine.space, Step::kRun)->reason, ExitReason::kSyscall);
  machine.space->Kick();
  EXPECT_EQ(context->Switch(*machine.space, Step::kRun)->reason, ExitReason::kSyscall);
}

std::vector<std::byte> Xstate(Context& context) {
  std::vector<std::byte> state(ThePlatform().xstate_size());
  EXPECT_TRUE(context.GetExtendedState(state).ok());
  return state;
}

uint64_t Xmm0(const std::vector<std::byte>& state) {
  uint64_t low;
  std::memcpy(&low, state.data() + 160, sizeof(low));
  return low;
}

// movq %rdi,%xmm0; syscall; movq %xmm0,%rsi; syscall; jmp back to the second part
constexpr Code kXmm = CODE("\x66\x48\x0f\x6e\xc7\x0f\x05\x66\x48\x0f\x7e\xc6\x0f\x05\xeb\xf7");

TEST_F(ExtendedState, IsPreservedAndVisible) {
  Machine machine(kXmm);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rdi = 0xabcdef;
  RunOn(*context, *machine.space);
  EXPECT_EQ(Xmm0(Xstate(*context)), 0xabcdefu);
  machine.space->Protect(kData, kPageSize, Prot::kRead);  // a batch runs in between
  RunOn(*context, *machine.space);
  EXPECT_EQ(context->regs().rsi, 0xabcdefu);
}

TEST_F(ExtendedState, CanBeSet) {
  Machine machine(kXmm);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  RunOn(*context, *machine.space);
  std::vector<std::byte> state = Xstate(*context);
  const uint64_t value = 0x1122334455667788;
  std::memcpy(state.data() + 160, &value, sizeof(value));
  state[512] |= std::byte{2};
  ASSERT_TRUE(context->SetExtendedState(state).ok());
  EXPECT_EQ(Xmm0(Xstate(*context)), value);
  RunOn(*context, *machine.space);
  EXPECT_EQ(context->regs().rsi, value);
}

TEST_F(ExtendedState, HostileStatesAreRefusedAndChangeNothing) {
  Machine machine(kXmm);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rdi = 99;
  RunOn(*context, *machine.space);
  const std::vector<std::byte> good = Xstate(*context);
  for (const size_t bad : {size_t{519}, size_t{527}, size_t{530}, size_t{575}, size_t{27}}) {
    std::vector<std::byte> state = good;
    state[bad] = std::byte{0xff};
    EXPECT_EQ(context->SetExtendedState(state).error(), Errno::kEINVAL) << bad;
  }
  EXPECT_EQ(context->SetExtendedState(std::span(good).first(512)).error(), Errno::kEINVAL);
  RunOn(*context, *machine.space);
  EXPECT_EQ(context->regs().rsi, 99u);
}

TEST_F(ExtendedState, NewThreadsAndReusedStubsStartClean) {
  auto context = NewContext();
  for (int i = 0; i < 2; ++i) {
    Machine machine(kXmm);
    SetEntry(context->regs(), kCode + 7);  // reads xmm0 first
    RunOn(*context, *machine.space);
    EXPECT_EQ(context->regs().rsi, 0u);
    SetEntry(context->regs(), kCode);
    context->regs().rdi = 77;
    RunOn(*context, *machine.space);
    ASSERT_TRUE(context->PrepareSibling(*machine.space).ok());
    JoinedThread sibling([&] {
      auto own = NewContext();
      EXPECT_EQ(Xmm0(Xstate(*own)), 0u);
      SetEntry(own->regs(), kCode + 7);
      RunOn(*own, *machine.space);
      EXPECT_EQ(own->regs().rsi, 0u);
    });
    sibling.Join();
    context->Leave(*machine.space);
  }
}

TEST_F(ExtendedState, SetBeforeTheFirstSwitch) {
  Machine machine(kXmm);
  auto context = NewContext();
  std::vector<std::byte> state = Xstate(*context);
  const uint64_t value = 4711;
  std::memcpy(state.data() + 160, &value, sizeof(value));
  ASSERT_TRUE(context->SetExtendedState(state).ok());
  SetEntry(context->regs(), kCode + 7);
  RunOn(*context, *machine.space);
  EXPECT_EQ(context->regs().rsi, value);
}

}  // namespace
}  // namespace rampart::platform::conformance
