#include "sentry/wait/wait.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace rampart::wait {
namespace {

TEST(Sleeper, WakeBeforeSleepIsNotLost) {
  Sleeper s;
  s.Wake();
  EXPECT_EQ(s.Sleep(Deadline::Never()), Sleeper::Outcome::kWoken);
  EXPECT_EQ(s.Sleep(Deadline::Immediately()), Sleeper::Outcome::kTimedOut);
}

TEST(Sleeper, InterruptStaysUntilCleared) {
  Sleeper s;
  s.Interrupt();
  EXPECT_EQ(s.Sleep(Deadline::Never()), Sleeper::Outcome::kInterrupted);
  EXPECT_EQ(s.Sleep(Deadline::Never()), Sleeper::Outcome::kInterrupted);
  EXPECT_EQ(s.SleepUninterruptible(Deadline::After(kNanosPerMilli)), Sleeper::Outcome::kTimedOut);
  s.ClearInterrupt();
  EXPECT_EQ(s.Sleep(Deadline::After(kNanosPerMilli)), Sleeper::Outcome::kTimedOut);
}

TEST(Sleeper, HandshakeOfTwoThreadsLosesNothing) {
  Sleeper a, b;
  constexpr int kRounds = 20000;
  std::thread other([&] {
    for (int i = 0; i < kRounds; ++i) {
      EXPECT_EQ(b.Sleep(Deadline::Never()), Sleeper::Outcome::kWoken);
      a.Wake();
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    b.Wake();
    EXPECT_EQ(a.Sleep(Deadline::Never()), Sleeper::Outcome::kWoken);
  }
  other.join();
}

TEST(DeferWakes, SleepersAreRousedWhenTheOutermostHasGone) {
  constexpr int kSleepers = 20;  // more than are put off
  Sleeper sleepers[kSleepers];
  std::atomic<int> woken{0};
  std::vector<std::thread> threads;
  for (Sleeper& sleeper : sleepers) {
    threads.emplace_back([&] {
      EXPECT_EQ(sleeper.Sleep(Deadline::Never()), Sleeper::Outcome::kWoken);
      ++woken;
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // most are asleep then; the others see the wake-up when they come
  {
    const DeferWakes outer;
    for (Sleeper& sleeper : sleepers) {
      const DeferWakes inner;
      sleeper.Wake();
    }
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(woken, kSleepers);
}

TEST(DeferWakes, ASleeperMayBeGoneBeforeTheCall) {
  auto sleeper = std::make_unique<Sleeper>();
  std::thread thread([&] { EXPECT_EQ(sleeper->Sleep(Deadline::Never()), Sleeper::Outcome::kInterrupted); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  {
    const DeferWakes defer;
    Sleeper stranger;
    stranger.Wake();
    sleeper->Interrupt();
  }
  thread.join();
  sleeper = nullptr;
}

TEST(Sleeper, SpinsInVainDoNotLoseTheDeadline) {
  Sleeper s;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(s.Sleep(Deadline::After(10'000)), Sleeper::Outcome::kTimedOut);
}

class CountingEntry : public WaitEntry {
 public:
  void OnEvent(EventMask events) override { seen |= events, ++count; }
  EventMask seen = 0;
  int count = 0;
};

TEST(WaitQueue, TellsThoseWhoseMaskMeets) {
  WaitQueue q;
  CountingEntry in, out;
  q.Register(in, abi::kPollIn);
  q.Register(out, abi::kPollOut);
  q.Notify(abi::kPollIn);
  EXPECT_EQ(in.count, 1);
  EXPECT_EQ(out.count, 0);
  q.Notify(abi::kPollHup);  // always delivered
  EXPECT_EQ(out.count, 1);
  q.Unregister(in);
  q.Unregister(out);
  EXPECT_TRUE(q.empty());
}

TEST(WaitQueue, OfTheExclusiveOnlyTheFirst) {
  WaitQueue q;
  CountingEntry a, b, shared;
  q.Register(a, abi::kPollIn, true);
  q.Register(b, abi::kPollIn, true);
  q.Register(shared, abi::kPollIn);
  q.Notify(abi::kPollIn);
  EXPECT_EQ(a.count, 1);
  EXPECT_EQ(b.count, 0);
  EXPECT_EQ(shared.count, 1);
  q.Unregister(a);
  q.Unregister(b);
  q.Unregister(shared);
}

}  // namespace
}  // namespace rampart::wait
