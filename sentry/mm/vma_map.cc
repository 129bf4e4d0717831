#include <algorithm>

#include "sentry/mm/memory_manager_impl.h"

namespace rampart::mm {
namespace {

// A stack keeps a distance from what lies below it.
UserAddr StartWithGap(VmaMap::const_iterator v) {
  if (!v->second.grows_down) return v->first;
  return v->first > kStackGuardGap ? v->first - kStackGuardGap : 0;
}

bool CanMerge(UserAddr a_start, const Vma& a, const Vma& b) {
  if (a.prot != b.prot || a.max_prot != b.max_prot || a.shared != b.shared || a.grows_down != b.grows_down ||
      a.noreserve != b.noreserve || a.locked != b.locked || a.lock_on_fault != b.lock_on_fault || a.dont_fork != b.dont_fork ||
      a.wipe_on_fork != b.wipe_on_fork || a.dont_dump != b.dont_dump || a.sealed != b.sealed || a.special_name != b.special_name || a.policy != b.policy ||
      a.lineage != b.lineage) {
    return false;
  }
  if (!(a.file == b.file)) return false;
  if (a.file && a.file->AttachedBytes() != 0) return false;
  return !a.file || a.offset + (a.end - a_start) == b.offset;
}

}  // namespace

VmaMap::iterator MemoryManager::Impl::VmaAtOrAfter(UserAddr a) {
  auto v = vmas.upper_bound(a);
  if (v != vmas.begin()) {
    auto before = std::prev(v);
    if (before->second.end > a) return before;
  }
  return v;
}

VmaMap::iterator MemoryManager::Impl::FindVma(UserAddr a) {
  auto v = VmaAtOrAfter(a);
  return v != vmas.end() && v->first <= a ? v : vmas.end();
}

bool MemoryManager::Impl::RangeFree(AddrRange r) {
  auto v = VmaAtOrAfter(r.start);
  return v == vmas.end() || v->first >= r.end;
}

bool MemoryManager::Impl::RangeCovered(AddrRange r) {
  UserAddr at = r.start;
  for (auto v = FindVma(at); at < r.end; ++v) {
    if (v == vmas.end() || v->first > at) return false;
    at = v->second.end;
  }
  return true;
}

Result<AddrRange> MemoryManager::Impl::CheckRange(UserAddr address, uint64_t length, Errno overflow) const {
  if (!PageAligned(address)) return Errno::kEINVAL;
  const uint64_t rounded = TRY(CheckedPageUp(length, overflow));
  const UserAddr end = TRY(CheckedAdd(address, rounded, overflow));
  return AddrRange{address, end};
}

std::optional<UserAddr> MemoryManager::Impl::GapBelow(UserAddr low, UserAddr high, uint64_t length) {
  UserAddr ceiling = high;
  auto v = vmas.lower_bound(high);
  // The guard gap of a stack that begins at or above `high` reaches below it.
  if (v != vmas.end()) ceiling = std::min(ceiling, StartWithGap(v));
  for (;;) {
    const UserAddr floor = v == vmas.begin() ? low : std::max(low, std::prev(v)->second.end);
    if (ceiling > floor && ceiling - floor >= length) return ceiling - length;
    if (v == vmas.begin() || ceiling <= low) return std::nullopt;
    --v;
    ceiling = std::min(ceiling, StartWithGap(v));
  }
}

std::optional<UserAddr> MemoryManager::Impl::GapAbove(UserAddr low, UserAddr high, uint64_t length) {
  UserAddr floor = low;
  for (auto v = VmaAtOrAfter(low);; ++v) {
    const UserAddr ceiling = v == vmas.end() ? high : std::min(high, StartWithGap(v));
    if (ceiling > floor && ceiling - floor >= length) return floor;
    if (v == vmas.end() || v->second.end >= high) return std::nullopt;
    floor = std::max(floor, v->second.end);
  }
}

Result<UserAddr> MemoryManager::Impl::FindGap(uint64_t length, UserAddr hint, bool low_32bit) {
  if (length > max_address - min_address) return Errno::kENOMEM;
  if (low_32bit) {
    const auto found = GapAbove(std::max<UserAddr>(0x40000000, min_address), std::min<UserAddr>(0x80000000, max_address), length);
    if (found) return *found;
    return Errno::kENOMEM;
  }
  if (hint != 0) {
    hint = std::max(PageDown(hint), min_address);
    if (hint <= max_address - length) {
      auto next = VmaAtOrAfter(hint);
      if (next == vmas.end() || hint + length <= StartWithGap(next)) return hint;
    }
  }
  const UserAddr top = mmap_base != 0 ? std::min(mmap_base, max_address) : max_address;
  const bool use_hint = gap_hint != 0 && length >= gap_hint_length && gap_hint <= top;
  if (const auto found = GapBelow(min_address, use_hint ? gap_hint : top, length)) {
    gap_hint = *found;
    if (!use_hint) gap_hint_length = length;
    return *found;
  }
  // As Linux: bottom-up over everything when the space below the base is used up.
  if (const auto found = GapAbove(min_address, max_address, length)) return *found;
  return Errno::kENOMEM;
}

void MemoryManager::Impl::Account(const Vma& vma, uint64_t bytes, bool add) {
  const auto change = [&](uint64_t& counter) { counter = add ? counter + bytes : counter - bytes; };
  change(total_bytes);
  if (!vma.shared && !vma.grows_down && platform::Allows(vma.prot, Prot::kWrite)) change(data_bytes);
  if (vma.locked) change(locked_bytes);
  peak_total = std::max(peak_total, total_bytes);
}

Result<void> MemoryManager::Impl::CheckLimits(const Caller& caller, const Vma& vma, uint64_t more) {
  const uint64_t space_limit = caller.limit(abi::Resource::kAs);
  if (more > space_limit || total_bytes > space_limit - more) return Errno::kENOMEM;
  if (!vma.shared && platform::Allows(vma.prot, Prot::kWrite) && !vma.noreserve && more > memory_file->total_bytes()) return Errno::kENOMEM;
  if (!vma.shared && !vma.grows_down && platform::Allows(vma.prot, Prot::kWrite)) {
    const uint64_t data_limit = caller.limit(abi::Resource::kData);
    if (more > data_limit || data_bytes > data_limit - more) return Errno::kENOMEM;
  }
  return Ok();
}

Result<void> MemoryManager::Impl::CheckLockLimit(const Caller& caller, uint64_t more, Errno error) {
  if (caller.creds().HasCapability(abi::Capability::kIpcLock)) return Ok();
  const uint64_t limit = caller.limit(abi::Resource::kMemlock);
  if (more > limit || locked_bytes > limit - more) return error;
  return Ok();
}

Result<VmaMap::iterator> MemoryManager::Impl::InsertVma(UserAddr start, Vma vma) {
  if (vmas.size() >= kMaxMapCount) return Errno::kENOMEM;
  if (vma.file) {
    const FileRange range{vma.offset, vma.offset + (vma.end - start)};
    TRY(vma.file->AddMapping(*owner, range, vma.shared, platform::Allows(vma.max_prot, Prot::kWrite)));
  }
  Account(vma, vma.end - start, true);
  const auto [v, inserted] = vmas.emplace(start, std::move(vma));
  CHECK(inserted);
  return v;
}

void MemoryManager::Impl::SplitVma(VmaMap::iterator v, UserAddr at) {
  CHECK(at > v->first && at < v->second.end);
  Vma& low = v->second;
  Vma high = low;
  const FileRange whole{low.offset, low.offset + (low.end - v->first)};
  high.next_up = high.next_down = 0;
  high.window = 0;
  high.offset += at - v->first;
  low.end = at;
  if (low.file) {
    // Never refused: each half asks for no more than the whole had. The whole goes last, so that the file stays known as mapped.
    const bool writable = platform::Allows(low.max_prot, Prot::kWrite);
    (void)low.file->AddMapping(*owner, FileRange{whole.start, high.offset}, low.shared, writable);
    (void)low.file->AddMapping(*owner, FileRange{high.offset, whole.end}, low.shared, writable);
    low.file->RemoveMapping(*owner, whole, low.shared, writable);
  }
  vmas.emplace(at, std::move(high));
}

Result<void> MemoryManager::Impl::IsolateVmas(AddrRange r) {
  if (vmas.size() + 2 > kMaxMapCount) return Errno::kENOMEM;
  if (auto v = FindVma(r.start); v != vmas.end() && v->first < r.start) SplitVma(v, r.start);
  if (auto v = FindVma(r.end); v != vmas.end() && v->first < r.end) SplitVma(v, r.end);
  return Ok();
}

void MemoryManager::Impl::MergeVmas(AddrRange r) {
  auto v = VmaAtOrAfter(r.start == 0 ? 0 : r.start - 1);
  while (v != vmas.end() && v->first < r.end) {
    auto next = std::next(v);
    if (next == vmas.end()) return;
    Vma& a = v->second;
    Vma& b = next->second;
    if (next->first > r.end || a.end != next->first || !CanMerge(v->first, a, b)) {
      v = next;
      continue;
    }
    if (a.file) {
      const FileRange first{a.offset, b.offset};
      const FileRange second{b.offset, b.offset + (b.end - next->first)};
      const bool writable = platform::Allows(a.max_prot, Prot::kWrite);
      (void)a.file->AddMapping(*owner, FileRange{first.start, second.end}, a.shared, writable);
      a.file->RemoveMapping(*owner, first, a.shared, writable);
      a.file->RemoveMapping(*owner, second, a.shared, writable);
    }
    a.end = b.end;
    if (b.window != 0) {
      a.next_up = b.next_up;
      a.next_down = b.next_down;
      a.window = b.window;
    }
    vmas.erase(next);
  }
}

AddrRange MemoryManager::Impl::RemoveVmas(AddrRange r, Unmap unmap) {
  const AddrRange mapped = DropPmas(r, unmap);
  auto v = VmaAtOrAfter(r.start);
  while (v != vmas.end() && v->first < r.end) {
    const Vma& vma = v->second;
    CHECK(v->first >= r.start && vma.end <= r.end);
    Account(vma, vma.end - v->first, false);
    if (vma.file) {
      vma.file->RemoveMapping(*owner, FileRange{vma.offset, vma.offset + (vma.end - v->first)}, vma.shared,
                              platform::Allows(vma.max_prot, Prot::kWrite));
    }
    v = vmas.erase(v);
  }
  if (r.end > gap_hint) gap_hint = 0;
  return mapped;
}

Result<void> MemoryManager::Impl::CheckUnsealed(AddrRange r) {
  for (auto v = VmaAtOrAfter(r.start); v != vmas.end() && v->first < r.end; ++v) {
    if (v->second.sealed) return Errno::kEPERM;
  }
  return Ok();
}

uint64_t MemoryManager::Impl::CoveredBytes(AddrRange r) {
  uint64_t bytes = 0;
  for (auto v = VmaAtOrAfter(r.start); v != vmas.end() && v->first < r.end; ++v) {
    bytes += Intersect(AddrRange{v->first, v->second.end}, r).length();
  }
  return bytes;
}

}  // namespace rampart::mm
