#include "sentry/wait/run_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "sentry/wait/wait.h"

namespace rampart::wait {
namespace {

class RunQueueTest : public ::testing::Test {
 protected:
  ~RunQueueTest() override {
    EXPECT_TRUE(Runner::ProcessorIdle());
    EXPECT_FALSE(Runner::Crowded());
    Runner::SetProcessors(1);
  }
};

TEST_F(RunQueueTest, TheTurnPassesWhenItIsGivenUp) {
  Runner::SetProcessors(1);
  Runner first;
  first.Enter();
  EXPECT_FALSE(Runner::ProcessorIdle());
  EXPECT_FALSE(Runner::Crowded());
  std::thread second([&] {
    Runner runner;
    runner.Enter();
  });
  first.Leave();
  second.join();
  first.Enter();
}

TEST_F(RunQueueTest, WhoStandsStillIsNotCountedAndQueuesWhenItMoves) {
  Runner::SetProcessors(1);
  Runner still;
  still.Enter();
  std::atomic<bool> entered{false}, leave{false}, left{false};
  std::thread other([&] {
    Runner runner;
    runner.Enter();
    entered = true;
    while (!leave) runner.Moved();
    left = true;
  });
  while (!entered) std::this_thread::yield();
  EXPECT_FALSE(Runner::Crowded());
  leave = true;
  still.Moved();  // waits for the other, or for its patience to end
  EXPECT_FALSE(Runner::ProcessorIdle());
  other.join();
}

TEST_F(RunQueueTest, NobodyStarvesBehindThoseThatNeverSleep) {
  Runner::SetProcessors(2);
  std::atomic<int> entered{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      Runner runner;
      runner.Enter();
      ++entered;
      while (entered < 6) runner.Moved();
    });
  }
  for (std::thread& t : threads) t.join();
}

TEST_F(RunQueueTest, ASleepGivesTheTurnUp) {
  Runner::SetProcessors(1);
  constexpr int kThreads = 8, kRounds = 2000;
  Sleeper sleepers[kThreads];
  std::atomic<int> finished{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      Runner runner;
      runner.Enter();
      for (int round = 0; round < kRounds; ++round) {
        EXPECT_EQ(sleepers[i].Sleep(Deadline::Never()), Sleeper::Outcome::kWoken);
        runner.Moved();
        sleepers[(i + 1) % kThreads].Wake();
      }
      ++finished;
    });
  }
  sleepers[0].Wake();
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(finished, kThreads);
}

}  // namespace
}  // namespace rampart::wait
