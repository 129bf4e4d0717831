// The run queue: of the task threads that want to run, as many run as there are processors; the others wait for their turn, in order.
//
// Why. A ptrace round trip is four wake-ups for the host's scheduler, and each lets somebody else in: with many threads awake, whoever holds
// a lock of the application's is put aside in the middle of it, all others come, find it held and go back to sleep, and the time goes
// into waking them (100 Python threads that fight for the interpreter's lock needed 17 s and 1.2 million futex calls for what takes
// 0.3 s and 5,000 on Linux, which lets a thread run on for some milliseconds whatever it wakes meanwhile).
//
// Model. A Runner is a task thread's place here. It has the turn from Enter() to Leave(): in the application and in the Sentry, until it sleeps
// (sentry/wait does both around a sleep). Who does not move on for a while (kTick: computing, or blocked in a host call) is not counted any
// longer once somebody waits, and queues again when it comes back. When nobody has got a turn for kPatience, the first is let in beyond the number, so
// nobody starves behind threads that never sleep. Without contention all this is an atomic operation before and after each sleep.
//
// Thread safety: Enter, Leave and Moved by the runner's own thread; the static functions by any. Lock order: RunQueue::mu is taken last.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/time.h"

namespace rampart::wait {

class Runner {
 public:
  // The calling thread's, for as long as it lives. REQUIRES: it has no other.
  Runner();
  ~Runner();  // leaves
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // Waits for the turn. Idempotent.
  void Enter();
  // Gives it to the next. Idempotent.
  void Leave();
  // The hot path, at each return from application code: we are alive, and want the turn back if it was taken from us.
  void Moved() {
    moves_.store(moves_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (!has_turn_.load(std::memory_order_relaxed)) [[unlikely]] Enter();
  }

  // This thread's; null: it is not a task's.
  static Runner* Current() { return current_; }
  // How many run at once, 1 at least. Who has the turn when it becomes less keeps it; who waits when it becomes more gets it within a tick.
  static void SetProcessors(uint32_t count);
  static uint32_t processors();
  // Somebody waits for a turn. Cheap; may be stale.
  static bool Crowded();
  // A processor has nothing to do, as far as we know. Cheap; may be stale.
  static bool ProcessorIdle();

 private:
  friend class RunQueue;
  static thread_local Runner* current_;

  std::atomic<uint64_t> moves_{0};     // written by the own thread
  std::atomic<bool> has_turn_{false};  // set by the own thread or whoever grants the turn; taken away by exchange
  std::atomic<uint32_t> granted_{0};   // futex word of a waiting runner
  // Guarded by the queue's lock.
  uint64_t seen_moves_ = 0;
  uint64_t ticket_ = 0;
  Runner* next_waiting_ = nullptr;
  Runner* next_ = nullptr;  // all runners
  Runner* prev_ = nullptr;
};

}  // namespace rampart::wait
