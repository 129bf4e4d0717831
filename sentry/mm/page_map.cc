#include <algorithm>

#include "sentry/mm/memory_manager_impl.h"

namespace rampart::mm {

PmaMap::iterator MemoryManager::Impl::PmaAtOrAfter(UserAddr a) {
  auto p = pmas.upper_bound(a);
  if (p != pmas.begin()) {
    auto before = std::prev(p);
    if (before->second.end > a) return before;
  }
  return p;
}

PmaMap::iterator MemoryManager::Impl::FindPma(UserAddr a) {
  auto p = PmaAtOrAfter(a);
  return p != pmas.end() && p->first <= a ? p : pmas.end();
}

void MemoryManager::Impl::SplitPma(PmaMap::iterator p, UserAddr at) {
  CHECK(at > p->first && at < p->second.end);
  Pma high = p->second;
  high.offset += at - p->first;
  if (high.host != nullptr) high.host += at - p->first;
  p->second.end = at;
  pmas.emplace_hint(std::next(p), at, std::move(high));
}

void MemoryManager::Impl::IsolatePmas(AddrRange r) {
  if (auto p = FindPma(r.start); p != pmas.end() && p->first < r.start) SplitPma(p, r.start);
  if (auto p = FindPma(r.end); p != pmas.end() && p->first < r.end) SplitPma(p, r.end);
}

namespace {
bool CanMergePmas(UserAddr a_start, const Pma& a, UserAddr b_start, const Pma& b) {
  const uint64_t length = a.end - a_start;
  return a.end == b_start && a.file == b.file && a.offset + length == b.offset && a.max_prot == b.max_prot && a.rights == b.rights &&
         a.owned == b.owned && a.cow == b.cow && a.mapped == b.mapped && a.readable == b.readable &&
         a.host_writable == b.host_writable && (a.host == nullptr ? b.host == nullptr : b.host == a.host + length);
}
}  // namespace

PmaMap::iterator MemoryManager::Impl::MergePma(PmaMap::iterator p) {
  if (auto next = std::next(p); next != pmas.end() && CanMergePmas(p->first, p->second, next->first, next->second)) {
    p->second.end = next->second.end;
    p->second.changed_at = std::max(p->second.changed_at, next->second.changed_at);
    pmas.erase(next);
  }
  if (p != pmas.begin()) {
    auto before = std::prev(p);
    if (CanMergePmas(before->first, before->second, p->first, p->second)) {
      before->second.end = p->second.end;
      before->second.changed_at = std::max(before->second.changed_at, p->second.changed_at);
      pmas.erase(p);
      return before;
    }
  }
  return p;
}

void MemoryManager::Impl::MergePmas(AddrRange r) {
  for (auto p = PmaAtOrAfter(r.start); p != pmas.end() && p->first <= r.end; ++p) p = MergePma(p);
}

PmaMap::iterator MemoryManager::Impl::InsertPma(UserAddr start, Pma pma) {
  resident_bytes += pma.end - start;
  peak_resident = std::max(peak_resident, resident_bytes);
  const auto [p, inserted] = pmas.emplace(start, std::move(pma));
  CHECK(inserted);
  return MergePma(p);
}

void MemoryManager::Impl::DropBacking(PmaMap::iterator p) {
  Pma& pma = p->second;
  const uint64_t length = pma.end - p->first;
  resident_bytes -= length;
  fresh_drops.push_back(Drop{pma.mapped ? uint64_t{1} : uint64_t{0}, pma.file, FileRange{pma.offset, pma.offset + length}, pma.counted});
}

AddrRange MemoryManager::Impl::DropPmas(AddrRange r, Unmap unmap) {
  IsolatePmas(r);
  AddrRange mapped{0, 0};
  auto p = PmaAtOrAfter(r.start);
  while (p != pmas.end() && p->first < r.end) {
    if (p->second.mapped) {
      if (mapped.end == 0) mapped.start = p->first;
      mapped.end = p->second.end;
    }
    DropBacking(p);
    p = pmas.erase(p);
  }
  if (unmap == Unmap::kYes && mapped.end != 0) space->Unmap(mapped.start, mapped.length());
  return mapped;
}

void MemoryManager::Impl::UnmapUncovered(AddrRange stale) {
  UserAddr at = stale.start;
  for (auto p = PmaAtOrAfter(at); at < stale.end; ++p) {
    while (p != pmas.end() && !p->second.mapped) ++p;
    const UserAddr next = p == pmas.end() ? stale.end : std::min(p->first, stale.end);
    if (next > at) space->Unmap(at, next - at);
    if (p == pmas.end()) return;
    at = std::max(at, p->second.end);
  }
}

bool MemoryManager::Impl::DropSome(AddrRange r, Which which) {
  IsolatePmas(r);
  AddrRange run{0, 0};
  bool any = false;
  const auto flush = [&] {
    if (run.end != 0) space->Unmap(run.start, run.length());
    run = AddrRange{0, 0};
  };
  auto p = PmaAtOrAfter(r.start);
  while (p != pmas.end() && p->first < r.end) {
    if (p->second.owned != (which == Which::kOwned)) {
      ++p;
      continue;
    }
    if (p->second.mapped) {
      any = true;
      if (run.end != p->first) flush();
      if (run.end == 0) run.start = p->first;
      run.end = p->second.end;
    }
    DropBacking(p);
    p = pmas.erase(p);
  }
  flush();
  return any;
}

void MemoryManager::Impl::FinishChange() {
  const uint64_t sequence = fresh_drops.empty() ? 0 : space->queued();
  for (Drop& d : fresh_drops) {
    d.sequence = d.sequence != 0 ? sequence : 0;
    deferred_drops.push_back(std::move(d));
  }
  fresh_drops.clear();
  Reap();
}

void MemoryManager::Impl::Reap() {
  if (deferred_drops.empty() || pins.load(std::memory_order_acquire) != 0) return;
  const uint64_t applied = space->applied();
  while (!deferred_drops.empty() && deferred_drops.front().sequence <= applied) {
    const Drop& d = deferred_drops.front();
    if (d.counted) memory_file->DecRef(d.range);
    deferred_drops.pop_front();
  }
}

void MemoryManager::Impl::SetRights(const Vma& vma, Pma& pma) {
  pma.rights = vma.prot & pma.max_prot;
  if (pma.cow) pma.rights = pma.rights & ~Prot::kWrite;
  pma.readable = platform::Any(vma.prot);
}

PmaMap::iterator MemoryManager::Impl::MapRun(PmaMap::iterator p, AddrRange r) {
  r = Intersect(r, AddrRange{p->first, p->second.end});
  if (!platform::Any(p->second.rights)) return p;
  if (p->first < r.start) {
    SplitPma(p, r.start);
    ++p;
  }
  if (p->second.end > r.end) SplitPma(p, r.end);
  Pma& pma = p->second;
  // The host's own fault-around serves a file's pages better than reading all of them in.
  space->Map(p->first, pma.end - p->first, pma.file, pma.offset, pma.rights,
             pma.counted ? platform::Populate::kNow : platform::Populate::kOnFault);
  pma.mapped = true;
  pma.changed_at = space->queued();
  return MergePma(p);
}

void MemoryManager::Impl::ReprotectPmas(const Vma& vma, AddrRange r) {
  IsolatePmas(r);
  AddrRange run{0, 0};
  UserAddr seen = 0;  // how far what follows the run, without a gap, has its rights already
  Prot run_rights = Prot::kNone;
  const auto flush = [&] {
    if (run.end != 0) space->Protect(run.start, run.length(), run_rights);
    run = AddrRange{0, 0};
  };
  for (auto p = PmaAtOrAfter(r.start); p != pmas.end() && p->first < r.end; ++p) {
    Pma& pma = p->second;
    const Prot before = pma.rights;
    SetRights(vma, pma);
    if (!pma.mapped) continue;  // a hole for the platform: a Protect may span it
    if (before == pma.rights) {  // spanned if that saves an operation; beyond a gap it would be one more
      if (run.end != 0 && run_rights == pma.rights && seen == p->first) {
        seen = pma.end;
      } else {
        flush();
      }
      continue;
    }
    pma.changed_at = space->queued() + 1;
    if (run.end != 0 && run_rights != pma.rights) flush();
    if (run.end == 0) run.start = p->first;
    run.end = seen = pma.end;
    run_rights = pma.rights;
  }
  flush();
  MergePmas(r);
}

Result<void> MemoryManager::Impl::EnsureHost(Pma& pma, uint64_t length) {
  const bool want_write = pma.MayWrite();
  if (pma.host != nullptr && (pma.host_writable || !want_write)) return Ok();
  auto window = pma.file->Window(pma.offset, length, want_write);
  if (!window.ok()) return Errno::kEFAULT;
  pma.host = window->data();
  pma.host_writable = want_write;
  return Ok();
}

}  // namespace rampart::mm
