#include "sentry/kernel/futex.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <chrono>
#include <thread>
#include <vector>

#include "base/safe_math.h"

namespace rampart::kernel {
namespace {

using std::chrono_literals::operator""ms;


// Flat words; a page may be made to be "not there" for a number of no-fault accesses.
class FakeMemory final : public mm::UserMemory {
 public:
  Result<size_t> CopyInPartial(UserAddr, std::span<std::byte>) override { return Errno::kEFAULT; }
  Result<size_t> CopyOutPartial(UserAddr, std::span<const std::byte>) override { return Errno::kEFAULT; }
  Result<uint32_t> Atomic32(UserAddr address, mm::Atomic32Op op, uint32_t operand, uint32_t expected) override {
    if (address % 4 != 0) return Errno::kEINVAL;
    if (address / 4 >= 64) return Errno::kEFAULT;
    absent = 0;
    std::atomic<uint32_t>& word = words[address / 4];
    switch (op) {
      case mm::Atomic32Op::kLoad: return word.load();
      case mm::Atomic32Op::kExchange: return word.exchange(operand);
      case mm::Atomic32Op::kAdd: return word.fetch_add(operand);
      case mm::Atomic32Op::kOr: return word.fetch_or(operand);
      case mm::Atomic32Op::kAnd: return word.fetch_and(operand);
      case mm::Atomic32Op::kXor: return word.fetch_xor(operand);
      case mm::Atomic32Op::kCompareExchange: word.compare_exchange_strong(expected, operand); return expected;
    }
    return Errno::kEINVAL;
  }
  Result<uint32_t> Atomic32NoFault(UserAddr address, mm::Atomic32Op op, uint32_t operand, uint32_t expected) override {
    if (absent.load() != 0) return Errno::kEAGAIN;
    return Atomic32(address, op, operand, expected);
  }
  std::array<std::atomic<uint32_t>, 64> words{};
  std::atomic<int> absent{0};
};

class Keep final : public RefCounted {};

class FutexTest : public ::testing::Test {
 protected:
  FutexWord Word(UserAddr address) const { return {address, mm::FutexKey{&memory_, address, nullptr}}; }

  struct Thread {
    explicit Thread(FutexTest& test, abi::Pid id) : tid(id), alive([&test](abi::Pid pid) { return !test.dead_[pid]; }) {}
    FutexCaller Caller(FakeMemory& memory) {
      return FutexCaller{memory, sleeper, *keep, tid, sleep, alive};
    }
    abi::Pid tid;
    wait::Sleeper sleeper;
    Ref<Keep> keep = MakeRef<Keep>();
    std::function<Result<void>(Deadline)> sleep = [this](Deadline deadline) -> Result<void> {
      switch (sleeper.Sleep(deadline)) {
        case wait::Sleeper::Outcome::kWoken: return Ok();
        case wait::Sleeper::Outcome::kInterrupted: return Errno::kERESTARTSYS;
        case wait::Sleeper::Outcome::kTimedOut: return Errno::kETIMEDOUT;
      }
      return Ok();
    };
    std::function<bool(abi::Pid)> alive;
  };
  // Wakes until `count` were woken; waiters need a moment to arrive.
  void WakeAll(UserAddr address, uint32_t count, uint32_t bitset = kFutexBitsetAny) {
    uint32_t woken = 0;
    while (woken < count) {
      woken += futexes_.Wake(Word(address).key, static_cast<int32_t>(count - woken), bitset).value();
      std::this_thread::yield();
    }
    EXPECT_EQ(woken, count);
  }
  void WaitUntilContended(UserAddr address) {
    while ((memory_.words[address / 4].load() & kFutexWaiters) == 0) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  FakeMemory memory_;
  FutexManager futexes_;
  std::map<abi::Pid, bool> dead_;
};

TEST_F(FutexTest, WaitOnADifferentValueIsEagain) {
  Thread t(*this, 1);
  FutexCaller caller = t.Caller(memory_);
  EXPECT_EQ(futexes_.Wait(caller, Word(0), 1, kFutexBitsetAny, Deadline::Never()).error(), Errno::kEAGAIN);
}

TEST_F(FutexTest, WaitTimesOut) {
  Thread t(*this, 1);
  FutexCaller caller = t.Caller(memory_);
  EXPECT_EQ(futexes_.Wait(caller, Word(0), 0, kFutexBitsetAny, Deadline::After(1'000'000)).error(), Errno::kETIMEDOUT);
}

TEST_F(FutexTest, WaitIsInterrupted) {
  Thread t(*this, 1);
  t.sleeper.Interrupt();
  FutexCaller caller = t.Caller(memory_);
  EXPECT_EQ(futexes_.Wait(caller, Word(0), 0, kFutexBitsetAny, Deadline::Never()).error(), Errno::kERESTARTSYS);
}

TEST_F(FutexTest, BadAddressAndBitsetAreRefused) {
  Thread t(*this, 1);
  FutexCaller caller = t.Caller(memory_);
  EXPECT_EQ(futexes_.Wait(caller, Word(4096), 0, kFutexBitsetAny, Deadline::Never()).error(), Errno::kEFAULT);
  EXPECT_EQ(futexes_.Wait(caller, Word(0), 0, 0, Deadline::Never()).error(), Errno::kEINVAL);
  EXPECT_EQ(futexes_.Wake(Word(0).key, 1, 0).error(), Errno::kEINVAL);
}

TEST_F(FutexTest, AbsentPageIsFaultedIn) {
  memory_.absent = 1;
  Thread t(*this, 1);
  FutexCaller caller = t.Caller(memory_);
  EXPECT_EQ(futexes_.Wait(caller, Word(0), 0, kFutexBitsetAny, Deadline::After(1'000'000)).error(), Errno::kETIMEDOUT);
}

TEST_F(FutexTest, WakeWakesOnlyMatchingBits) {
  std::atomic<int> woken{0};
  std::thread a([&] {
    Thread t(*this, 1);
    FutexCaller caller = t.Caller(memory_);
    EXPECT_TRUE(futexes_.Wait(caller, Word(0), 0, 1, Deadline::Never()).ok());
    woken |= 1;
  });
  std::thread b([&] {
    Thread t(*this, 2);
    FutexCaller caller = t.Caller(memory_);
    EXPECT_TRUE(futexes_.Wait(caller, Word(0), 0, 2, Deadline::Never()).ok());
    woken |= 2;
  });
  WakeAll(0, 1, 2);
  b.join();
  EXPECT_EQ(woken, 2);
  WakeAll(0, 1, 1);
  a.join();
}

TEST_F(FutexTest, MutualExclusionUnderLoadLosesNoWakeup) {
  int counter = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      Thread t(*this, i + 1);
      FutexCaller caller = t.Caller(memory_);
      std::atomic<uint32_t>& word = memory_.words[0];
      for (int n = 0; n < 2000; ++n) {
        uint32_t c = 0;
        if (!word.compare_exchange_strong(c, 1)) {
          if (c != 2) c = word.exchange(2);
          while (c != 0) {
            (void)futexes_.Wait(caller, Word(0), 2, kFutexBitsetAny, Deadline::Never());
            c = word.exchange(2);
          }
        }
        ++counter;
        if (word.fetch_sub(1) != 1) {
          word = 0;
          (void)futexes_.Wake(Word(0).key, 1, kFutexBitsetAny);
        }
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(counter, 8000);
}

TEST_F(FutexTest, RequeueMovesWaitersToTheOtherWord) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      Thread t(*this, i + 1);
      FutexCaller caller = t.Caller(memory_);
      EXPECT_TRUE(futexes_.Wait(caller, Word(0), 0, kFutexBitsetAny, Deadline::Never()).ok());
    });
  }
  EXPECT_EQ(futexes_.Requeue(memory_, Word(0), Word(8), 1, 9, 7u).error(), Errno::kEAGAIN);
  EXPECT_EQ(futexes_.Requeue(memory_, Word(0), Word(8), -1, 9, 0u).error(), Errno::kEINVAL);
  uint32_t moved = 0;
  while (moved < 3) {
    moved += futexes_.Requeue(memory_, Word(0), Word(8), 0, 100, 0u).value();
    std::this_thread::yield();
  }
  EXPECT_EQ(futexes_.Wake(Word(0).key, 100, kFutexBitsetAny).value(), 0u);
  EXPECT_EQ(futexes_.Wake(Word(8).key, 100, kFutexBitsetAny).value(), 3u);
  for (std::thread& t : threads) t.join();
}

TEST_F(FutexTest, WakeOpChangesTheWordAndComparesTheOld) {
  memory_.words[1] = 5;
  // ADD 3; compare old > 4.
  const uint32_t op = (1u << 28) | (4u << 24) | (3u << 12) | 4u;
  std::thread waiter([&] {
    Thread t(*this, 1);
    FutexCaller caller = t.Caller(memory_);
    EXPECT_TRUE(futexes_.Wait(caller, Word(12), 0, kFutexBitsetAny, Deadline::Never()).ok());
  });
  // A requeue tells when the waiter is there: from now on it waits at the word of the operation.
  while (futexes_.Requeue(memory_, Word(12), Word(4), 0, 1, 0u).value() == 0) std::this_thread::yield();
  EXPECT_EQ(futexes_.WakeOp(memory_, Word(0), Word(4), 1, 1, op).value(), 1u);
  EXPECT_EQ(memory_.words[1], 8u);
  waiter.join();
  EXPECT_EQ(futexes_.WakeOp(memory_, Word(0), Word(4), 1, 1, 7u << 28).error(), Errno::kENOSYS);
}

TEST_F(FutexTest, WaitMultipleReturnsTheIndexThatWasWoken) {
  std::thread waiter([&] {
    Thread t(*this, 1);
    FutexCaller caller = t.Caller(memory_);
    const FutexManager::WaitItem items[] = {{Word(0), 0}, {Word(4), 0}, {Word(8), 0}};
    EXPECT_EQ(futexes_.WaitMultiple(caller, items, Deadline::Never()).value(), 1u);
  });
  WakeAll(4, 1);
  waiter.join();
  Thread t(*this, 1);
  FutexCaller caller = t.Caller(memory_);
  const FutexManager::WaitItem stale[] = {{Word(0), 0}, {Word(4), 9}};
  EXPECT_EQ(futexes_.WaitMultiple(caller, stale, Deadline::Never()).error(), Errno::kEAGAIN);
}

TEST_F(FutexTest, PiLockOfAFreeWordTakesIt) {
  Thread t(*this, 7);
  FutexCaller caller = t.Caller(memory_);
  ASSERT_TRUE(futexes_.LockPi(caller, Word(0), Deadline::Never(), FutexManager::PiMode::kWait).ok());
  EXPECT_EQ(memory_.words[0], 7u);
  EXPECT_EQ(futexes_.LockPi(caller, Word(0), Deadline::Never(), FutexManager::PiMode::kWait).error(), Errno::kEDEADLK);
  ASSERT_TRUE(futexes_.UnlockPi(caller, Word(0)).ok());
  EXPECT_EQ(memory_.words[0], 0u);
  EXPECT_EQ(futexes_.UnlockPi(caller, Word(0)).error(), Errno::kEPERM);
}

TEST_F(FutexTest, PiUnlockHandsOver) {
  memory_.words[0] = 7;
  std::thread waiter([&] {
    Thread t(*this, 9);
    FutexCaller caller = t.Caller(memory_);
    EXPECT_EQ(futexes_.LockPi(caller, Word(0), Deadline::Never(), FutexManager::PiMode::kTry).error(), Errno::kEAGAIN);
    EXPECT_TRUE(futexes_.LockPi(caller, Word(0), Deadline::Never(), FutexManager::PiMode::kWait).ok());
    EXPECT_EQ(memory_.words[0] & kFutexTidMask, 9u);
    EXPECT_TRUE(futexes_.UnlockPi(caller, Word(0)).ok());
  });
  WaitUntilContended(0);
  EXPECT_EQ(futexes_.Wake(Word(0).key, 1, kFutexBitsetAny).error(), Errno::kEINVAL);
  Thread t(*this, 7);
  FutexCaller caller = t.Caller(memory_);
  EXPECT_TRUE(futexes_.UnlockPi(caller, Word(0)).ok());
  waiter.join();
  EXPECT_EQ(memory_.words[0], 0u);
}

TEST_F(FutexTest, PiOwnerThatDiesHandsOverWithTheBitSet) {
  memory_.words[0] = 7;
  std::thread waiter([&] {
    Thread t(*this, 9);
    FutexCaller caller = t.Caller(memory_);
    EXPECT_TRUE(futexes_.LockPi(caller, Word(0), Deadline::Never(), FutexManager::PiMode::kWait).ok());
  });
  WaitUntilContended(0);
  futexes_.OwnerExited(7);
  waiter.join();
  EXPECT_EQ(memory_.words[0], 9u | kFutexOwnerDied);
}

TEST_F(FutexTest, PiLockOfADeadThreadIsEsrch) {
  memory_.words[0] = 7;
  dead_[7] = true;
  Thread t(*this, 9);
  FutexCaller caller = t.Caller(memory_);
  EXPECT_EQ(futexes_.LockPi(caller, Word(0), Deadline::Never(), FutexManager::PiMode::kWait).error(), Errno::kESRCH);
}

TEST_F(FutexTest, PiLockTimesOutAndLeavesTheQueue) {
  memory_.words[0] = 7;
  Thread t(*this, 9);
  FutexCaller caller = t.Caller(memory_);
  EXPECT_EQ(futexes_.LockPi(caller, Word(0), Deadline::After(1'000'000), FutexManager::PiMode::kWait).error(), Errno::kETIMEDOUT);
  Thread owner(*this, 7);
  FutexCaller owning = owner.Caller(memory_);
  EXPECT_TRUE(futexes_.UnlockPi(owning, Word(0)).ok());
  EXPECT_EQ(memory_.words[0], 0u);
}

TEST_F(FutexTest, PiExcludesUnderLoad) {
  int counter = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      Thread t(*this, i + 1);
      FutexCaller caller = t.Caller(memory_);
      for (int n = 0; n < 1000; ++n) {
        uint32_t free = 0;
        if (!memory_.words[0].compare_exchange_strong(free, static_cast<uint32_t>(t.tid))) {
          const Result<void> locked = futexes_.LockPi(caller, Word(0), Deadline::Never(), FutexManager::PiMode::kWait);
          ASSERT_TRUE(locked.ok());
        }
        ++counter;
        uint32_t mine = static_cast<uint32_t>(t.tid);
        if (memory_.words[0].compare_exchange_strong(mine, 0)) continue;
        ASSERT_TRUE(futexes_.UnlockPi(caller, Word(0)).ok());
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(counter, 4000);
}

TEST_F(FutexTest, RequeuePiGivesTheLockToTheFirstAndQueuesTheRest) {
  std::atomic<int> owned{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      Thread t(*this, i + 1);
      FutexCaller caller = t.Caller(memory_);
      EXPECT_TRUE(futexes_.WaitRequeuePi(caller, Word(0), 0, kFutexBitsetAny, Deadline::Never(), Word(8)).ok());
      EXPECT_EQ(memory_.words[2] & kFutexTidMask, static_cast<uint32_t>(t.tid));
      ++owned;
      EXPECT_TRUE(futexes_.UnlockPi(caller, Word(8)).ok());
    });
  }
  Thread t(*this, 9);
  FutexCaller caller = t.Caller(memory_);
  // Nothing to refuse until a waiter is there.
  Result<uint32_t> other = uint32_t{0};
  while ((other = futexes_.CmpRequeuePi(caller, Word(0), Word(16), 1, 9, 0)).ok()) std::this_thread::yield();
  EXPECT_EQ(other.error(), Errno::kEINVAL);
  EXPECT_EQ(futexes_.CmpRequeuePi(caller, Word(0), Word(8), 2, 9, 0).error(), Errno::kEINVAL);
  EXPECT_EQ(futexes_.CmpRequeuePi(caller, Word(0), Word(8), 1, 9, 4).error(), Errno::kEAGAIN);
  uint32_t moved = 0;
  while (moved < 2) {  // the second may come late
    moved += futexes_.CmpRequeuePi(caller, Word(0), Word(8), 1, 9, 0).value();
    std::this_thread::yield();
  }
  EXPECT_EQ(moved, 2u);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(owned, 2);
}

}  // namespace
}  // namespace rampart::kernel
