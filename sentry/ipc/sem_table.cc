// The sets by id and key: semget(2), and what semctl(2) does to a whole set.
#include <algorithm>

#include "absl/strings/str_format.h"
#include "sentry/ipc/sem.h"

namespace rampart::ipc {

Result<int32_t> SemTable::CreateLocked(const auth::Credentials& creds, int32_t key, int32_t count, uint32_t flags) {
  if (count == 0) return Errno::kEINVAL;
  if (semaphores_ + count > std::min(limits_.all, kMostSemaphores)) return Errno::kENOSPC;
  const Ref<SemSet> set = MakeRef<SemSet>(Permissions::For(creds, key, flags), static_cast<size_t>(count));
  absl::MutexLock set_lock(&set->mu_);
  set->ctime_ = NowSeconds();
  const int32_t id = TRY(ids_.Add(set, limits_.sets));
  semaphores_ += count;
  return id;
}

Result<int32_t> SemTable::Get(const auth::Credentials& creds, int32_t key, int32_t count, uint32_t flags) {
  absl::MutexLock lock(&mu_);
  if (count < 0 || count > limits_.per_set) return Errno::kEINVAL;
  if (key == abi::kIpcPrivate) return CreateLocked(creds, key, count, flags);
  SemSet* const found = ids_.FindKey(key);
  if (found == nullptr) {
    if ((flags & abi::kIpcCreat) == 0) return Errno::kENOENT;
    return CreateLocked(creds, key, count, flags);
  }
  if ((flags & abi::kIpcCreat) != 0 && (flags & abi::kIpcExcl) != 0) return Errno::kEEXIST;
  if (static_cast<size_t>(count) > found->size()) return Errno::kEINVAL;
  absl::MutexLock set_lock(&found->mu_);
  TRY(found->permissions.Check(creds, flags));
  return found->permissions.id;
}

Result<Ref<SemSet>> SemTable::Find(int32_t id) const {
  absl::ReaderMutexLock lock(&mu_);
  return ids_.Get(id);
}

Result<std::pair<int32_t, abi::SemidDs>> SemTable::Stat(const auth::Credentials& creds, int32_t id, StatBy by) const {
  absl::ReaderMutexLock lock(&mu_);
  const Ref<SemSet> set = TRY(by == StatBy::kId ? ids_.Get(id) : ids_.AtSlot(id));
  absl::MutexLock set_lock(&set->mu_);
  if (by != StatBy::kSlotUnchecked) TRY(set->permissions.Check(creds, kReadRight));
  return std::pair(set->permissions.id, set->DescribeLocked());
}

Result<void> SemTable::Set(const auth::Credentials& creds, int32_t id, const abi::IpcPerm& to) {
  absl::MutexLock lock(&mu_);
  const Ref<SemSet> set = TRY(ids_.Get(id));
  absl::MutexLock set_lock(&set->mu_);
  TRY(set->permissions.CheckOwner(creds));
  TRY(set->permissions.Change(to));
  set->ctime_ = NowSeconds();
  return Ok();
}

Result<void> SemTable::RemoveId(const auth::Credentials& creds, int32_t id) {
  RefPtr<SemSet> gone;  // after the locks
  const wait::DeferWakes defer;
  absl::MutexLock lock(&mu_);
  const Ref<SemSet> set = TRY(ids_.Get(id));
  absl::MutexLock set_lock(&set->mu_);
  TRY(set->permissions.CheckOwner(creds));
  gone = set;
  semaphores_ -= static_cast<int64_t>(set->size());
  ids_.Remove(*set);
  set->RemoveLocked();
  return Ok();
}

std::pair<int32_t, abi::SemUsage> SemTable::Info(bool usage) const {
  absl::ReaderMutexLock lock(&mu_);
  constexpr int32_t kDefaultAll = 1024000000, kDefaultOperations = 500, kUndoBytes = 20;
  abi::SemUsage info{};
  info.semmni = limits_.sets;
  info.semmns = limits_.all;
  info.semmsl = limits_.per_set;
  info.semopm = limits_.per_operation;
  info.semvmx = abi::kSemValueMax;
  info.semmnu = info.semmap = kDefaultAll;
  info.semume = kDefaultOperations;
  info.semusz = usage ? ids_.size() : kUndoBytes;
  info.semaem = usage ? static_cast<int32_t>(semaphores_) : abi::kSemValueMax;
  return {ids_.MaxSlot(), info};
}

SemLimits SemTable::limits() const {
  absl::ReaderMutexLock lock(&mu_);
  return limits_;
}

void SemTable::SetLimits(const SemLimits& limits) {
  absl::MutexLock lock(&mu_);
  limits_ = limits;
}

std::string SemTable::ProcText() const {
  std::string out = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n";
  absl::ReaderMutexLock lock(&mu_);
  for (const auto& [slot, set] : ids_) {
    absl::MutexLock set_lock(&set->mu_);
    const Permissions& p = set->permissions;
    absl::StrAppendFormat(&out, "%10d %10d  %4o %10u %5u %5u %5u %5u %10u %10u\n", p.key, p.id, p.mode, set->size(), p.uid, p.gid, p.cuid, p.cgid,
                          set->otime_, set->ctime_);
  }
  return out;
}

}  // namespace rampart::ipc
