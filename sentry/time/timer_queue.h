// TimerQueue: one host thread that calls back when deadlines pass. Timer: one deadline, perhaps repeating.
//
//   TimerQueue queue;  queue.Start();
//   Timer timer(queue, [this] { Expired(); });
//   timer.Arm(Deadline::After(ns));             // one shot
//
// Model. Timers hang in an ordered set under the queue's lock; the thread sleeps on the earliest. Arming a timer that is not the earliest wakes
// nobody. A callback runs on the queue's thread with no lock of the queue held; it may arm, disarm or destroy any timer, its own too, and should be short: all
// timers of the sandbox wait for it.
// Thread safety: all functions from any thread. Disarm and ~Timer return only when the callback does not run any more (except when called
// from the queue's own thread): never call them while holding a lock that the callback takes.
// Lock order: TimerQueue's lock is a leaf.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/time.h"

namespace rampart::time {

class Timer;

class TimerQueue {
 public:
  TimerQueue();
  ~TimerQueue();  // Stops the thread. REQUIRES: no Timer of it is used or destroyed later.
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  // Starts the thread; before it, timers may be armed and nothing expires. Idempotent. Dies when the host refuses a thread.
  void Start();
  // Stops and joins the thread. Idempotent. REQUIRES: not on the thread itself. Timers stay armed and do not expire.
  void Stop();

 private:
  friend class Timer;
  struct State;
  std::unique_ptr<State> state_;
};

class Timer {
 public:
  using Callback = std::function<void()>;
  // kDetach: the destructor does not wait for a callback that runs: the callback must own, or hold weakly, all that it touches.
  enum class OnDestroy : uint8_t { kWait, kDetach };
  Timer(TimerQueue& queue, Callback callback, OnDestroy on_destroy = OnDestroy::kWait);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Calls back once, soon after `at` (at once if passed). Replaces what was armed. Deadline::Never() disarms without waiting.
  void Arm(Deadline at);
  // Also waits for a callback that runs now (see above).
  void Disarm();

 private:
  friend class TimerQueue;
  struct Node;
  TimerQueue& queue_;
  std::shared_ptr<Node> node_;
  const OnDestroy on_destroy_;
};

}  // namespace rampart::time
