// Placement: keeps a tracer and its stub thread on one CPU while they take turns quickly, and nowhere else.
//
// A ptrace round trip is two wake-ups. When another CPU idles, Linux wakes the sleeper there: two cross-CPU wake-ups a call, about twice
// the price (README.md has the figures). Tracer and stub never run at the same time, so one CPU is enough for both, but a fixed one is
// not: pinned pairs cannot be balanced by the kernel. Therefore
//   - a pair is pinned only after it has made kHotSwitches switches unpinned, to the CPU on which the kernel then had the tracer;
//   - a watchdog looks every kTick; pairs that made few switches since (computing, or blocked in the Sentry) are unpinned at once, so that
//     the kernel places them as it likes;
//   - every pair is unpinned every kTicksPinned ticks and pinned anew where the kernel has moved it meanwhile.
//
// Threads that a pinned thread creates inherit its CPU: NewPair() undoes that for threads that have a Context; other threads should
// be made by threads that have none.
//
// Thread safety: Pair functions named "Owner" are the tracer's; the rest any thread. Lock order: Placement::mu_ → Pair::mu_.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace rampart::platform::ptrace {

class Placement {
 public:
  static constexpr int kEverywhere = -1;
  static constexpr int kUnknown = -2;

  class Pair {
   public:
    // Counts a switch of the hot path; true when the pair should be pinned now.
    bool OwnerCountsSwitch() {
      const uint64_t n = switches_.load(std::memory_order_relaxed) + 1;
      switches_.store(n, std::memory_order_relaxed);
      return cpu_.load(std::memory_order_relaxed) == kEverywhere && n - unpinned_at_.load(std::memory_order_relaxed) >= kHotSwitches;
    }

   private:
    friend class Placement;
    std::atomic<uint64_t> switches_{0};
    std::atomic<uint64_t> unpinned_at_{0};  // switches_ when it was unpinned
    std::atomic<int> cpu_{kEverywhere};     // written under mu_
    absl::Mutex mu_;
    pid_t tracer_ ABSL_GUARDED_BY(mu_) = 0;
    pid_t stub_ ABSL_GUARDED_BY(mu_) = 0;
    int stub_cpu_ ABSL_GUARDED_BY(mu_) = kUnknown;
    // Watchdog only.
    uint64_t seen_ = 0;
    int ticks_ = 0;
  };

  // Reads the CPUs that this process may use.
  Placement();
  // REQUIRES: no pairs.
  ~Placement();

  // The calling thread is the tracer of the pair; it may run everywhere from now on.
  void Add(Pair& pair);
  void Remove(Pair& pair);
  // The pair's stub thread is another one now (0: none), last known to be bound to `stub_cpu`. Returns what the former was bound to.
  int OwnerSetsStub(Pair& pair, pid_t stub, int stub_cpu);
  // Called by the tracer when OwnerCountsSwitch() said so.
  void OwnerPins(Pair& pair);

 private:
  static constexpr uint64_t kHotSwitches = 8;
  static constexpr int kTicksPinned = 10;
  static constexpr int kMaxCpus = CPU_SETSIZE;

  int ChooseCpu() const;
  bool Bind(pid_t thread, int cpu) const;
  void UnpinLocked(Pair& pair) ABSL_EXCLUSIVE_LOCKS_REQUIRED(pair.mu_);
  void Watch();
  // True while there is something to watch.
  bool Tick() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  cpu_set_t allowed_;
  bool useful_ = false;  // more than one CPU, and the calls work
  std::array<std::atomic<int>, kMaxCpus> pinned_{};
  std::atomic<bool> watching_{false};
  absl::Mutex mu_;
  std::vector<Pair*> pairs_ ABSL_GUARDED_BY(mu_);
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  bool has_watchdog_ ABSL_GUARDED_BY(mu_) = false;
  pthread_t watchdog_ ABSL_GUARDED_BY(mu_){};
};

}  // namespace rampart::platform::ptrace
