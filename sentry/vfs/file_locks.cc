#include "sentry/vfs/file_locks.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"

namespace rampart::vfs {
namespace {

// Which POSIX owner waits for which. An owner (a process) may wait in several threads; the last edge wins, which can only miss a circle.
class WaitGraph {
 public:
  // False if `waiter` waiting for `holder` would close a circle.
  bool Add(const void* waiter, const void* holder) {
    absl::MutexLock lock(&mu_);
    const void* at = holder;
    for (int steps = 0; steps < kMaxSteps; ++steps) {
      if (at == waiter) return false;
      auto it = waits_for_.find(at);
      if (it == waits_for_.end()) break;
      at = it->second;
    }
    waits_for_[waiter] = holder;
    return true;
  }
  void Remove(const void* waiter) {
    absl::MutexLock lock(&mu_);
    waits_for_.erase(waiter);
  }
  static WaitGraph& Get() {
    static WaitGraph* const graph = new WaitGraph;
    return *graph;
  }

 private:
  static constexpr int kMaxSteps = 1000;
  absl::Mutex mu_;
  absl::flat_hash_map<const void*, const void*> waits_for_ ABSL_GUARDED_BY(mu_);
};

bool Overlap(const RecordLock& lock, uint64_t start, uint64_t end) { return lock.start < end && start < lock.end; }

}  // namespace

const RecordLock* FileLocks::ConflictLocked(const RecordLock& wanted) const {
  const RecordLock* first = nullptr;
  for (const RecordLock& held : records_) {
    if (held.owner.id == wanted.owner.id || !Overlap(held, wanted.start, wanted.end)) continue;
    if (held.type == LockType::kRead && wanted.type == LockType::kRead) continue;
    if (first == nullptr || held.start < first->start) first = &held;
  }
  return first;
}

bool FileLocks::ClearLocked(const void* owner, uint64_t start, uint64_t end) {
  bool changed = false;
  std::vector<RecordLock> pieces;
  for (size_t i = 0; i < records_.size();) {
    const RecordLock held = records_[i];
    if (held.owner.id != owner || !Overlap(held, start, end)) {
      ++i;
      continue;
    }
    changed = true;
    if (held.start < start) pieces.push_back({held.start, start, held.type, held.owner});
    if (held.end > end) pieces.push_back({end, held.end, held.type, held.owner});
    records_[i] = records_.back();
    records_.pop_back();
  }
  records_.insert(records_.end(), pieces.begin(), pieces.end());
  return changed;
}

Result<void> FileLocks::Set(const RecordLock& lock, bool will_wait) {
  bool replaced = false;
  {
    absl::MutexLock l(&mu_);
    if (const RecordLock* conflict = ConflictLocked(lock)) {
      if (will_wait && !lock.owner.ofd && !conflict->owner.ofd &&
          !WaitGraph::Get().Add(lock.owner.id, conflict->owner.id)) {
        return Errno::kEDEADLK;
      }
      return Errno::kEAGAIN;
    }
    replaced = ClearLocked(lock.owner.id, lock.start, lock.end);
    RecordLock merged = lock;
    // Neighbours of the same kind become one, as F_GETLK and /proc/locks show on Linux.
    for (size_t i = 0; i < records_.size();) {
      const RecordLock& held = records_[i];
      if (held.owner.id != lock.owner.id || held.type != lock.type || held.end < merged.start || merged.end < held.start) {
        ++i;
        continue;
      }
      merged.start = std::min(merged.start, held.start);
      merged.end = std::max(merged.end, held.end);
      records_[i] = records_.back();
      records_.pop_back();
      i = 0;
    }
    records_.push_back(merged);
  }
  if (replaced) queue_.Notify(abi::kPollIn);  // a write lock may have become a read lock
  return Ok();
}

void FileLocks::Clear(const LockOwner& owner, uint64_t start, uint64_t end) {
  bool changed;
  {
    absl::MutexLock l(&mu_);
    changed = ClearLocked(owner.id, start, end);
  }
  if (changed) queue_.Notify(abi::kPollIn);
}

void FileLocks::StopWaiting(const LockOwner& owner) { WaitGraph::Get().Remove(owner.id); }

std::optional<RecordLock> FileLocks::FindConflict(const RecordLock& wanted) const {
  absl::MutexLock l(&mu_);
  // The method is const, the annotation wants the lock: the scan itself changes nothing.
  const RecordLock* conflict = ConflictLocked(wanted);
  if (conflict == nullptr) return std::nullopt;
  return *conflict;
}

std::optional<RecordLock> FileLocks::FindOwn(const RecordLock& wanted) const {
  absl::MutexLock l(&mu_);
  std::optional<RecordLock> first;
  for (const RecordLock& held : records_) {
    if (held.owner.id != wanted.owner.id || !Overlap(held, wanted.start, wanted.end)) continue;
    if (!first || held.start < first->start) first = held;
  }
  return first;
}

Result<void> FileLocks::Flock(const void* owner, LockType type) {
  bool gave_up = false;
  Result<void> result = Ok();
  {
    absl::MutexLock l(&mu_);
    for (const FlockHolder& h : flocks_) {
      if (h.owner == owner && h.type == type) return Ok();
    }
    gave_up = std::erase_if(flocks_, [&](const FlockHolder& h) { return h.owner == owner; }) != 0;
    const bool conflict = std::any_of(flocks_.begin(), flocks_.end(), [&](const FlockHolder& h) {
      return h.type == LockType::kWrite || type == LockType::kWrite;
    });
    if (conflict) {
      result = Errno::kEAGAIN;
    } else {
      flocks_.push_back({owner, type});
    }
  }
  if (gave_up) queue_.Notify(abi::kPollIn);
  return result;
}

void FileLocks::Unflock(const void* owner) {
  bool changed;
  {
    absl::MutexLock l(&mu_);
    changed = std::erase_if(flocks_, [&](const FlockHolder& h) { return h.owner == owner; }) != 0;
  }
  if (changed) queue_.Notify(abi::kPollIn);
}

void FileLocks::ReleaseAll(const void* owner) {
  bool changed;
  {
    absl::MutexLock l(&mu_);
    changed = std::erase_if(flocks_, [&](const FlockHolder& h) { return h.owner == owner; }) != 0;
    changed |= std::erase_if(records_, [&](const RecordLock& r) { return r.owner.id == owner; }) != 0;
  }
  if (changed) queue_.Notify(abi::kPollIn);
}

std::vector<RecordLock> FileLocks::List() const {
  absl::MutexLock l(&mu_);
  return records_;
}

Result<void> LeaseTable::Set(const void* owner, Kind kind, BreakFn on_break, void* holder) {
  {
    absl::MutexLock l(&mu_);
    for (const Lease& l2 : leases_) {
      if (kind != Kind::kNone && l2.owner != owner && (kind == Kind::kWrite || l2.kind == Kind::kWrite)) return Errno::kEAGAIN;
    }
    std::erase_if(leases_, [&](const Lease& l2) { return l2.owner == owner; });
    if (kind != Kind::kNone) leases_.push_back({owner, kind, kind, on_break, holder});
    count_.store(static_cast<int>(leases_.size()), std::memory_order_release);
  }
  queue_.Notify(abi::kPollIn);
  return Ok();
}

LeaseTable::Kind LeaseTable::Get(const void* owner) const {
  absl::MutexLock l(&mu_);
  for (const Lease& lease : leases_) {
    if (lease.owner == owner) return lease.target;
  }
  return Kind::kNone;
}

bool LeaseTable::Holds(const void* owner) const {
  absl::MutexLock l(&mu_);
  return std::any_of(leases_.begin(), leases_.end(), [&](const Lease& lease) { return lease.owner == owner; });
}

void LeaseTable::ReleaseAll(const void* owner) {
  if (any()) {
    [[maybe_unused]] const Result<void> always_ok = Set(owner, Kind::kNone, nullptr, nullptr);
  }
}

Result<void> LeaseTable::Break(const void* opener, bool for_write) {
  absl::MutexLock l(&mu_);
  bool left = false;
  for (Lease& lease : leases_) {
    if (lease.owner == opener || (lease.kind == Kind::kRead && !for_write)) continue;
    left = true;
    const Kind target = for_write ? Kind::kNone : Kind::kRead;
    if (lease.target <= target) continue;  // told before
    lease.target = target;
    if (lease.on_break != nullptr) lease.on_break(lease.holder);
  }
  if (left) return Errno::kEAGAIN;
  return Ok();
}

void LeaseTable::Expire(bool for_write) {
  {
    absl::MutexLock l(&mu_);
    std::erase_if(leases_, [&](const Lease& lease) { return lease.target == Kind::kNone && lease.kind != lease.target; });
    for (Lease& lease : leases_) {
      if (!for_write && lease.target == Kind::kRead) lease.kind = Kind::kRead;
    }
    count_.store(static_cast<int>(leases_.size()), std::memory_order_release);
  }
  queue_.Notify(abi::kPollIn);
}

}  // namespace rampart::vfs
