// FutexManager: futex(2): who waits on which word of application memory.
//
// Model. Waiters hang in hashed buckets under their key (mm::MemoryManager::GetFutexKey). A waiter lives on the stack of the thread that waits.
// A waker unlinks it under the bucket's lock and wakes its sleeper after the lock. Order among waiters of a key is first come, first served
// (PI waiters too: priorities are remembered by sched_setscheduler, not acted upon).
//
// No lost wake-ups. "The word has the expected value" and "I am in the queue" must be one step for wakers. Copying user memory under a lock other
// than mm's is forbidden (a fault may wait for the Gofer), so the word is looked at under the bucket's lock only through
// UserMemory::Atomic32NoFault, which never waits for anything; when it says that the page is not there (EAGAIN), the lock is released, the
// page is faulted in with Atomic32, and all begins anew.
//
// PI futexes hand over directly: the unlocker writes the next owner's tid into the word under the bucket's lock. The owner of a contended lock is
// written in each of its waiters, so that OwnerExited can find the locks of a dead thread.
//
// Lock order: bucket locks (two at once: ascending address) → FutexCaller::owner_alive (the kernel's tables) and mm's locks → nothing of ours.
// Nothing may call into FutexManager while holding a lock of kernel/ or mm. Thread safety: all functions from any thread.
// Source: Linux kernel/futex/*.c.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "abi/types.h"
#include "absl/functional/function_ref.h"
#include "base/ref.h"
#include "base/result.h"
#include "base/time.h"
#include "sentry/mm/memory_manager.h"
#include "sentry/mm/user_memory.h"
#include "sentry/wait/wait.h"

namespace rampart::kernel {

// The word of a PI or robust futex.
inline constexpr uint32_t kFutexWaiters = 0x80000000u, kFutexOwnerDied = 0x40000000u, kFutexTidMask = 0x3fffffffu;
inline constexpr uint32_t kFutexBitsetAny = ~0u;

// A futex word, resolved.
struct FutexWord {
  UserAddr address = 0;
  mm::FutexKey key;
};

// Who calls; kernel::Task makes one (FutexCallerOf in futex_task.h), tests another.
struct FutexCaller {
  mm::UserMemory& memory;
  wait::Sleeper& sleeper;
  const RefCounted& keep;   // keeps `sleeper` alive
  abi::Pid tid;
  // As Task::Sleep: Ok when woken (possibly for nothing), kERESTARTSYS for a signal, ETIMEDOUT.
  absl::FunctionRef<Result<void>(Deadline)> sleep;
  // Whether a thread with this tid exists and has not yet passed OwnerExited. Called under a bucket's lock.
  absl::FunctionRef<bool(abi::Pid)> owner_alive;
  // Which PID namespace `tid` and the words' are of; to be told apart only.
  const void* numbering = nullptr;
};

class FutexManager {
 public:
  FutexManager();
  ~FutexManager();  // REQUIRES: nobody waits
  FutexManager(const FutexManager&) = delete;
  FutexManager& operator=(const FutexManager&) = delete;

  // --- ordinary futexes
  // FUTEX_WAIT_BITSET. EAGAIN: the word is not `expected`. EFAULT. kERESTARTSYS: a signal. ETIMEDOUT. EINVAL: bitset 0.
  Result<void> Wait(FutexCaller& caller, const FutexWord& word, uint32_t expected, uint32_t bitset, Deadline deadline);
  struct WaitItem {
    FutexWord word;
    uint32_t expected;
  };
  // futex_waitv(2): the index of one that was woken.
  Result<size_t> WaitMultiple(FutexCaller& caller, std::span<const WaitItem> items, Deadline deadline);
  // Wakes at most max(count, 1) waiters whose bitset meets `bitset` (Linux wakes one for a count of 0 too). Returns how many.
  // EINVAL: bitset 0, or a PI waiter was met.
  Result<uint32_t> Wake(const mm::FutexKey& key, int32_t count, uint32_t bitset);
  // FUTEX_REQUEUE and, with `expected`, FUTEX_CMP_REQUEUE. Returns woken plus requeued. EAGAIN, EFAULT, EINVAL.
  Result<uint32_t> Requeue(mm::UserMemory& memory, const FutexWord& from, const FutexWord& to, int32_t wake, int32_t requeue,
                           std::optional<uint32_t> expected);
  // FUTEX_WAKE_OP with Linux's encoded operation. ENOSYS: unknown operation.
  Result<uint32_t> WakeOp(mm::UserMemory& memory, const FutexWord& first, const FutexWord& second, int32_t wake_first, int32_t wake_second,
                          uint32_t encoded);

  // --- priority-inheriting futexes
  enum class PiMode : uint8_t { kWait, kTry };
  // FUTEX_LOCK_PI(2) and FUTEX_TRYLOCK_PI. EDEADLK: the caller owns it. EAGAIN: kTry and owned. ESRCH: the owner does not exist. EINVAL: the word
  // and our records disagree. kERESTARTNOINTR: a signal. ETIMEDOUT, EFAULT.
  Result<void> LockPi(FutexCaller& caller, const FutexWord& word, Deadline deadline, PiMode mode);
  // EPERM: not the owner. EINVAL, EFAULT.
  Result<void> UnlockPi(FutexCaller& caller, const FutexWord& word);
  // FUTEX_WAIT_REQUEUE_PI: waits at `word`, returns owning `target`. EAGAIN: the value differs, or a signal after the requeue.
  Result<void> WaitRequeuePi(FutexCaller& caller, const FutexWord& word, uint32_t expected, uint32_t bitset, Deadline deadline,
                             const FutexWord& target);
  // FUTEX_CMP_REQUEUE_PI. EINVAL: wake != 1, same word, or a waiter that did not come through WaitRequeuePi for `to`.
  Result<uint32_t> CmpRequeuePi(FutexCaller& caller, const FutexWord& from, const FutexWord& to, int32_t wake, int32_t requeue,
                                uint32_t expected);
  // The thread is gone: hands each PI lock that it owned and somebody waits for to the first waiter, with kFutexOwnerDied set.
  // REQUIRES: owner_alive(tid) is false from now on. Cheap when no PI waiter exists.
  void OwnerExited(abi::Pid tid, const void* numbering = nullptr);

 private:
  struct Bucket;
  struct Waiter;
  class WakeBatch;
  class TwoLocks;
  enum class PiStep : uint8_t { kAcquired, kMustWait, kFaultIn };
  static constexpr size_t kBuckets = 256;

  Bucket& BucketOf(const mm::FutexKey& key) const;
  Result<void> Enqueue(Waiter& waiter, mm::UserMemory& memory, UserAddr address, uint32_t expected);
  Result<void> SleepQueued(FutexCaller& caller, Waiter& waiter, Deadline deadline);
  // False: somebody had unlinked it already (it was woken).
  bool Unqueue(Waiter& waiter);
  Result<uint32_t> RequeueLocked(Bucket& a, Bucket& b, const FutexWord& from, const FutexWord& to, int32_t wake, int32_t requeue,
                                 WakeBatch& batch);
  Result<PiStep> TryLockPiLocked(Bucket& bucket, FutexCaller& caller, const FutexWord& word, abi::Pid tid, bool set_waiters,
                                 abi::Pid* owner);
  Result<bool> UnlockPiLocked(Bucket& bucket, FutexCaller& caller, const FutexWord& word, WakeBatch& batch);
  Result<std::optional<uint32_t>> CmpRequeuePiLocked(Bucket& a, Bucket& b, FutexCaller& caller, const FutexWord& from, const FutexWord& to,
                                                     int32_t requeue, WakeBatch& batch);
  void HandOver(Bucket& bucket, Waiter& next, uint32_t flags, WakeBatch& batch);
  Result<void> FinishPi(FutexCaller& caller, Waiter& waiter, const FutexWord& word);

  std::unique_ptr<Bucket[]> buckets_;
  std::atomic<uint32_t> pi_waiters_{0};
};

}  // namespace rampart::kernel
