// madvise, msync, mincore, and what pagemap shows.
#include <algorithm>

#include "abi/mman.h"
#include "sentry/mm/memory_manager_impl.h"
#include "sentry/mm/punchable.h"

namespace rampart::mm {
namespace {

bool KnownAdvice(int advice) {
  switch (advice) {
    case abi::kMadvNormal:
    case abi::kMadvRandom:
    case abi::kMadvSequential:
    case abi::kMadvWillNeed:
    case abi::kMadvDontNeed:
    case abi::kMadvFree:
    case abi::kMadvRemove:
    case abi::kMadvDontFork:
    case abi::kMadvDoFork:
    case abi::kMadvHugePage:
    case abi::kMadvNoHugePage:
    case abi::kMadvDontDump:
    case abi::kMadvDoDump:
    case abi::kMadvWipeOnFork:
    case abi::kMadvKeepOnFork:
    case abi::kMadvCold:
    case abi::kMadvPageOut:
    case abi::kMadvPopulateRead:
    case abi::kMadvPopulateWrite:
    case abi::kMadvDontNeedLocked: return true;
    default: return false;
  }
}

// Sets the flag that an advice stands for. False if the advice is none of these.
bool SetFlag(Vma& vma, int advice) {
  switch (advice) {
    case abi::kMadvDontFork: vma.dont_fork = true; return true;
    case abi::kMadvDoFork: vma.dont_fork = false; return true;
    case abi::kMadvDontDump: vma.dont_dump = true; return true;
    case abi::kMadvDoDump: vma.dont_dump = false; return true;
    case abi::kMadvWipeOnFork: vma.wipe_on_fork = true; return true;
    case abi::kMadvKeepOnFork: vma.wipe_on_fork = false; return true;
    default: return false;
  }
}

// What would change the contents of a sealed area that the application may not write (Linux: can_madvise_modify).
bool Discards(int advice) {
  return advice == abi::kMadvDontNeed || advice == abi::kMadvDontNeedLocked || advice == abi::kMadvFree || advice == abi::kMadvRemove ||
         advice == abi::kMadvDontFork || advice == abi::kMadvWipeOnFork;
}

Result<void> CheckAdvice(const Vma& vma, int advice) {
  if (vma.sealed && Discards(advice) && !vma.shared && !platform::Allows(vma.prot, Prot::kWrite)) return Errno::kEPERM;
  switch (advice) {
    case abi::kMadvDontNeed:
    case abi::kMadvCold:
    case abi::kMadvPageOut: return vma.locked ? Result<void>(Errno::kEINVAL) : Ok();
    case abi::kMadvFree: return vma.anonymous() ? Ok() : Result<void>(Errno::kEINVAL);
    case abi::kMadvWipeOnFork: return vma.anonymous() && !vma.shared ? Ok() : Result<void>(Errno::kEINVAL);
    case abi::kMadvRemove:
      if (vma.locked || !vma.file) return Errno::kEINVAL;
      return vma.shared && platform::Allows(vma.max_prot, Prot::kWrite) ? Ok() : Result<void>(Errno::kEACCES);
    default: return Ok();
  }
}

}  // namespace

// MADV_POPULATE_…: area by area, up to the first hole (ENOMEM) or area that does not allow the access (EINVAL).
Result<void> MemoryManager::Impl::PopulateAsAsked(AddrRange range, Prot access) {
  for (UserAddr at = range.start; at < range.end;) {
    const auto v = FindVma(at);
    if (v == vmas.end()) return Errno::kENOMEM;
    if (!platform::Allows(v->second.prot, access)) return Errno::kEINVAL;
    const AddrRange part{at, std::min(range.end, v->second.end)};
    TRY(PopulateRange(part, access));
    at = part.end;
  }
  return Ok();
}

// MADV_REMOVE: area by area; a file's hole is told to all that map it, so not under the lock.
Result<void> MemoryManager::Impl::RemovePages(AddrRange range) {
  Result<void> result;
  for (UserAddr at = range.start; at < range.end;) {
    RefPtr<Mappable> file;
    FileRange hole{0, 0};
    {
      absl::ReaderMutexLock lock(&mu);
      const auto v = VmaAtOrAfter(at);
      if (v == vmas.end() || v->first >= range.end) return Errno::kENOMEM;
      if (v->first > at) result = Errno::kENOMEM;
      TRY(CheckAdvice(v->second, abi::kMadvRemove));
      const AddrRange part = Intersect(range, AddrRange{v->first, v->second.end});
      file = v->second.file;
      hole = FileRangeOf(v->second, v->first, part);
      at = part.end;
    }
    auto* const punchable = dynamic_cast<Punchable*>(file.get());
    if (punchable == nullptr) return Errno::kEOPNOTSUPP;
    TRY(punchable->PunchPages(hole));
  }
  return result;
}

Result<void> MemoryManager::MAdvise(UserAddr address, uint64_t length, int advice) {
  if (!KnownAdvice(advice)) return Errno::kEINVAL;
  const AddrRange range = TRY(impl_->CheckRange(address, length, Errno::kEINVAL));
  if (range.length() == 0) return Ok();
  Impl& m = *impl_;
  if (advice == abi::kMadvRemove) return m.RemovePages(range);
  absl::MutexLock lock(&m.mu);
  m.NoteThread();
  if (advice == abi::kMadvPopulateRead || advice == abi::kMadvPopulateWrite) {
    const Prot access = advice == abi::kMadvPopulateWrite ? Prot::kWrite : Prot::kRead;
    const auto result = m.PopulateAsAsked(range, access);
    m.FinishChange();
    if (!result.ok() && result.error() == Errno::kEIO) return Errno::kEFAULT;
    return result;
  }
  Result<void> result;
  if (Vma probe; SetFlag(probe, advice)) TRY(m.IsolateVmas(range));
  UserAddr at = range.start;
  for (auto v = m.VmaAtOrAfter(at); at < range.end; ++v) {
    if (v == m.vmas.end() || v->first >= range.end) {
      result = Errno::kENOMEM;  // a hole at the end; what lay before it was advised
      break;
    }
    if (v->first > at) result = Errno::kENOMEM;
    Vma& vma = v->second;
    const AddrRange part = Intersect(range, AddrRange{v->first, vma.end});
    if (const auto allowed = CheckAdvice(vma, advice); !allowed.ok()) {
      result = allowed;
      break;
    }
    if (!SetFlag(vma, advice)) {
      if (advice == abi::kMadvDontNeed || advice == abi::kMadvDontNeedLocked || advice == abi::kMadvFree) {
        m.DropPmas(part, Impl::Unmap::kYes);
        vma.window = 0;
      }
      // The rest (WILLNEED, COLD, HUGEPAGE, …) is advice that Linux, too, is free to ignore.
    }
    at = part.end;
  }
  m.MergeVmas(range);
  m.FinishChange();
  return result;
}

Result<void> MemoryManager::MSeal(UserAddr address, uint64_t length) {
  const AddrRange range = TRY(impl_->CheckRange(address, length, Errno::kEINVAL));
  if (range.length() == 0) return Ok();
  Impl& m = *impl_;
  absl::MutexLock lock(&m.mu);
  m.NoteThread();
  if (!m.RangeCovered(range)) return Errno::kENOMEM;
  TRY(m.IsolateVmas(range));
  for (auto v = m.FindVma(range.start); v != m.vmas.end() && v->first < range.end; ++v) v->second.sealed = true;
  m.MergeVmas(range);
  return Ok();
}

Result<void> MemoryManager::MSync(UserAddr address, uint64_t length, uint32_t flags) {
  if ((flags & ~(abi::kMsAsync | abi::kMsInvalidate | abi::kMsSync)) != 0) return Errno::kEINVAL;
  if ((flags & abi::kMsAsync) != 0 && (flags & abi::kMsSync) != 0) return Errno::kEINVAL;
  const AddrRange range = TRY(impl_->CheckRange(address, length, Errno::kENOMEM));
  if (range.length() == 0) return Ok();
  struct Piece {
    Ref<Mappable> file;
    FileRange range;
  };
  std::vector<Piece> pieces;
  bool hole = false;
  {
    Impl& m = *impl_;
    absl::MutexLock lock(&m.mu);
    hole = !m.RangeCovered(range);
    for (auto v = m.VmaAtOrAfter(range.start); v != m.vmas.end() && v->first < range.end; ++v) {
      const Vma& vma = v->second;
      if ((flags & abi::kMsInvalidate) != 0 && vma.locked) return Errno::kEBUSY;
      if ((flags & abi::kMsSync) == 0 || !vma.shared || !vma.file) continue;
      pieces.push_back(Piece{vma.file.ToRef(), FileRangeOf(vma, v->first, Intersect(range, AddrRange{v->first, vma.end}))});
    }
  }
  // Writing back may wait for a Gofer: not under the lock.
  for (const Piece& piece : pieces) TRY(piece.file->Msync(piece.range));
  if (hole) return Errno::kENOMEM;
  return Ok();
}

Result<void> MemoryManager::MIncore(UserAddr address, uint64_t length, std::vector<uint8_t>& residency) {
  if (!PageAligned(address)) return Errno::kEINVAL;
  const AddrRange range = TRY(impl_->CheckRange(address, length, Errno::kENOMEM));
  if (range.end > impl_->max_address) return Errno::kENOMEM;
  Impl& m = *impl_;
  absl::ReaderMutexLock lock(&m.mu);
  if (range.length() != 0 && !m.RangeCovered(range)) return Errno::kENOMEM;
  residency.assign(range.length() / kPageSize, 0);
  const auto mark = [&](AddrRange r) {
    r = Intersect(r, range);
    for (UserAddr a = r.start; a < r.end; a += kPageSize) residency[(a - range.start) / kPageSize] = 1;
  };
  for (auto p = m.PmaAtOrAfter(range.start); p != m.pmas.end() && p->first < range.end; ++p) mark(AddrRange{p->first, p->second.end});
  // A file's pages count as cached, wherever they are.
  for (auto v = m.VmaAtOrAfter(range.start); v != m.vmas.end() && v->first < range.end; ++v) {
    if (v->second.file) mark(AddrRange{v->first, v->second.end});
  }
  return Ok();
}

void MemoryManager::PageMap(UserAddr start, std::span<uint64_t> entries) const {
  constexpr uint64_t kExclusive = uint64_t{1} << 56, kOfFile = uint64_t{1} << 61, kPresent = uint64_t{1} << 63;
  std::fill(entries.begin(), entries.end(), 0);
  Impl& m = *impl_;
  const AddrRange range{start, start + entries.size() * kPageSize};
  absl::ReaderMutexLock lock(&m.mu);
  for (auto p = m.PmaAtOrAfter(range.start); p != m.pmas.end() && p->first < range.end; ++p) {
    const Pma& pma = p->second;
    const AddrRange part = Intersect(range, AddrRange{p->first, pma.end});
    for (UserAddr a = part.start; a < part.end; a += kPageSize) {
      uint64_t& entry = entries[(a - range.start) / kPageSize];
      entry = kPresent | (pma.owned ? 0 : kOfFile);
      if (pma.owned && m.memory_file->Unshared(pma.offset + (a - p->first))) entry |= kExclusive;
    }
  }
}

}  // namespace rampart::mm
