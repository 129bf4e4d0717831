// System V shared memory (shmget(2), shmop(2), shmctl(2); Linux ipc/shm.c).
//
// Model. A segment is a Mappable over mm::SharedMemory; its attachments are the areas that map it, counted as mm tells of them (AddMapping: shmat, fork,
// a split, mremap; RemoveMapping: the reverse). A segment that was removed while attached goes with its last attachment.
// Thread safety: any thread. Lock: ShmTable::mu_, below every MemoryManager's lock (mm calls in with it), above SharedMemory's. No user memory is
// touched under it. Ownership: a segment by the table and by the areas that map it.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "sentry/ipc/id_table.h"
#include "sentry/mm/shared_memory.h"

namespace rampart::ipc {

class ShmTable;

class ShmSegment final : public mm::Mappable, public mm::Punchable {
 public:
  Result<mm::Translation> Translate(mm::FileRange required, mm::FileRange optional, bool write) override;
  Result<void> AddMapping(mm::MappingSpace&, mm::FileRange, bool, bool) override;
  void RemoveMapping(mm::MappingSpace&, mm::FileRange, bool, bool) override;
  Result<void> Msync(mm::FileRange) override { return Ok(); }
  Result<void> PunchPages(mm::FileRange range) override { return memory->PunchPages(range); }
  uint64_t AttachedBytes() const override { return size; }

  // Guarded by the table's lock, but for `size`, `key`, `memory` and `table`, which do not change.
  Permissions permissions;
  const uint64_t size;
  const int32_t key;
  const Ref<mm::SharedMemory> memory;
  const Ref<ShmTable> table;
  int64_t atime = 0, dtime = 0, ctime = 0;
  abi::Pid creator_process = 0, last_process = 0;
  abi::Pid creator = 0;  // the thread that made it, as long as it lives: shm_rmid_forced
  uint64_t attached = 0;
  abi::Uid locked_by = 0;

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  ShmSegment(Ref<ShmTable> t, Permissions p, uint64_t bytes, Ref<mm::SharedMemory> m)
      : permissions(p), size(bytes), key(p.key), memory(std::move(m)), table(std::move(t)) {}
};

// One shmat(2): counts as an attachment itself while it lives on the stack, and names the areas that it makes.
class ShmAttachment final : public mm::MappingIdentity {
 public:
  explicit ShmAttachment(Ref<ShmSegment> segment) : segment_(std::move(segment)) {}
  std::string MappedName() const override;
  uint64_t device() const override { return 1; }
  uint64_t inode_number() const override;
  const Ref<ShmSegment>& segment() const { return segment_; }

 private:
  const Ref<ShmSegment> segment_;
};

struct ShmLimits {
  uint64_t max = UINT64_MAX - (uint64_t{1} << 24);  // bytes of a segment (SHMMAX)
  uint64_t all = UINT64_MAX - (uint64_t{1} << 24);  // pages of all
  int32_t count = 4096;
  bool remove_forced = false;  // shm_rmid_forced
};

class ShmTable final : public RefCounted {
 public:
  explicit ShmTable(Ref<mm::MemoryFile> memory_file) : memory_file_(std::move(memory_file)) {}

  // shmget(2). `thread`: who is to count as the creator. EINVAL, ENOENT, EEXIST, EACCES, ENOSPC, ENOMEM, EPERM.
  Result<int32_t> Get(const auth::Credentials& creds, abi::Pid thread, int32_t key, uint64_t size, uint32_t flags);
  // For shmat(2): the segment, with one attachment counted that EndAttach takes back. EINVAL, EACCES.
  Result<Ref<ShmSegment>> BeginAttach(const auth::Credentials& creds, int32_t id, uint32_t rights);
  void EndAttach(ShmSegment& segment);

  enum class StatBy : uint8_t { kId, kSlot, kSlotUnchecked };
  // IPC_STAT and its kin; .first: the id.
  Result<std::pair<int32_t, abi::ShmidDs>> Stat(const auth::Credentials& creds, int32_t id, StatBy by) const;
  Result<void> Set(const auth::Credentials& creds, int32_t id, const abi::IpcPerm& to);
  Result<void> RemoveId(const auth::Credentials& creds, int32_t id);
  // SHM_LOCK, SHM_UNLOCK. `limit`: the caller's RLIMIT_MEMLOCK. EPERM, ENOMEM.
  Result<void> Lock(const auth::Credentials& creds, int32_t id, bool lock, uint64_t limit);
  // IPC_INFO, SHM_INFO; .first: the highest slot.
  std::pair<int32_t, abi::ShmInfo64> Info() const;
  std::pair<int32_t, abi::ShmUsage> Usage() const;

  ShmLimits limits() const;
  void SetLimits(const ShmLimits& limits);
  // A thread has ended: what it made is nobody's now. Cheap for one that made nothing.
  void ThreadGone(abi::Pid thread);
  // The text of /proc/sysvipc/shm; `seen`: what a process is called there.
  std::string ProcText(absl::FunctionRef<abi::Pid(abi::Pid)> seen) const;
  // At the end of the sandbox: lets go of all segments.
  void Clear();

 private:
  friend class ShmSegment;
  Result<void> Attached(ShmSegment& segment);
  void Detached(ShmSegment& segment);
  bool MayDestroyLocked(const ShmSegment& segment) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // The caller drops what it gets after the lock.
  RefPtr<ShmSegment> DestroyLocked(ShmSegment& segment) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<int32_t> CreateLocked(const auth::Credentials& creds, abi::Pid thread, int32_t key, uint64_t size, uint32_t flags)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static abi::ShmidDs Describe(const ShmSegment& segment);

  const Ref<mm::MemoryFile> memory_file_;
  std::atomic<int32_t> with_creator_{0};  // segments whose creator lives
  mutable absl::Mutex mu_;
  IdTable<ShmSegment> ids_ ABSL_GUARDED_BY(mu_);
  ShmLimits limits_ ABSL_GUARDED_BY(mu_);
  uint64_t pages_ ABSL_GUARDED_BY(mu_) = 0;  // of all segments in the table
};

}  // namespace rampart::ipc
