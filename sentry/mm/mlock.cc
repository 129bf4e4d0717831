// mlock and mlockall: memory never leaves by itself here, so locking means accounting and bringing in.
#include <algorithm>

#include "abi/mman.h"
#include "sentry/mm/memory_manager_impl.h"

namespace rampart::mm {

Result<void> MemoryManager::Impl::MarkLocked(AddrRange r, bool lock, bool on_fault) {
  TRY(IsolateVmas(r));
  for (auto v = VmaAtOrAfter(r.start); v != vmas.end() && v->first < r.end; ++v) {
    Vma& vma = v->second;
    if (vma.locked != lock) {
      const uint64_t bytes = vma.end - v->first;
      locked_bytes = lock ? locked_bytes + bytes : locked_bytes - bytes;
    }
    vma.locked = lock;
    vma.lock_on_fault = lock && on_fault;
  }
  MergeVmas(r);
  return Ok();
}

Result<void> MemoryManager::MLock(const Caller& caller, UserAddr address, uint64_t length, bool lock, bool on_fault) {
  // As Linux: the start is rounded down here.
  const uint64_t in_page = address & kPageMask;
  const uint64_t span = TRY(CheckedAdd(length, in_page));
  const AddrRange range = TRY(impl_->CheckRange(address - in_page, span, Errno::kEINVAL));
  Impl& m = *impl_;
  absl::MutexLock guard(&m.mu);
  m.NoteThread();
  if (lock && caller.limit(abi::Resource::kMemlock) == 0 && !caller.creds().HasCapability(abi::Capability::kIpcLock)) return Errno::kEPERM;
  if (range.length() == 0) return Ok();
  if (lock) {
    uint64_t already = 0;
    for (auto v = m.VmaAtOrAfter(range.start); v != m.vmas.end() && v->first < range.end; ++v) {
      if (v->second.locked) already += Intersect(range, AddrRange{v->first, v->second.end}).length();
    }
    TRY(m.CheckLockLimit(caller, range.length() - already, Errno::kENOMEM));
  }
  AddrRange covered{range.start, range.start};
  for (auto v = m.FindVma(range.start); v != m.vmas.end() && v->first <= covered.end && covered.end < range.end; ++v) covered.end = v->second.end;
  covered.end = std::min(covered.end, range.end);
  // What lies before a hole is locked, or unlocked, all the same.
  if (covered.length() != 0) TRY(m.MarkLocked(covered, lock, on_fault));
  if (covered.end < range.end) {
    m.FinishChange();
    return Errno::kENOMEM;
  }
  Result<void> result;
  if (lock && !on_fault) {
    result = m.PopulateRange(range, Prot::kNone);
    if (!result.ok()) result = Errno::kENOMEM;
  }
  m.FinishChange();
  return result;
}

Result<void> MemoryManager::MLockAll(const Caller& caller, uint32_t flags) {
  if (flags == 0 || (flags & ~(abi::kMclCurrent | abi::kMclFuture | abi::kMclOnFault)) != 0 || flags == abi::kMclOnFault) {
    return Errno::kEINVAL;
  }
  Impl& m = *impl_;
  absl::MutexLock guard(&m.mu);
  m.NoteThread();
  const bool may_exceed = caller.creds().HasCapability(abi::Capability::kIpcLock);
  if (!may_exceed && caller.limit(abi::Resource::kMemlock) == 0) return Errno::kEPERM;
  if ((flags & abi::kMclCurrent) != 0 && !may_exceed && m.total_bytes > caller.limit(abi::Resource::kMemlock)) return Errno::kENOMEM;
  const bool on_fault = (flags & abi::kMclOnFault) != 0;
  m.lock_future = (flags & abi::kMclFuture) != 0;
  m.lock_future_on_fault = m.lock_future && on_fault;
  if ((flags & abi::kMclCurrent) != 0) {
    TRY(m.MarkLocked(AddrRange{0, m.max_address}, true, on_fault));
    // As Linux: a page that cannot be brought in is no error here.
    for (auto v = m.vmas.begin(); !on_fault && v != m.vmas.end(); ++v) {
      if (platform::Any(v->second.prot)) (void)m.PopulateRange(AddrRange{v->first, v->second.end}, Prot::kNone);
    }
  }
  m.FinishChange();
  return Ok();
}

void MemoryManager::MUnlockAll() {
  absl::MutexLock guard(&impl_->mu);
  impl_->lock_future = impl_->lock_future_on_fault = false;
  (void)impl_->MarkLocked(AddrRange{0, impl_->max_address}, false, false);
}

}  // namespace rampart::mm
