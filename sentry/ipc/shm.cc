#include "sentry/ipc/shm.h"

#include "absl/strings/str_format.h"
#include "base/safe_math.h"

namespace rampart::ipc {

Result<mm::Translation> ShmSegment::Translate(mm::FileRange required, mm::FileRange optional, bool write) {
  return memory->Translate(required, optional, write);
}
Result<void> ShmSegment::AddMapping(mm::MappingSpace&, mm::FileRange, bool, bool) {
  return table->Attached(*this);
}
void ShmSegment::RemoveMapping(mm::MappingSpace&, mm::FileRange, bool, bool) { table->Detached(*this); }

std::string ShmAttachment::MappedName() const { return absl::StrFormat("/SYSV%08x (deleted)", static_cast<uint32_t>(segment_->key)); }
uint64_t ShmAttachment::inode_number() const { return static_cast<uint64_t>(segment_->permissions.id); }  // set before anybody could attach

Result<void> ShmTable::Attached(ShmSegment& segment) {
  absl::MutexLock lock(&mu_);
  // Its last attachment went and took it along: remap_file_pages(2) attaches anew what it has just detached.
  if (!ids_.Contains(segment)) return Errno::kEINVAL;
  segment.atime = NowSeconds();
  segment.last_process = CurrentProcess();
  ++segment.attached;
  return Ok();
}

void ShmTable::Detached(ShmSegment& segment) {
  RefPtr<ShmSegment> gone;  // after the lock
  absl::MutexLock lock(&mu_);
  segment.dtime = NowSeconds();
  segment.last_process = CurrentProcess();
  --segment.attached;
  if (MayDestroyLocked(segment)) gone = DestroyLocked(segment);
}

bool ShmTable::MayDestroyLocked(const ShmSegment& segment) const {
  return segment.attached == 0 && (limits_.remove_forced || (segment.permissions.mode & abi::kShmDest) != 0) && ids_.Contains(segment);
}

RefPtr<ShmSegment> ShmTable::DestroyLocked(ShmSegment& segment) {
  RefPtr<ShmSegment> hold = ShareRef(&segment);
  pages_ -= PageUp(segment.size) / kPageSize;
  if (segment.creator != 0) with_creator_.fetch_sub(1, std::memory_order_relaxed);
  ids_.Remove(segment);
  return hold;
}

Result<int32_t> ShmTable::CreateLocked(const auth::Credentials& creds, abi::Pid thread, int32_t key, uint64_t size, uint32_t flags) {
  if (size == 0 || size > limits_.max) return Errno::kEINVAL;
  const uint64_t rounded = TRY(CheckedPageUp(size, Errno::kENOSPC));
  const uint64_t pages = rounded / kPageSize;
  const uint64_t total = TRY(CheckedAdd(pages_, pages, Errno::kENOSPC));
  if (total > limits_.all) return Errno::kENOSPC;
  if ((flags & abi::kShmHugetlb) != 0) {
    const uint32_t shift = (flags >> abi::kShmHugeShift) & abi::kShmHugeMask;
    if (shift != 0 && shift != 21 && shift != 30) return Errno::kEINVAL;
    if (!creds.HasCapability(abi::Capability::kIpcLock) && !creds.InGroup(0)) return Errno::kEPERM;
    return Errno::kENOMEM;  // the pool of huge pages is empty
  }
  // As for a private mapping: what can never be had is refused at once.
  if ((flags & abi::kShmNoreserve) == 0 && rounded > memory_file_->total_bytes()) return Errno::kENOMEM;
  const Ref<ShmSegment> segment = MakeRef<ShmSegment>(ShareRef(this), Permissions::For(creds, key, flags), size,
                                                      mm::SharedMemory::Create(memory_file_, size));
  segment->ctime = NowSeconds();
  segment->creator_process = CurrentProcess();
  segment->creator = thread;
  const int32_t id = TRY(ids_.Add(segment, limits_.count));
  pages_ = total;
  if (thread != 0) with_creator_.fetch_add(1, std::memory_order_relaxed);
  return id;
}

Result<int32_t> ShmTable::Get(const auth::Credentials& creds, abi::Pid thread, int32_t key, uint64_t size, uint32_t flags) {
  absl::MutexLock lock(&mu_);
  if (key == abi::kIpcPrivate) return CreateLocked(creds, thread, key, size, flags);
  ShmSegment* const found = ids_.FindKey(key);
  if (found == nullptr) {
    if ((flags & abi::kIpcCreat) == 0) return Errno::kENOENT;
    return CreateLocked(creds, thread, key, size, flags);
  }
  if ((flags & abi::kIpcCreat) != 0 && (flags & abi::kIpcExcl) != 0) return Errno::kEEXIST;
  if (found->size < size) return Errno::kEINVAL;
  TRY(found->permissions.Check(creds, flags));
  return found->permissions.id;
}

Result<Ref<ShmSegment>> ShmTable::BeginAttach(const auth::Credentials& creds, int32_t id, uint32_t rights) {
  absl::MutexLock lock(&mu_);
  const Ref<ShmSegment> segment = TRY(ids_.Get(id));
  TRY(segment->permissions.Check(creds, rights));
  ++segment->attached;
  return segment;
}

void ShmTable::EndAttach(ShmSegment& segment) {
  RefPtr<ShmSegment> gone;
  absl::MutexLock lock(&mu_);
  --segment.attached;
  if (MayDestroyLocked(segment)) gone = DestroyLocked(segment);
}

abi::ShmidDs ShmTable::Describe(const ShmSegment& s) {
  abi::ShmidDs ds{};
  ds.perm = s.permissions.ToAbi();
  ds.segsz = s.size;
  ds.atime = s.atime;
  ds.dtime = s.dtime;
  ds.ctime = s.ctime;
  ds.cpid = s.creator_process;
  ds.lpid = s.last_process;
  ds.nattch = s.attached;
  return ds;
}

Result<std::pair<int32_t, abi::ShmidDs>> ShmTable::Stat(const auth::Credentials& creds, int32_t id, StatBy by) const {
  absl::ReaderMutexLock lock(&mu_);
  const Ref<ShmSegment> segment = TRY(by == StatBy::kId ? ids_.Get(id) : ids_.AtSlot(id));
  if (by != StatBy::kSlotUnchecked) TRY(segment->permissions.Check(creds, kReadRight));
  return std::pair(segment->permissions.id, Describe(*segment));
}

Result<void> ShmTable::Set(const auth::Credentials& creds, int32_t id, const abi::IpcPerm& to) {
  absl::MutexLock lock(&mu_);
  const Ref<ShmSegment> segment = TRY(ids_.Get(id));
  TRY(segment->permissions.CheckOwner(creds));
  TRY(segment->permissions.Change(to));
  segment->ctime = NowSeconds();
  return Ok();
}

Result<void> ShmTable::RemoveId(const auth::Credentials& creds, int32_t id) {
  RefPtr<ShmSegment> gone;
  absl::MutexLock lock(&mu_);
  const Ref<ShmSegment> segment = TRY(ids_.Get(id));
  TRY(segment->permissions.CheckOwner(creds));
  if (segment->attached == 0) {
    gone = DestroyLocked(*segment);
  } else {
    segment->permissions.mode |= abi::kShmDest;
    ids_.MakePrivate(*segment);
  }
  return Ok();
}

Result<void> ShmTable::Lock(const auth::Credentials& creds, int32_t id, bool lock_it, uint64_t limit) {
  absl::MutexLock lock(&mu_);
  const Ref<ShmSegment> segment = TRY(ids_.Get(id));
  Permissions& p = segment->permissions;
  const bool capable = creds.HasCapability(abi::Capability::kIpcLock);
  if (!capable) {
    if (creds.euid != p.uid && creds.euid != p.cuid) return Errno::kEPERM;
    if (lock_it && limit == 0) return Errno::kEPERM;
  }
  if (!lock_it) {
    p.mode &= ~abi::kShmLocked;
    return Ok();
  }
  if ((p.mode & abi::kShmLocked) != 0) return Ok();
  if (!capable) {
    uint64_t locked = PageUp(segment->size);
    for (const auto& [slot, other] : ids_) {
      if ((other->permissions.mode & abi::kShmLocked) != 0 && other->locked_by == creds.ruid) locked += PageUp(other->size);
    }
    if (locked > limit) return Errno::kENOMEM;
  }
  p.mode |= abi::kShmLocked;
  segment->locked_by = creds.ruid;
  return Ok();
}

std::pair<int32_t, abi::ShmInfo64> ShmTable::Info() const {
  absl::ReaderMutexLock lock(&mu_);
  abi::ShmInfo64 info{};
  info.shmmax = limits_.max;
  info.shmmin = 1;
  info.shmmni = info.shmseg = static_cast<uint64_t>(limits_.count);
  info.shmall = limits_.all;
  return {ids_.MaxSlot(), info};
}

std::pair<int32_t, abi::ShmUsage> ShmTable::Usage() const {
  absl::ReaderMutexLock lock(&mu_);
  abi::ShmUsage usage{};
  usage.used_ids = ids_.size();
  usage.tot = pages_;
  for (const auto& [slot, segment] : ids_) usage.rss += segment->memory->resident() / kPageSize;
  return {ids_.MaxSlot(), usage};
}

ShmLimits ShmTable::limits() const {
  absl::ReaderMutexLock lock(&mu_);
  return limits_;
}

void ShmTable::SetLimits(const ShmLimits& limits) {
  std::vector<RefPtr<ShmSegment>> gone;
  absl::MutexLock lock(&mu_);
  limits_ = limits;
  if (!limits_.remove_forced) return;
  std::vector<ShmSegment*> orphans;
  for (const auto& [slot, segment] : ids_) {
    if (segment->creator == 0 && MayDestroyLocked(*segment)) orphans.push_back(segment.get());
  }
  for (ShmSegment* orphan : orphans) gone.push_back(DestroyLocked(*orphan));
}

void ShmTable::ThreadGone(abi::Pid thread) {
  if (with_creator_.load(std::memory_order_relaxed) == 0) return;
  std::vector<RefPtr<ShmSegment>> gone;
  absl::MutexLock lock(&mu_);
  std::vector<ShmSegment*> unused;
  for (const auto& [slot, segment] : ids_) {
    if (segment->creator != thread) continue;
    segment->creator = 0;
    with_creator_.fetch_sub(1, std::memory_order_relaxed);
    if (limits_.remove_forced && MayDestroyLocked(*segment)) unused.push_back(segment.get());
  }
  for (ShmSegment* segment : unused) gone.push_back(DestroyLocked(*segment));
}

std::string ShmTable::ProcText(absl::FunctionRef<abi::Pid(abi::Pid)> seen) const {
  std::string out =
      "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   "
      "rss                  swap\n";
  struct Row {
    Permissions permissions;
    abi::ShmidDs ds;
    uint64_t resident;
  };
  std::vector<Row> rows;
  {
    absl::ReaderMutexLock lock(&mu_);
    for (const auto& [slot, s] : ids_) rows.push_back({s->permissions, Describe(*s), s->memory->resident()});
  }
  for (const auto& [p, ds, resident] : rows) {
    absl::StrAppendFormat(&out, "%10d %10d  %4o %21u %5u %5u  %5u %5u %5u %5u %5u %10u %10u %10u %21u %21u\n", p.key, p.id, p.mode, ds.segsz,
                          seen(ds.cpid), seen(ds.lpid), ds.nattch, p.uid, p.gid, p.cuid, p.cgid, ds.atime, ds.dtime, ds.ctime, resident, 0);
  }
  return out;
}

void ShmTable::Clear() {
  std::vector<RefPtr<ShmSegment>> gone;
  absl::MutexLock lock(&mu_);
  while (ids_.size() != 0) gone.push_back(DestroyLocked(*ids_.begin()->second));
}

}  // namespace rampart::ipc
