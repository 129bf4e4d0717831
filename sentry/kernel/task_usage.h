// CPU time and resource counters of a task, cheap enough for the hot path: the time-stamp counter is read at each border between
// application and Sentry, and nothing else happens there.
//
// Model. A task is in one of four states; the time since the last border belongs to its current state. Ticks become nanoseconds only when
// somebody reads them, by the ratio of CLOCK_MONOTONIC to the counter since the Sentry started. Time in the application is wall time of
// its Switches (sleeps in the Sentry are excluded), so on an overcommitted host it counts waiting for a processor as well.
// Thread safety: Enter by the task's own thread; reading by any thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "abi/resource.h"
#include "base/time.h"

namespace rampart::kernel {

// Reads the processor's time-stamp counter.
inline uint64_t ReadTsc() { return __builtin_ia32_rdtsc(); }
// A number of ticks as nanoseconds.
Nanos TicksToNanos(uint64_t ticks);
// Takes the reference readings; called once at start, before tasks exist. Idempotent.
void StartTickClock();

// Sums for a task or a process. Times in ns.
struct ResourceTotals {
  Nanos user_time = 0, system_time = 0;
  uint64_t minor_faults = 0, major_faults = 0;
  uint64_t voluntary_switches = 0, involuntary_switches = 0;
  uint64_t blocks_in = 0, blocks_out = 0;
  uint64_t peak_resident_bytes = 0;
  uint64_t bytes_read = 0, bytes_written = 0, read_calls = 0, write_calls = 0;  // read(2), write(2) and their like

  ResourceTotals& operator+=(const ResourceTotals& o);
};
abi::Rusage ToRusage(const ResourceTotals& totals);

class TaskClock {
 public:
  enum class State : uint8_t { kIdle, kApplication, kSentry, kAsleep };
  // The border: what follows is counted as `next`.
  void Enter(State next) {
    const uint64_t now = ReadTsc();
    const uint64_t spent = now - since_.load(std::memory_order_relaxed);
    switch (state_.load(std::memory_order_relaxed)) {
      case State::kApplication:
        user_.store(user_.load(std::memory_order_relaxed) + spent, std::memory_order_relaxed);
        break;
      case State::kSentry:
        system_.store(system_.load(std::memory_order_relaxed) + spent, std::memory_order_relaxed);
        break;
      default:
        break;
    }
    since_.store(now, std::memory_order_relaxed);
    state_.store(next, std::memory_order_relaxed);
  }
  State state() const { return state_.load(std::memory_order_relaxed); }
  // What has been counted, with the part of the current state that has passed.
  uint64_t user_ticks() const { return user_.load(std::memory_order_relaxed) + Running(State::kApplication); }
  uint64_t system_ticks() const { return system_.load(std::memory_order_relaxed) + Running(State::kSentry); }

 private:
  uint64_t Running(State state) const {
    if (state_.load(std::memory_order_relaxed) != state) return 0;
    const uint64_t now = ReadTsc();
    const uint64_t since = since_.load(std::memory_order_relaxed);
    return now > since ? now - since : 0;
  }
  std::atomic<uint64_t> user_{0}, system_{0}, since_{0};
  std::atomic<State> state_{State::kIdle};
};

}  // namespace rampart::kernel
