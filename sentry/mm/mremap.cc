#include <algorithm>

#include "sentry/mm/memory_manager_impl.h"

namespace rampart::mm {
namespace {
constexpr uint32_t kMayMove = 1;
constexpr uint32_t kFixed = 2;
constexpr uint32_t kDontUnmap = 4;
// Pages that are moved are mapped again at once up to here; the rest at the next fault, by windows.
constexpr uint64_t kRemapAtOnce = 16 << 20;
constexpr int kRunsAtOnce = 16;
}  // namespace

struct MemoryManager::Impl::RemapArgs {
  AddrRange old_range;
  uint64_t new_length;
  bool fixed;
  bool keep_old;  // MREMAP_DONTUNMAP
  UserAddr new_address;
};

void MemoryManager::Impl::MovePmas(AddrRange from, UserAddr to) {
  IsolatePmas(from);
  AddrRange mapped{0, 0};
  auto p = PmaAtOrAfter(from.start);
  while (p != pmas.end() && p->first < from.end) {
    auto next = std::next(p);
    if (p->second.mapped) {
      if (mapped.end == 0) mapped.start = p->first;
      mapped.end = p->second.end;
    }
    auto node = pmas.extract(p);
    const UserAddr start = to + (node.key() - from.start);
    node.mapped().end = start + (node.mapped().end - node.key());
    node.mapped().mapped = false;
    node.key() = start;
    pmas.insert(std::move(node));
    p = next;
  }
  if (mapped.end != 0) space->Unmap(mapped.start, mapped.length());
  const AddrRange target{to, to + from.length()};
  MergePmas(target);
  uint64_t bytes = 0;
  int runs = 0;
  for (p = PmaAtOrAfter(to); p != pmas.end() && p->first < target.end && bytes < kRemapAtOnce && runs < kRunsAtOnce; ++p, ++runs) {
    bytes += p->second.end - p->first;
    if (!p->second.mapped) p = MapRun(p, target);
  }
}

Result<UserAddr> MemoryManager::Impl::Move(const Caller& caller, const RemapArgs& args) {
  const AddrRange old = args.old_range;
  const auto source = FindVma(old.start);
  if (source == vmas.end()) return Errno::kEFAULT;
  const bool duplicate = old.length() == 0;
  Vma vma = source->second;
  if (old.end > vma.end) return Errno::kEFAULT;
  if (duplicate && !vma.shared) return Errno::kEINVAL;
  const bool unlock_old = args.keep_old && vma.locked;
  vma.offset += old.start - source->first;
  if (vma.file && vma.offset > INT64_MAX - args.new_length) return Errno::kEINVAL;
  const uint64_t more = args.keep_old || duplicate ? args.new_length : args.new_length - std::min(args.new_length, old.length());
  TRY(CheckLimits(caller, vma, more));
  if (vma.locked) TRY(CheckLockLimit(caller, more, Errno::kEAGAIN));

  UserAddr to = args.new_address;
  if (args.fixed) {
    const AddrRange target{to, to + args.new_length};
    TRY(IsolateVmas(target));
    RemoveVmas(target, Unmap::kYes);
  } else {
    to = TRY(FindGap(args.new_length, args.keep_old ? args.new_address : 0, false));
  }
  if (!args.keep_old) TRY(IsolateVmas(old));  // what stays is not cut off from what lies around it
  vma.end = to + args.new_length;
  vma.window = 0;
  const bool populate = vma.locked && !vma.lock_on_fault && args.new_length > old.length();
  TRY(InsertVma(to, std::move(vma)));
  const uint64_t kept = std::min(old.length(), args.new_length);
  if (kept != 0) MovePmas(AddrRange{old.start, old.start + kept}, to);
  if (!args.keep_old && !duplicate) RemoveVmas(old, Unmap::kYes);
  if (unlock_old) {  // all of the area, however little of it was moved (Linux: dontunmap_complete)
    const auto left = FindVma(old.start);
    if (left != vmas.end()) TRY(MarkLocked(AddrRange{left->first, left->second.end}, false, false));
  }
  if (populate) (void)PopulateRange(AddrRange{to, to + args.new_length}, Prot::kNone);
  MergeVmas(AddrRange{to, to + args.new_length});
  return to;
}

// Since Linux 6.17 a move that changes no length takes all areas of its range with it, and the holes between them.
Result<UserAddr> MemoryManager::Impl::MoveEach(const Caller& caller, const RemapArgs& args) {
  const AddrRange all = args.old_range;
  for (UserAddr at = all.start; at < all.end;) {
    const auto v = VmaAtOrAfter(at);
    if (v == vmas.end() || v->first >= all.end) break;
    const AddrRange piece{std::max(v->first, at), std::min(v->second.end, all.end)};
    at = piece.end;
    TRY(Move(caller, RemapArgs{piece, piece.length(), true, args.keep_old, args.new_address + (piece.start - all.start)}));
  }
  return args.new_address;
}

Result<UserAddr> MemoryManager::MRemap(const Caller& caller, UserAddr old_address, uint64_t old_length, uint64_t new_length, uint32_t flags,
                                       UserAddr new_address) {
  if ((flags & ~(kMayMove | kFixed | kDontUnmap)) != 0) return Errno::kEINVAL;
  if ((flags & (kFixed | kDontUnmap)) != 0 && (flags & kMayMove) == 0) return Errno::kEINVAL;
  if ((flags & kDontUnmap) != 0 && old_length != new_length) return Errno::kEINVAL;
  Impl& m = *impl_;
  AddrRange old = TRY(m.CheckRange(old_address, old_length, Errno::kEINVAL));
  new_length = TRY(CheckedPageUp(new_length, Errno::kEINVAL));
  if (new_length == 0 || new_length > m.max_address) return Errno::kEINVAL;
  const bool fixed = (flags & kFixed) != 0;
  if (fixed) {
    if (!PageAligned(new_address) || new_address > m.max_address - new_length) return Errno::kEINVAL;
    if (Overlaps(old, AddrRange{new_address, new_address + new_length})) return Errno::kEINVAL;
    if (new_address < m.min_address) return Errno::kEPERM;
  }
  absl::MutexLock lock(&m.mu);
  m.NoteThread();
  const auto v = m.FindVma(old.start);
  if (v == m.vmas.end()) return Errno::kEFAULT;
  if (v->second.sealed) return Errno::kEPERM;
  TRY(m.CheckUnsealed(old));
  if (fixed) TRY(m.CheckUnsealed(AddrRange{new_address, new_address + new_length}));

  if (fixed && old.length() > new_length) {
    if (old.start + new_length > v->second.end) return Errno::kEFAULT;
    const AddrRange tail{old.start + new_length, old.end};
    TRY(m.IsolateVmas(tail));
    m.RemoveVmas(tail, Impl::Unmap::kYes);
    old.end = tail.start;
  }
  const Impl::RemapArgs move{old, new_length, fixed, (flags & kDontUnmap) != 0, new_address};
  if (fixed || move.keep_old || old.length() == 0) {
    if (old.length() == 0 && !v->second.shared) return Errno::kEINVAL;
    if (old.length() == 0 && (flags & kMayMove) == 0) return Errno::kENOMEM;
    const bool several = fixed && old.length() == new_length && old.end > v->second.end;
    auto result = several ? m.MoveEach(caller, move) : m.Move(caller, move);
    m.FinishChange();
    return result;
  }
  if (new_length <= old.length()) {
    const AddrRange tail{old.start + new_length, old.end};
    if (tail.length() != 0) {
      TRY(m.IsolateVmas(tail));
      m.RemoveVmas(tail, Impl::Unmap::kYes);
      m.FinishChange();
    }
    return old.start;
  }
  if (old.end > v->second.end) return Errno::kEFAULT;
  const uint64_t more = new_length - old.length();
  const AddrRange beyond{old.end, old.end + more};
  const auto next = std::next(v);
  const bool room = v->second.end == old.end && beyond.end <= m.max_address && beyond.end > beyond.start &&
                    (next == m.vmas.end() || next->first >= beyond.end + (next->second.grows_down ? kStackGuardGap : 0));
  if (!room) {
    if ((flags & kMayMove) == 0) return Errno::kENOMEM;
    auto result = m.Move(caller, move);
    m.FinishChange();
    return result;
  }
  Vma extension = v->second;
  if (extension.file && extension.offset > INT64_MAX - ((old.start - v->first) + new_length)) return Errno::kEINVAL;
  extension.offset += v->second.end - v->first;
  extension.end = beyond.end;
  extension.window = 0;
  TRY(m.CheckLimits(caller, extension, more));
  if (extension.locked) TRY(m.CheckLockLimit(caller, more, Errno::kEAGAIN));
  const bool populate = extension.locked && !extension.lock_on_fault;
  if (extension.file && extension.file->AttachedBytes() != 0) {
    // The same attachment, only longer (beyond the segment there is nothing).
    m.Account(v->second, more, true);
    v->second.end = beyond.end;
    m.FinishChange();
    return old.start;
  }
  TRY(m.InsertVma(beyond.start, std::move(extension)));
  if (populate) (void)m.PopulateRange(beyond, Prot::kNone);
  m.MergeVmas(AddrRange{old.start, beyond.end});
  m.FinishChange();
  return old.start;
}

}  // namespace rampart::mm
