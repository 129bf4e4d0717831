// What the futex sources share: buckets, waiters, batches of wake-ups. Private to futex*.cc.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/container/inlined_vector.h"
#include "absl/synchronization/mutex.h"
#include "sentry/kernel/futex.h"

namespace rampart::kernel {

// One waiting thread at one word. Fields but `bucket` and those marked otherwise are guarded by the lock of the bucket in which it hangs.
struct FutexManager::Waiter {
  enum class Kind : uint8_t { kOrdinary, kPi, kRequeuePi };

  Waiter(const FutexCaller& c, mm::FutexKey k, uint32_t bits, Kind what)
      : memory(c.memory), sleeper(c.sleeper), keep(c.keep), tid(c.tid), numbering(c.numbering), key(std::move(k)), bitset(bits), kind(what) {}

  mm::UserMemory& memory;
  wait::Sleeper& sleeper;
  const RefCounted& keep;
  const abi::Pid tid;
  const void* const numbering;
  mm::FutexKey key;
  uint32_t bitset;
  Kind kind;
  Waiter* next = nullptr;
  Waiter* prev = nullptr;
  // Where it hangs; null: not queued (never, or woken). Written under the old bucket's lock; after null is stored the waiter's thread owns
  // the object alone.
  std::atomic<Bucket*> bucket{nullptr};

  // PI.
  UserAddr pi_address = 0;                  // of the PI word in `memory`
  const mm::FutexKey* pi_target = nullptr;  // kRequeuePi: where it may be requeued to
  abi::Pid pi_owner = 0;                    // kPi: who holds the lock
  bool granted = false;                     // woken as the new owner
  std::optional<uint32_t> fixup;            // the word could not be written: the new owner does it
};

struct alignas(64) FutexManager::Bucket {
  // Waiters here or on their way in: lets a wake without waiters skip the lock.
  std::atomic<uint32_t> count{0};
  absl::Mutex mu;
  Waiter* head ABSL_GUARDED_BY(mu) = nullptr;
  Waiter* tail ABSL_GUARDED_BY(mu) = nullptr;

  void Link(Waiter& w) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    w.next = nullptr;
    w.prev = tail;
    (tail != nullptr ? tail->next : head) = &w;
    tail = &w;
    w.bucket.store(this, std::memory_order_release);
  }
  // Leaves w.bucket to the caller.
  void Unlink(Waiter& w) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    (w.prev != nullptr ? w.prev->next : head) = w.next;
    (w.next != nullptr ? w.next->prev : tail) = w.prev;
    w.next = w.prev = nullptr;
    count.fetch_sub(1, std::memory_order_release);
  }
  Waiter* First(const mm::FutexKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    for (Waiter* w = head; w != nullptr; w = w->next) {
      if (w->key == key) return w;
    }
    return nullptr;
  }
};

// Sleepers to be woken and references to be dropped once the locks are released. Declared before the lock, so that it is destroyed after it.
class FutexManager::WakeBatch {
 public:
  WakeBatch() = default;
  WakeBatch(const WakeBatch&) = delete;
  WakeBatch& operator=(const WakeBatch&) = delete;
  ~WakeBatch() {
    for (const Wakeup& wakeup : wakeups_) {
      wakeup.sleeper->Wake();
      wakeup.keep->DecRef();
    }
  }
  // Unlinks and releases the waiter; it must not be touched afterwards.
  void Take(Bucket& bucket, Waiter& w) ABSL_EXCLUSIVE_LOCKS_REQUIRED(bucket.mu) {
    w.keep.IncRef();
    wakeups_.push_back({&w.sleeper, &w.keep});
    bucket.Unlink(w);
    w.bucket.store(nullptr, std::memory_order_release);
  }
  void DropLater(mm::FutexKey key) { keys_.push_back(std::move(key)); }

 private:
  struct Wakeup {
    wait::Sleeper* sleeper;
    const RefCounted* keep;
  };
  absl::InlinedVector<Wakeup, 8> wakeups_;
  absl::InlinedVector<mm::FutexKey, 1> keys_;
};

// Locks one or two buckets in ascending order.
class FutexManager::TwoLocks {
 public:
  TwoLocks(Bucket& a, Bucket& b) ABSL_NO_THREAD_SAFETY_ANALYSIS : low_(&a < &b ? a : b), high_(&a < &b ? b : a) {
    low_.mu.Lock();
    if (&low_ != &high_) high_.mu.Lock();
  }
  ~TwoLocks() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (&low_ != &high_) high_.mu.Unlock();
    low_.mu.Unlock();
  }
  TwoLocks(const TwoLocks&) = delete;
  TwoLocks& operator=(const TwoLocks&) = delete;

 private:
  Bucket& low_;
  Bucket& high_;
};

}  // namespace rampart::kernel
