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

#include "platform/ptrace/context.h"
#include "platform/ptrace/test_machine.h"
#include "platform/ptrace/xstate.h"

namespace rampart::platform::ptrace {
namespace {

constexpr Code kSpin = CODE("\xeb\xfe");
// lock incq (%rbx); syscall; jmp back
constexpr Code kCount = CODE("\xf0\x48\xff\x03\x0f\x05\xeb\xf8");

// Stress goes on for so many rounds or so long: on a busy machine each round waits for the end of a spinning thread's time slice.
constexpr std::chrono::seconds kPatience{3};

PtraceContext::HostIds StubOf(const std::unique_ptr<Context>& context) { return static_cast<PtraceContext&>(*context).host_ids(); }

TEST(Threads, SiblingsShareTheSpace) {
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

TEST(Threads, CreatedAndJoinedManyTimesReuseHostThreads) {
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

TEST(Threads, FirstThreadMayLeaveBeforeTheOthers) {
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

TEST(Threads, WithoutPreparationAThreadIsRefused) {
  Machine machine(kCount);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  RunOn(*context, *machine.space);
  JoinedThread thread([&] {
    auto own = NewContext();
    SetEntry(own->regs(), kCode);
    EXPECT_EQ(own->Switch(*machine.space, Step::kRun).error(), Errno::kEAGAIN);
  });
}

TEST(Interrupt, BeforeSwitchIsNotLost) {
  Machine machine(kSpin);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->Interrupt();
  EXPECT_EQ(context->Switch(*machine.space, Step::kRun)->reason, ExitReason::kInterrupted);
}

TEST(Interrupt, TakesASpinningThreadOut) {
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

TEST(Interrupt, NoneIsLostUnderStress) {
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

TEST(Interrupt, NoneIsLostAmongSystemCallsAndMappings) {
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

TEST(Interrupt, ForeignSignalsAreSwallowed) {
  Machine machine(kCount);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  RunOn(*context, *machine.space);
  const PtraceContext::HostIds stub = StubOf(context);
  std::atomic<bool> stop{false};
  JoinedThread other(
      [&] {
        while (!stop.load()) {
          for (const int signal : {SIGTERM, SIGSEGV, SIGTRAP, SIGSTOP, SIGCHLD, SIGURG}) syscall(SYS_tgkill, stub.process, stub.thread, signal);
        }
      },
      [&] { stop = true; });
  for (int i = 0; i < 1000; ++i) {
    const Result<Exit> exit = context->Switch(*machine.space, Step::kRun);
    ASSERT_TRUE(exit.ok());
    ASSERT_EQ(exit->reason, ExitReason::kSyscall);
    if (i % 10 == 0) machine.space->Protect(kStackTop - kStackSize, kPageSize, i % 20 == 0 ? Prot::kRead : Prot::kReadWrite);
  }
  other.Join();
  EXPECT_EQ(machine.data(0), 1001u);
}

// Linux drops the SIGTRAP of the int3 that ends a stub routine when another one is pending: nothing but SIGTRAPs makes that frequent.
TEST(Interrupt, ForeignTrapsDoNotHideTheEndOfABatch) {
  Machine machine(kCount);
  auto context = NewContext();
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  RunOn(*context, *machine.space);
  const PtraceContext::HostIds stub = StubOf(context);
  std::atomic<bool> stop{false};
  JoinedThread other(
      [&] {
        while (!stop.load()) syscall(SYS_tgkill, stub.process, stub.thread, SIGTRAP);
      },
      [&] { stop = true; });
  for (int i = 0; i < 500; ++i) {
    machine.space->Protect(kStackTop - kStackSize, kPageSize, i % 2 == 0 ? Prot::kRead : Prot::kReadWrite);
    const Result<Exit> exit = context->Switch(*machine.space, Step::kRun);
    ASSERT_TRUE(exit.ok());
    ASSERT_EQ(exit->reason, ExitReason::kSyscall);
  }
  other.Join();
  EXPECT_EQ(machine.data(0), 501u);
}

TEST(Threads, KilledStubEndsAllItsThreadsAndLeavesNothing) {
  ThePlatform();
  PtraceContext::HostIds stub{};
  JoinedThread main([&] {
    Machine machine(kSpin);
    auto idle = NewContext();  // has a thread in the process, but does not run when the signal comes
    SetEntry(idle->regs(), kCode);
    idle->Interrupt();
    ASSERT_TRUE(idle->Commit(*machine.space).ok());
    stub = StubOf(idle);
    std::list<JoinedThread> threads;
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(idle->PrepareSibling(*machine.space).ok());
      threads.emplace_back([&] {
        auto context = NewContext();
        SetEntry(context->regs(), kCode);
        EXPECT_EQ(context->Switch(*machine.space, Step::kRun).error(), Errno::kESRCH);
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    kill(stub.process, SIGKILL);
    for (JoinedThread& thread : threads) thread.Join();  // none waits for the idle one
    Result<Exit> exit = idle->Switch(*machine.space, Step::kRun);
    if (exit.ok()) exit = idle->Switch(*machine.space, Step::kRun);  // the interrupt from above
    EXPECT_EQ(exit.error(), Errno::kESRCH);
  });
  main.Join();
  EXPECT_EQ(kill(stub.process, 0), -1);  // not even a zombie
}

TEST(Threads, IdleStubKilledFromOutsideIsReplaced) {
  auto context = NewContext();
  pid_t stub = 0;
  {
    Machine machine(kCount);
    SetEntry(context->regs(), kCode);
    context->regs().rbx = kData;
    RunOn(*context, *machine.space);
    stub = StubOf(context).process;
    context->Leave(*machine.space);
  }
  kill(stub, SIGKILL);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  Machine machine(kCount);
  SetEntry(context->regs(), kCode);
  context->regs().rbx = kData;
  EXPECT_EQ(RunOn(*context, *machine.space).reason, ExitReason::kSyscall);
  EXPECT_NE(StubOf(context).process, stub);
}

TEST(Kick, MakesThreadsApplyChanges) {
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

TEST(Kick, OfASpaceThatDoesNotRunDoesNothing) {
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

TEST(ExtendedState, IsPreservedAndVisible) {
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

TEST(ExtendedState, CanBeSet) {
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

TEST(ExtendedState, HostileStatesAreRefusedAndChangeNothing) {
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

TEST(ExtendedState, NewThreadsAndReusedStubsStartClean) {
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

TEST(ExtendedState, SetBeforeTheFirstSwitch) {
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
}  // namespace rampart::platform::ptrace
