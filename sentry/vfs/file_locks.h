// Locks on files: record locks (fcntl(2): POSIX ones owned by a descriptor table, OFD ones by a description), flock(2), and leases.
//
// Nothing here sleeps: a lock that is held elsewhere answers EAGAIN, and the system-call layer waits on queue() and asks again; Wait… keeps the
// graph that finds deadlocks (EDEADLK) among POSIX waiters.
// Thread safety: any thread. Lock order: FileLocks::mu_ → the wait graph's lock (file_locks.cc); both leaves otherwise.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "abi/types.h"
#include "base/result.h"
#include "sentry/wait/wait.h"

namespace rampart::vfs {

enum class LockType : uint8_t { kRead, kWrite };

// Who owns a record lock: a FdTable (POSIX) or a FileDescription (OFD), compared by address; `pid` is what F_GETLK tells (-1 for OFD).
struct LockOwner {
  const void* id = nullptr;
  abi::Pid pid = 0;
  bool ofd = false;
};

// Bytes [start, end); end is UINT64_MAX for "to the end of the file".
struct RecordLock {
  uint64_t start = 0;
  uint64_t end = 0;
  LockType type = LockType::kRead;
  LockOwner owner;
};

class FileLocks {
 public:
  // Sets a lock, replacing the owner's own in the range. EAGAIN when another owner's conflicts; EDEADLK when waiting for it would close a circle
  // of POSIX owners (only if `will_wait`, which also notes for whom this owner waits until StopWaiting).
  Result<void> Set(const RecordLock& lock, bool will_wait);
  void Clear(const LockOwner& owner, uint64_t start, uint64_t end);
  // The owner no longer waits (got the lock, or gave up).
  static void StopWaiting(const LockOwner& owner);
  // F_GETLK: a lock that would stop `wanted`.
  std::optional<RecordLock> FindConflict(const RecordLock& wanted) const;
  // The first lock of `wanted`'s own owner in its range.
  std::optional<RecordLock> FindOwn(const RecordLock& wanted) const;

  // flock(2); the owner is a description. EAGAIN. An upgrade gives up the old lock first, as Linux does.
  Result<void> Flock(const void* owner, LockType type);
  void Unflock(const void* owner);

  // Everything of this owner, of whichever kind: close and exit.
  void ReleaseAll(const void* owner);
  // Told when a lock goes away (kPollIn).
  wait::WaitQueue& queue() { return queue_; }
  // For /proc/locks.
  std::vector<RecordLock> List() const;

 private:
  struct FlockHolder {
    const void* owner;
    LockType type;
  };
  const RecordLock* ConflictLocked(const RecordLock& wanted) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool ClearLocked(const void* owner, uint64_t start, uint64_t end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  std::vector<RecordLock> records_ ABSL_GUARDED_BY(mu_);
  std::vector<FlockHolder> flocks_ ABSL_GUARDED_BY(mu_);
  wait::WaitQueue queue_;
};

// Leases (F_SETLEASE). A lease is broken when somebody opens the file in a conflicting way: its holder is told through `on_break` (a signal),
// and the opener waits (or gets EWOULDBLOCK) until the lease is given up or the break time is over.
class LeaseTable {
 public:
  enum class Kind : uint8_t { kNone, kRead, kWrite };
  using BreakFn = void (*)(void* holder);

  // EAGAIN: the file is open in a conflicting way (the caller counts the opens) or leased by others.
  Result<void> Set(const void* owner, Kind kind, BreakFn on_break, void* holder);
  Kind Get(const void* owner) const;   // while being broken: what it must become
  bool Holds(const void* owner) const;
  void ReleaseAll(const void* owner);
  // An open with these rights by `opener`: starts the break of what conflicts. EAGAIN while one is left; the caller waits on queue(), at most
  // kBreakTime, and then calls Expire.
  Result<void> Break(const void* opener, bool for_write);
  void Expire(bool for_write);
  wait::WaitQueue& queue() { return queue_; }
  static constexpr Nanos kBreakTime = 45 * kNanosPerSecond;
  bool any() const { return count_.load(std::memory_order_acquire) != 0; }

 private:
  struct Lease {
    const void* owner;
    Kind kind;
    Kind target;   // what the break asks for; = kind if none
    BreakFn on_break;
    void* holder;
  };
  mutable absl::Mutex mu_;
  std::vector<Lease> leases_ ABSL_GUARDED_BY(mu_);
  std::atomic<int> count_{0};
  wait::WaitQueue queue_;
};

}  // namespace rampart::vfs
