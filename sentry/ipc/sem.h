// System V semaphores (semget(2), semop(2), semctl(2); Linux ipc/sem.c).
//
// Model. An operation on several semaphores of a set is tried as a whole; what cannot proceed waits in the set's queue, and whoever changes a semaphore
// carries out, in order of arrival, those that can now (on the sleeper's behalf: it only wakes to return). Those that wait for zero alone
// go first. SEM_UNDO adjustments belong to an UndoList, which threads may share (CLONE_SYSVSEM), and are applied when its last user goes.
// Thread safety: any thread. Lock order: SemTable::mu_ → SemSet::mu_; UndoList::mu_ → SemSet::mu_ is never nested (sets are copied out first).
// No user memory is touched under them. Ownership: a set by the table, by those who wait in it and by undo lists.
#pragma once

#include <deque>
#include <list>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "sentry/ipc/blocker.h"
#include "sentry/ipc/id_table.h"

namespace rampart::ipc {

class SemSet;
class SemTable;
class UndoList;

// One semop(2) that may have to wait.
struct SemOperation {
  std::span<const abi::SemBuf> ops;
  RefPtr<UndoList> undo;     // not null if any op has SEM_UNDO
  Deadline deadline = Deadline::Never();
};

class SemSet final : public RefCounted {
 public:
  Permissions permissions;  // under mu_; id, key and seq do not change once it is in the table

  size_t size() const { return values_size_; }
  // semop(2) once the set is found. EFBIG, EACCES, EIDRM, ERANGE, EAGAIN (IPC_NOWAIT, the deadline), EINTR.
  Result<void> Operate(const auth::Credentials& creds, const SemOperation& operation, const Blocker& blocker);

  // The commands of semctl(2) on values; `index` is checked (EINVAL), rights too (EACCES).
  enum class Ask : uint8_t { kValue, kProcess, kIncreaseWaiters, kZeroWaiters };
  Result<int32_t> Query(const auth::Credentials& creds, int32_t index, Ask what);
  Result<std::vector<uint16_t>> Values(const auth::Credentials& creds);
  Result<void> SetValue(const auth::Credentials& creds, int32_t index, int32_t value);  // ERANGE
  Result<void> SetValues(const auth::Credentials& creds, std::span<const uint16_t> values);  // ERANGE
  // Before SETALL copies the values in. EACCES.
  Result<void> CheckWrite(const auth::Credentials& creds);

 private:
  friend class SemTable;
  friend class UndoList;
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  struct Semaphore {
    int32_t value = 0;
    abi::Pid process = 0;  // the last that changed it
  };
  // Somebody who sleeps in Operate; on its stack.
  struct Waiter {
    std::span<const abi::SemBuf> ops;
    UndoList* undo;
    abi::Pid process;
    wait::Sleeper* sleeper;
    size_t blocking = 0;  // the op that stands in the way
    bool alters = false;
    bool done = false;    // taken out of its queue; `outcome` says how it went
    Errno outcome{};      // Errno{}: it has been carried out
    std::list<Waiter*>::iterator place{};
  };
  using Adjustments = absl::flat_hash_map<uint16_t, int32_t>;
  enum class Try : uint8_t { kDone, kBlocked, kFailed };

  SemSet(const Permissions& p, size_t count) : permissions(p), values_(count), values_size_(count) {}

  Try AttemptLocked(Waiter& waiter, Errno& error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool StillBlockedLocked(const Waiter& waiter) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void CommitLocked(const Waiter& waiter) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> CheckIndexLocked(int32_t index) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // Carries out what can be since semaphores have changed; true: something was.
  bool UpdateLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool UpdateQueueLocked(std::list<Waiter*>& queue) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FinishLocked(Waiter& waiter, Errno outcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RemoveLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> SleepOn(Waiter& waiter, Deadline deadline, const Blocker& blocker) ABSL_LOCKS_EXCLUDED(mu_);
  abi::SemidDs DescribeLocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // The last user of `list` has gone: applies its adjustments.
  void ApplyUndo(const UndoList* list) ABSL_LOCKS_EXCLUDED(mu_);

  absl::Mutex mu_;
  std::vector<Semaphore> values_ ABSL_GUARDED_BY(mu_);
  const size_t values_size_;
  std::list<Waiter*> for_zero_ ABSL_GUARDED_BY(mu_);   // those that change nothing
  std::list<Waiter*> altering_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<const UndoList*, Adjustments> undos_ ABSL_GUARDED_BY(mu_);
  int64_t otime_ ABSL_GUARDED_BY(mu_) = 0, ctime_ ABSL_GUARDED_BY(mu_) = 0;
  bool removed_ ABSL_GUARDED_BY(mu_) = false;
};

// The adjustments of a process, or of threads that share them: its references are its users, and the last one's going applies them.
class UndoList final : public RefCounted {
 public:
  // Must be called before an operation with SEM_UNDO on `set`.
  void Touch(const Ref<SemSet>& set);

 private:
  void OnLastRef() override;

  absl::Mutex mu_;
  absl::flat_hash_map<SemSet*, Ref<SemSet>> sets_ ABSL_GUARDED_BY(mu_);
  size_t sweep_at_ ABSL_GUARDED_BY(mu_) = 16;  // removed sets are looked for when there are so many
};

struct SemLimits {
  int32_t per_set = 32000;         // SEMMSL
  int32_t all = 1024000000;        // SEMMNS
  int32_t per_operation = 500;     // SEMOPM
  int32_t sets = 32000;            // SEMMNI
};

class SemTable {
 public:
  // Semaphores that there may be whatever SEMMNS says: they are on the Sentry's heap.
  static constexpr int32_t kMostSemaphores = 1 << 21;

  // semget(2). EINVAL, ENOENT, EEXIST, EACCES, ENOSPC.
  Result<int32_t> Get(const auth::Credentials& creds, int32_t key, int32_t count, uint32_t flags);
  // EINVAL.
  Result<Ref<SemSet>> Find(int32_t id) const;
  enum class StatBy : uint8_t { kId, kSlot, kSlotUnchecked };
  Result<std::pair<int32_t, abi::SemidDs>> Stat(const auth::Credentials& creds, int32_t id, StatBy by) const;
  Result<void> Set(const auth::Credentials& creds, int32_t id, const abi::IpcPerm& to);
  Result<void> RemoveId(const auth::Credentials& creds, int32_t id);
  // IPC_INFO; `usage`: SEM_INFO. .first: the highest slot.
  std::pair<int32_t, abi::SemUsage> Info(bool usage) const;

  SemLimits limits() const;
  void SetLimits(const SemLimits& limits);
  std::string ProcText() const;

 private:
  Result<int32_t> CreateLocked(const auth::Credentials& creds, int32_t key, int32_t count, uint32_t flags) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  IdTable<SemSet> ids_ ABSL_GUARDED_BY(mu_);
  SemLimits limits_ ABSL_GUARDED_BY(mu_);
  int64_t semaphores_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace rampart::ipc
