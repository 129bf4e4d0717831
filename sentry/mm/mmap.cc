// mmap, munmap, mprotect, brk.
#include <algorithm>

#include "sentry/mm/memory_manager_impl.h"
#include "sentry/mm/shared_memory.h"

namespace rampart::mm {
namespace {
constexpr Prot kWriteExec = Prot::kWrite | Prot::kExec;
}

Result<UserAddr> MemoryManager::Impl::MMapLocked(const Caller& caller, MMapArgs& args, Vma vma) {
  const uint64_t length = args.length;
  UserAddr start = 0;
  if (args.fixed || args.fixed_noreplace) {
    start = args.address;
    if (start > max_address || length > max_address - start) return Errno::kENOMEM;
    if (start < min_address) return Errno::kEPERM;
    if (args.fixed_noreplace && !RangeFree(AddrRange{start, start + length})) return Errno::kEEXIST;
  } else {
    start = TRY(FindGap(length, args.address, args.low_32bit));
  }
  const AddrRange range{start, start + length};
  TRY(CheckUnsealed(range));
  vma.end = range.end;
  vma.locked = args.locked || lock_future;
  vma.lock_on_fault = !args.locked && lock_future_on_fault;
  TRY(CheckLimits(caller, vma, length - CoveredBytes(range)));
  if (vma.locked) {
    if (args.locked && caller.limit(abi::Resource::kMemlock) == 0 && !caller.creds().HasCapability(abi::Capability::kIpcLock)) {
      return Errno::kEPERM;
    }
    TRY(CheckLockLimit(caller, length, Errno::kEAGAIN));
  }
  AddrRange stale{0, 0};
  if (!RangeFree(range)) {
    TRY(IsolateVmas(range));
    stale = RemoveVmas(range, Unmap::kNo);
  }
  auto inserted = InsertVma(start, std::move(vma));
  if (!inserted.ok()) {
    UnmapUncovered(stale);
    return inserted.error();
  }
  Prefault(*inserted, range);
  if ((args.populate && !args.noreserve) || ((*inserted)->second.locked && !(*inserted)->second.lock_on_fault)) {
    (void)PopulateRange(range, Prot::kNone);
  }
  UnmapUncovered(stale);
  MergeVmas(range);
  return start;
}

Result<UserAddr> MemoryManager::MMap(const Caller& caller, MMapArgs args) {
  if (args.length == 0) return Errno::kEINVAL;
  args.length = TRY(CheckedPageUp(args.length, Errno::kENOMEM));
  if (args.fixed_noreplace) args.fixed = true;
  if (args.fixed && !PageAligned(args.address)) return Errno::kEINVAL;
  if (!PageAligned(args.offset)) return Errno::kEINVAL;
  if (args.length > impl_->max_address) return Errno::kENOMEM;
  if (args.offset > INT64_MAX - args.length) return Errno::kEOVERFLOW;
  if (args.grows_down && (args.shared || args.file)) return Errno::kEINVAL;
  if (!platform::Allows(args.max_prot, args.prot)) return Errno::kEACCES;
  if ((exec_gain.load(std::memory_order_relaxed) & kRefuseExecGain) != 0 && platform::Allows(args.prot, kWriteExec)) return Errno::kEACCES;

  Vma vma;
  vma.prot = args.prot;
  vma.max_prot = args.max_prot;
  vma.shared = args.shared;
  vma.grows_down = args.grows_down;
  vma.noreserve = args.noreserve;
  vma.special_name = args.special_name;
  vma.offset = args.offset;
  vma.file = args.file;
  vma.identity = args.identity;
  if (args.shared && !args.file) {
    const auto object = SharedMemory::Create(impl_->memory_file, args.length);
    vma.file = object;
    vma.identity = object;
    vma.offset = 0;
  }
  if (!vma.file) vma.offset = 0;

  absl::MutexLock lock(&impl_->mu);
  impl_->NoteThread();
  const auto result = impl_->MMapLocked(caller, args, std::move(vma));
  impl_->FinishChange();
  return result;
}

Result<void> MemoryManager::MUnmap(UserAddr address, uint64_t length) {
  if (length == 0) return Errno::kEINVAL;
  const AddrRange range = TRY(impl_->CheckRange(address, length, Errno::kEINVAL));
  if (range.end > impl_->max_address) return Errno::kEINVAL;
  absl::MutexLock lock(&impl_->mu);
  impl_->NoteThread();
  if (impl_->RangeFree(range)) return Ok();
  TRY(impl_->CheckUnsealed(range));
  TRY(impl_->IsolateVmas(range));
  impl_->RemoveVmas(range, Impl::Unmap::kYes);
  impl_->FinishChange();
  return Ok();
}

// Linux: ksys_shmdt. The first area that lies where the attachment would have put it says which attachment is meant.
Result<void> MemoryManager::DetachSegment(UserAddr address) {
  if (!PageAligned(address)) return Errno::kEINVAL;
  Impl& m = *impl_;
  absl::MutexLock lock(&m.mu);
  m.NoteThread();
  const auto belongs = [&](VmaMap::iterator v) {
    return v->second.file && v->second.file->AttachedBytes() != 0 && v->first - address == v->second.offset;
  };
  auto v = m.VmaAtOrAfter(address);
  while (v != m.vmas.end() && (v->first < address || !belongs(v))) ++v;
  if (v == m.vmas.end()) return Errno::kEINVAL;
  const RefPtr<MappingIdentity> attachment = v->second.identity;
  const uint64_t size = PageUp(v->second.file->AttachedBytes());
  Result<void> result;
  while (v != m.vmas.end() && v->second.end - address <= size) {
    const AddrRange area{v->first, v->second.end};
    ++v;
    const auto here = std::prev(v);
    if (!belongs(here) || !(here->second.identity == attachment)) continue;
    if (here->second.sealed) {
      result = Errno::kEPERM;
      continue;
    }
    m.RemoveVmas(area, Impl::Unmap::kYes);
  }
  m.FinishChange();
  return result;
}

Result<void> MemoryManager::Impl::ProtectVma(VmaMap::iterator v, Prot prot) {
  Vma& vma = v->second;
  if (!platform::Allows(vma.max_prot, prot)) return Errno::kEACCES;
  if (vma.sealed) return Errno::kEPERM;
  if (vma.prot == prot) return Ok();
  Account(vma, vma.end - v->first, false);
  vma.prot = prot;
  Account(vma, vma.end - v->first, true);
  ReprotectPmas(vma, AddrRange{v->first, vma.end});
  return Ok();
}

Result<void> MemoryManager::MProtect(UserAddr address, uint64_t length, Prot prot, bool grows_down) {
  if (!PageAligned(address)) return Errno::kEINVAL;
  if (length == 0) return Ok();
  AddrRange range = TRY(impl_->CheckRange(address, length, Errno::kENOMEM));
  Impl& m = *impl_;
  absl::MutexLock lock(&m.mu);
  m.NoteThread();
  if (grows_down) {
    const auto v = m.FindVma(address);
    if (v == m.vmas.end() || !v->second.grows_down) return Errno::kEINVAL;
    range.start = v->first;
  }
  if (range.end > m.max_address) return Errno::kENOMEM;
  TRY(m.IsolateVmas(range));
  Result<void> result;
  UserAddr at = range.start;
  // As Linux: what lies before a hole or a refusal is changed.
  for (auto v = m.FindVma(at); at < range.end; ++v) {
    if (v == m.vmas.end() || v->first > at) {
      result = Errno::kENOMEM;
      break;
    }
    const bool gains = platform::Allows(prot, kWriteExec) || (platform::Allows(prot, Prot::kExec) && !platform::Allows(v->second.prot, Prot::kExec));
    const bool refused = gains && (exec_gain.load(std::memory_order_relaxed) & kRefuseExecGain) != 0;
    result = refused ? Result<void>(Errno::kEACCES) : m.ProtectVma(v, prot);
    if (!result.ok()) break;
    at = v->second.end;
  }
  m.MergeVmas(range);
  m.FinishChange();
  return result;
}

UserAddr MemoryManager::Brk(const Caller& caller, UserAddr want) {
  Impl& m = *impl_;
  absl::MutexLock lock(&m.mu);
  m.NoteThread();
  if (want < m.brk_start || m.brk_start == 0 || want > m.max_address - kPageSize) return m.brk;
  const UserAddr old_end = PageUp(m.brk);
  const UserAddr new_end = PageUp(want);
  if (new_end == old_end) return m.brk = want;
  if (new_end < old_end) {
    const AddrRange gone{new_end, old_end};
    if (!m.CheckUnsealed(gone).ok() || !m.IsolateVmas(gone).ok()) return m.brk;
    m.RemoveVmas(gone, Impl::Unmap::kYes);
    m.FinishChange();
    return m.brk = want;
  }
  const uint64_t data_limit = caller.limit(abi::Resource::kData);
  const uint64_t image_data = m.layout.end_data - m.layout.start_data;
  if (want - m.brk_start > data_limit || image_data > data_limit - (want - m.brk_start)) return m.brk;
  const AddrRange more{old_end, new_end};
  const auto next = m.VmaAtOrAfter(more.start);
  if (next != m.vmas.end() && next->first < more.end + (next->second.grows_down ? kStackGuardGap : 0)) return m.brk;
  Vma vma;
  vma.end = more.end;
  vma.prot = Prot::kReadWrite;
  vma.special_name = "[heap]";
  vma.locked = m.lock_future;
  vma.lock_on_fault = m.lock_future_on_fault;
  if (!m.CheckLimits(caller, vma, more.length()).ok()) return m.brk;
  if (vma.locked && !m.CheckLockLimit(caller, more.length(), Errno::kEAGAIN).ok()) return m.brk;
  auto v = m.InsertVma(more.start, std::move(vma));
  if (!v.ok()) return m.brk;
  m.Prefault(*v, more);
  if ((*v)->second.locked && !(*v)->second.lock_on_fault) (void)m.PopulateRange(more, Prot::kNone);
  m.MergeVmas(more);
  m.FinishChange();
  return m.brk = want;
}

}  // namespace rampart::mm
