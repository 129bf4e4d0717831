#include "sentry/time/timer_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace rampart::time {
namespace {

constexpr Nanos kMilli = kNanosPerMilli;

void WaitFor(const std::atomic<int>& value, int at_least) {
  while (value.load() < at_least) std::this_thread::sleep_for(std::chrono::microseconds(200));
}

TEST(TimerQueue, CallsBackAfterTheDeadlineInOrder) {
  TimerQueue queue;
  queue.Start();
  std::atomic<int> calls{0};
  std::vector<int> order;
  const Nanos start = MonotonicNow();
  Timer a(queue, [&] { order.push_back(1), ++calls; });
  Timer b(queue, [&] { order.push_back(2), ++calls; });
  Timer c(queue, [&] { order.push_back(3), ++calls; });
  a.Arm(Deadline::At(start + 15 * kMilli));
  b.Arm(Deadline::At(start + 5 * kMilli));
  c.Arm(Deadline::At(start + 10 * kMilli));
  WaitFor(calls, 3);
  EXPECT_GE(MonotonicNow(), start + 15 * kMilli);
  EXPECT_EQ(order, (std::vector<int>{2, 3, 1}));
}

TEST(TimerQueue, PassedDeadlineExpiresAtOnce) {
  TimerQueue queue;
  queue.Start();
  std::atomic<int> calls{0};
  Timer timer(queue, [&] { ++calls; });
  timer.Arm(Deadline::Immediately());
  WaitFor(calls, 1);
}

TEST(TimerQueue, DisarmedTimerDoesNotExpire) {
  TimerQueue queue;
  queue.Start();
  std::atomic<int> calls{0};
  Timer timer(queue, [&] { ++calls; });
  timer.Arm(Deadline::After(20 * kMilli));
  timer.Disarm();
  std::this_thread::sleep_for(std::chrono::milliseconds(40));
  EXPECT_EQ(calls, 0);
}

TEST(TimerQueue, CallbackRearmsItself) {
  TimerQueue queue;
  queue.Start();
  std::atomic<int> calls{0};
  std::unique_ptr<Timer> timer;
  timer = std::make_unique<Timer>(queue, [&] {
    ++calls;
    timer->Arm(Deadline::After(kMilli));
  });
  timer->Arm(Deadline::After(kMilli));
  WaitFor(calls, 5);
  timer->Disarm();
  const int after = calls;
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(calls, after);
}

TEST(TimerQueue, DisarmWaitsForTheCallback) {
  TimerQueue queue;
  queue.Start();
  std::atomic<int> entered{0};
  std::atomic<int> left{0};
  Timer timer(queue, [&] {
    ++entered;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ++left;
  });
  timer.Arm(Deadline::Immediately());
  WaitFor(entered, 1);
  timer.Disarm();
  EXPECT_EQ(left, 1);
}

TEST(TimerQueue, CallbackMayDestroyItsTimer) {
  TimerQueue queue;
  queue.Start();
  std::atomic<int> calls{0};
  std::unique_ptr<Timer> timer;
  timer = std::make_unique<Timer>(queue, [&] {
    timer.reset();
    ++calls;
  });
  timer->Arm(Deadline::After(kMilli));
  WaitFor(calls, 1);
}

TEST(TimerQueue, ManyTimersFromManyThreads) {
  TimerQueue queue;
  queue.Start();
  std::atomic<int> calls{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      std::vector<std::unique_ptr<Timer>> timers;
      for (int n = 0; n < 200; ++n) {
        timers.push_back(std::make_unique<Timer>(queue, [&] { ++calls; }));
        timers.back()->Arm(n % 2 == 0 ? Deadline::After(n * 10'000) : Deadline::After(kNanosPerSecond * 1000));
      }
      WaitFor(calls, 400);  // of all threads: the other half expire in a quarter of an hour
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(calls, 400);
}

}  // namespace
}  // namespace rampart::time
