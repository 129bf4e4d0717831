#include <algorithm>
#include <atomic>
#include <cstring>

#include "sentry/mm/memory_manager_impl.h"
#include "sentry/mm/safe_copy.h"
#include "sentry/mm/statistics.h"

namespace rampart::mm {
namespace {

// A fault costs a round trip of 40 µs or more; a page brought in along costs 2–3 µs, a page copied along 1 µs. So windows begin at 16
// pages (copies: 4), and double with sequential use up to 2 MiB (copies: 256 KiB).
constexpr uint32_t kFirstWindow = 16;
constexpr uint32_t kMaxWindow = 512;
constexpr uint32_t kFirstCopyWindow = 4;
constexpr uint32_t kFirstFileCopyWindow = 32;
constexpr uint32_t kMaxCopyWindow = 64;
constexpr uint64_t kTakeOverReach = 1024 * kPageSize;
// What mmap and brk bring in at once: small mappings are made to be used.
constexpr uint64_t kEagerAnonymous = 64 << 10;
constexpr uint64_t kReservation = 64 << 20;
constexpr uint64_t kEagerPrivateFile = 128 << 10;
constexpr uint64_t kPopulateChunk = 2 << 20;

std::atomic<uint64_t> copied_on_write{0};

AddrRange PageOf(UserAddr a) { return AddrRange{PageDown(a), PageDown(a) + kPageSize}; }

// A fault that made no change, remembered to tell a stale one (another thread has just resolved it) from a genuine violation: when the thread
// faults again and the page's rights were not changed since, it has run with them.
struct StaleFault {
  const void* mm = nullptr;
  UserAddr page = 0;
  uint64_t queued = 0;
};
thread_local StaleFault t_stale;

}  // namespace

uint64_t CopiedOnWrite() { return copied_on_write.load(std::memory_order_relaxed); }

void MemoryManager::Impl::NoteThread() {
  // SAFETY: only the address is used, as this thread's name.
  const uint64_t me = reinterpret_cast<uintptr_t>(&t_stale);
  if (first_thread == 0) first_thread = me;
  if (first_thread != me) several_threads = true;
}

AddrRange MemoryManager::Impl::Window(VmaMap::iterator v, AddrRange required) {
  Vma& vma = v->second;
  AddrRange window = required;
  if (vma.window != 0 && required.start == vma.next_up) {
    vma.window = std::min(vma.window * 2, kMaxWindow);
    window.end = std::max(window.end, required.start + vma.window * kPageSize);
  } else if (vma.window != 0 && required.end == vma.next_down) {
    vma.window = std::min(vma.window * 2, kMaxWindow);
    const uint64_t reach = vma.window * kPageSize;
    window.start = std::min(window.start, required.end > reach ? required.end - reach : 0);
  } else {
    vma.window = kFirstWindow;
    constexpr uint64_t kBlock = kFirstWindow * kPageSize;
    if (vma.grows_down) {
      window.start = std::min(window.start, required.end > kBlock ? required.end - kBlock : 0);
    } else {
      window.start = required.start & ~(kBlock - 1);
      window.end = std::max(window.end, window.start + kBlock);
    }
  }
  window.start = std::max(window.start, v->first);
  window.end = std::min(window.end, vma.end);
  vma.next_up = window.end;
  vma.next_down = window.start;
  return window;
}

Result<void> MemoryManager::Impl::FillAnonymous(VmaMap::iterator v, AddrRange required, AddrRange gap) {
  const Vma& vma = v->second;
  UserAddr at = gap.start;
  uint64_t step = gap.length();
  while (at < gap.end) {
    const uint64_t length = std::min(step, gap.end - at);
    auto range = memory_file->Allocate(length, MemoryFile::Commit::kNow);
    if (!range.ok()) {
      // Memory is short or in pieces: only what is asked for, in smaller pieces.
      if (at < required.start) at = required.start;
      if (at >= required.end) return Ok();
      if (step <= kPageSize) return range.error();
      gap.end = std::min(gap.end, required.end);
      step = std::max(PageDown(step / 2), kPageSize);
      continue;
    }
    Pma pma{.end = at + length, .file = memory_file, .offset = range->start, .host = memory_file->At(range->start), .counted = true,
            .stable = true, .owned = true, .host_writable = true};
    SetRights(vma, pma);
    auto p = InsertPma(at, std::move(pma));
    MapRun(p, AddrRange{at, at + length});
    at += length;
  }
  return Ok();
}

Result<void> MemoryManager::Impl::FillFromFile(VmaMap::iterator v, AddrRange required, AddrRange gap, Prot access) {
  const Vma& vma = v->second;
  const bool write = vma.shared && access == Prot::kWrite;
  const FileRange want = FileRangeOf(vma, v->first, required);
  const FileRange optional = FileRangeOf(vma, v->first, gap);
  auto translated = vma.file->Translate(FileRange{want.start, want.start + kPageSize}, optional, write);
  if (!translated.ok()) return translated.error() == Errno::kENOMEM ? Errno::kENOMEM : Errno::kEIO;
  Translation& t = *translated;
  CHECK(t.range.start <= want.start && t.range.end > want.start && t.range.start >= optional.start && t.range.end <= optional.end);
  const bool counted = t.file.get() == memory_file.get();
  const UserAddr start = v->first + (t.range.start - vma.offset);
  const UserAddr end = start + t.range.length();
  if (write && !platform::Allows(t.max_prot, Prot::kWrite)) {
    if (counted) memory_file->DecRef(FileRange{t.offset, t.offset + t.range.length()});
    return Errno::kEIO;
  }
  Pma pma{.end = end, .file = std::move(t.file), .offset = t.offset, .max_prot = t.max_prot, .counted = counted};
  pma.stable = pma.file->stable();
  pma.cow = !vma.shared;
  if (pma.cow) pma.max_prot = Prot::kAll;
  if (counted) {
    pma.host = memory_file->At(pma.offset);
    pma.host_writable = true;
  }
  SetRights(vma, pma);
  // An older translation (without the right to write) may be there; the new mapping takes its place in the platform too.
  const bool was_mapped = DropPmas(AddrRange{start, end}, Unmap::kNo).length() != 0;
  auto p = InsertPma(start, std::move(pma));
  if (was_mapped) MapRun(p, AddrRange{start, end});
  return Ok();
}

UserAddr MemoryManager::Impl::TakeOver(VmaMap::iterator v, PmaMap::iterator p, UserAddr at) {
  // Every page of the run around `at` that is ours alone, within reach.
  const auto offset_of = [&](UserAddr a) { return p->second.offset + (a - p->first); };
  UserAddr start = at;
  // A run may cross into a neighbouring vma with other rights: not beyond this one.
  const UserAddr lowest = std::max({p->first, v->first, at > kTakeOverReach ? at - kTakeOverReach : 0});
  while (start > lowest && memory_file->Unshared(offset_of(start - kPageSize))) start -= kPageSize;
  const UserAddr highest = std::min({p->second.end, v->second.end, at + kTakeOverReach});
  const UserAddr end = at + (memory_file->UnsharedUntil(FileRange{offset_of(at), offset_of(highest)}) - offset_of(at));
  IsolatePmas(AddrRange{start, end});
  Pma& pma = FindPma(start)->second;
  pma.cow = false;
  ReprotectPmas(v->second, AddrRange{start, end});
  return end;
}

Result<UserAddr> MemoryManager::Impl::BreakCow(VmaMap::iterator v, PmaMap::iterator p, AddrRange required) {
  const Vma& vma = v->second;
  const UserAddr at = required.start;
  const auto offset_of = [&](UserAddr a) { return p->second.offset + (a - p->first); };
  if (p->second.owned && memory_file->Unshared(offset_of(at))) return TakeOver(v, p, at);

  UserAddr end = required.end;
  if (p->second.owned) {
    for (UserAddr a = at + kPageSize; a < end; a += kPageSize) {
      if (memory_file->Unshared(offset_of(a))) end = a;
    }
  }
  TRY(EnsureHost(p->second, p->second.end - p->first));
  auto range = memory_file->Allocate(end - at, MemoryFile::Commit::kNowUninitialized);
  if (!range.ok() && end - at > kPageSize) {
    end = at + kPageSize;
    range = memory_file->Allocate(end - at, MemoryFile::Commit::kNowUninitialized);
  }
  if (!range.ok()) return range.error();
  const std::byte* from = p->second.host + (at - p->first);
  std::byte* to = memory_file->At(range->start);
  copies.fetch_add(1, std::memory_order_seq_cst);
  if (p->second.stable) {
    std::memcpy(to, from, end - at);
  } else {
    const uint64_t copied = PageDown(SafeCopy(to, from, end - at));
    if (at + copied < end) {
      memory_file->DecRef(FileRange{range->start + copied, range->end});
      end = at + copied;
      if (copied == 0) return Errno::kEIO;
    }
  }
  copied_on_write.fetch_add(1, std::memory_order_relaxed);
  const bool was_mapped = DropPmas(AddrRange{at, end}, Unmap::kNo).length() != 0;
  Pma pma{.end = end, .file = memory_file, .offset = range->start, .host = to, .counted = true, .stable = true, .owned = true,
          .host_writable = true};
  SetRights(vma, pma);
  const bool visible = platform::Any(pma.rights);
  auto fresh = InsertPma(at, std::move(pma));
  MapRun(fresh, AddrRange{at, end});
  if (was_mapped && !visible) space->Unmap(at, end - at);
  return end;
}

Result<void> MemoryManager::Impl::BringIn(VmaMap::iterator v, AddrRange required, AddrRange optional, Prot access) {
  const bool write = access == Prot::kWrite;
  AddrRange copy = required;  // what a write copies
  if (write) {
    const uint32_t least = v->second.anonymous() ? kFirstCopyWindow : kFirstFileCopyWindow;
    const uint64_t block = std::bit_floor(std::clamp(v->second.window / 4, least, kMaxCopyWindow)) * kPageSize;
    copy.start = required.start & ~(block - 1);
    copy.end = PageUp(required.end + block - 1) & ~(block - 1);
    copy = Intersect(copy, optional);
  }
  int extra_maps = 8;  // pieces beyond what was asked for
  UserAddr at = optional.start;
  while (at < optional.end) {
    auto p = PmaAtOrAfter(at);
    if (p == pmas.end() || p->first > at) {
      const AddrRange gap{at, p == pmas.end() ? optional.end : std::min(p->first, optional.end)};
      const AddrRange want = Intersect(gap, required);
      if (want.length() == 0) {
        at = gap.end;
      } else if (v->second.anonymous()) {
        TRY(FillAnonymous(v, want, gap));
        at = gap.end;
      } else {
        // A file says itself what is cheap: it is offered the whole gap, not only the window.
        AddrRange whole{v->first, p == pmas.end() ? v->second.end : std::min(p->first, v->second.end)};
        if (p != pmas.begin()) whole.start = std::max(whole.start, std::prev(p)->second.end);
        TRY(FillFromFile(v, want, whole, access));
      }
      continue;
    }
    AddrRange part{at, std::min(p->second.end, optional.end)};
    AddrRange want = Intersect(part, copy);
    if (write && !p->second.MayWrite() && want.length() != 0) {
      if (at == want.start) {
        const bool asked = Overlaps(PageOf(at), required);
        if (p->second.cow) {
          auto end = BreakCow(v, p, want);
          if (!end.ok() && asked) return end.error();
          at = end.ok() ? *end : at + kPageSize;
        } else if (asked) {
          TRY(FillFromFile(v, Intersect(part, required), part, access));
        } else {
          at += kPageSize;
        }
        continue;
      }
      part.end = want.start;
    }
    if (!p->second.mapped && (Overlaps(part, required) || extra_maps-- > 0)) {
      MapRun(p, p->second.counted ? part : AddrRange{p->first, p->second.end});
    }
    at = part.end;
  }
  return Ok();
}

Result<VmaMap::iterator> MemoryManager::Impl::GrowStack(UserAddr a) {
  auto v = vmas.upper_bound(a);
  if (v == vmas.end() || !v->second.grows_down) return Errno::kEFAULT;
  const UserAddr start = PageDown(a);
  if (start < min_address || v->second.end - start > stack_limit) return Errno::kEFAULT;
  const uint64_t more = v->first - start;
  if (more > as_limit || total_bytes > as_limit - more) return Errno::kEFAULT;
  if (v != vmas.begin()) {
    const auto below = std::prev(v);
    if (below->second.end > start) return Errno::kEFAULT;
    if (!below->second.grows_down && platform::Any(below->second.prot) && start - below->second.end < kStackGuardGap) {
      return Errno::kEFAULT;
    }
  }
  Account(v->second, more, true);
  auto node = vmas.extract(v);
  node.key() = start;
  return vmas.insert(std::move(node)).position;
}

void MemoryManager::Impl::Prefault(VmaMap::iterator v, AddrRange r) {
  Vma& vma = v->second;
  if (!platform::Any(vma.prot) || vma.grows_down) return;
  if (vma.anonymous()) {
    // Of what is reserved rather than used, one fault more is no matter, and a page in each area would make every fork of them dear.
    if (!platform::Allows(vma.prot, Prot::kWrite) || vma.noreserve || r.length() > kReservation) return;
    const AddrRange first{r.start, std::min(r.end, r.start + kEagerAnonymous)};
    if (!BringIn(v, first, first, Prot::kWrite).ok()) return;
    vma.next_up = first.end;
    vma.next_down = first.start;
    vma.window = kFirstWindow;
    return;
  }
  if (vma.shared) return;
  const AddrRange first{r.start, r.start + kPageSize};
  if (platform::Allows(vma.prot, Prot::kWrite) && r.length() <= kEagerPrivateFile && !vma.noreserve) {
    (void)BringIn(v, r, r, Prot::kWrite);
  } else {
    (void)BringIn(v, first, first, Prot::kRead);
  }
}

Result<void> MemoryManager::Impl::PopulateRange(AddrRange r, Prot access) {
  UserAddr at = r.start;
  while (at < r.end) {
    auto v = FindVma(at);
    if (v == vmas.end()) return Errno::kENOMEM;
    const AddrRange chunk{at, std::min({r.end, v->second.end, at + kPopulateChunk})};
    Prot want = access;
    if (!platform::Any(want)) want = platform::Allows(v->second.prot, Prot::kWrite) ? Prot::kWrite : Prot::kRead;
    if (!platform::Any(v->second.prot)) return Errno::kENOMEM;
    if (want == Prot::kWrite && !platform::Allows(v->second.prot, Prot::kWrite)) return Errno::kEFAULT;
    TRY(BringIn(v, chunk, chunk, want));
    at = chunk.end;
  }
  return Ok();
}

Result<void> MemoryManager::Impl::ResolveUnknownFault(VmaMap::iterator v, UserAddr address, bool page_was_mapped) {
  const AddrRange page = PageOf(address);
  const bool writable = platform::Allows(v->second.prot, Prot::kWrite);
  auto p = FindPma(address);
  if (p != pmas.end() && p->second.mapped) {
    const bool can_gain = writable && !platform::Allows(p->second.rights, Prot::kWrite);
    if (!page_was_mapped || !can_gain) {
      // Everything that the vma grants is granted. Either the fault is older than that, or it is a violation.
      if (page_was_mapped && !several_threads) return Errno::kEACCES;
      const bool again = t_stale.mm == this && t_stale.page == page.start && p->second.changed_at <= t_stale.queued;
      t_stale = StaleFault{this, page.start, space->queued()};
      if (!again) return Ok();
      t_stale = StaleFault{};
      if (page_was_mapped) return Errno::kEACCES;
      MapRun(p, page);
      return Ok();
    }
  }
  // A write is assumed wherever it is allowed: if it was a read, one page was copied too early, which is cheaper than a second fault.
  return BringIn(v, page, Window(v, page), writable ? Prot::kWrite : Prot::kRead);
}

Result<void> MemoryManager::HandleFault(UserAddr address, Prot access, bool page_was_mapped, UserAddr) {
  Impl& m = *impl_;
  absl::MutexLock lock(&m.mu);
  m.NoteThread();
  auto v = m.FindVma(address);
  if (v == m.vmas.end()) v = TRY(m.GrowStack(address));
  const Vma& vma = v->second;
  if (!platform::Any(vma.prot)) return Errno::kEACCES;
  Result<void> result;
  if (access == Prot::kNone) {
    result = m.ResolveUnknownFault(v, address, page_was_mapped);
  } else {
    const Prot needed = platform::Allows(access, Prot::kWrite) ? Prot::kWrite
                        : platform::Allows(access, Prot::kExec) ? Prot::kExec
                                                                : Prot::kRead;
    // x86: whatever is present can be read.
    if (needed != Prot::kRead && !platform::Allows(vma.prot, needed)) return Errno::kEACCES;
    auto p = m.FindPma(address);
    const bool there = p != m.pmas.end() && p->second.mapped &&
                       (needed == Prot::kRead ? platform::Any(p->second.rights) : platform::Allows(p->second.rights, needed));
    if (!there) result = m.BringIn(v, PageOf(address), m.Window(v, PageOf(address)), needed);
  }
  m.FinishChange();
  return result;
}

}  // namespace rampart::mm
