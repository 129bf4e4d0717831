// How the kernel itself reaches application memory: copies, atomics, pins.
#include <algorithm>
#include <cstring>

#include "base/sanitizers.h"
#include "sentry/mm/memory_manager_impl.h"
#include "sentry/mm/safe_copy.h"

namespace rampart::mm {
namespace {

constexpr size_t kBringInChunk = 2 << 20;

size_t CopyFrom(const HostSegment& s, std::byte* to) {
  if (!s.stable || kThreadSanitized) return SafeCopy(to, s.host, s.length);
  std::memcpy(to, s.host, s.length);
  return s.length;
}
size_t CopyTo(const HostSegment& s, const std::byte* from) {
  if (!s.stable || kThreadSanitized) return SafeCopy(s.host, from, s.length);
  std::memcpy(s.host, from, s.length);
  return s.length;
}

uint32_t Apply(Atomic32Op op, uint32_t old, uint32_t operand) {
  switch (op) {
    case Atomic32Op::kLoad: return old;
    case Atomic32Op::kExchange:
    case Atomic32Op::kCompareExchange: return operand;
    case Atomic32Op::kAdd: return old + operand;
    case Atomic32Op::kOr: return old | operand;
    case Atomic32Op::kAnd: return old & operand;
    case Atomic32Op::kXor: return old ^ operand;
  }
  UNREACHABLE();
}

std::optional<uint32_t> AtomicOn(std::byte* at, Atomic32Op op, uint32_t operand, uint32_t expected) {
  // SAFETY: aligned (checked by the caller), within a page that `mu` keeps in place. The Safe routines cost nothing more when nothing faults.
  auto* word = reinterpret_cast<uint32_t*>(at);
  if (op == Atomic32Op::kLoad) return SafeLoad32(word);
  if (op == Atomic32Op::kCompareExchange) return SafeCompareExchange32(word, expected, operand);
  std::optional<uint32_t> old = SafeLoad32(word);
  while (old) {
    const std::optional<uint32_t> seen = SafeCompareExchange32(word, *old, Apply(op, *old, operand));
    if (seen == old) return old;
    old = seen;
  }
  return std::nullopt;
}

}  // namespace

size_t MemoryManager::Impl::Collect(UserAddr a, size_t n, bool write, HostSegments& out) {
  size_t total = 0;
  auto p = FindPma(a);
  while (total < n && p != pmas.end() && p->first <= a) {
    const Pma& pma = p->second;
    const bool usable = write ? platform::Allows(pma.rights, Prot::kWrite) && pma.host_writable : pma.readable;
    if (pma.host == nullptr || !usable) break;
    const size_t length = std::min(n - total, static_cast<size_t>(pma.end - a));
    std::byte* host = pma.host + (a - p->first);
    if (!out.empty() && out.back().host + out.back().length == host && out.back().stable == pma.stable) {
      out.back().length += length;
    } else {
      out.push_back(HostSegment{host, length, pma.stable});
    }
    total += length;
    a += length;
    ++p;
  }
  return total;
}

Result<void> MemoryManager::Impl::BringInForKernel(UserAddr a, size_t n, bool write, Force force) {
  if (a >= max_address) return Errno::kEFAULT;
  NoteThread();
  auto v = FindVma(a);
  if (v == vmas.end()) v = TRY(GrowStack(a));
  const Vma& vma = v->second;
  if (force == Force::kNo && (write ? !platform::Allows(vma.prot, Prot::kWrite) : !platform::Any(vma.prot))) return Errno::kEFAULT;
  if (force == Force::kYes && vma.file && vma.file->Secret()) return Errno::kEFAULT;
  if (force == Force::kYes && write && vma.shared && !platform::Allows(vma.prot, Prot::kWrite)) return Errno::kEFAULT;
  const uint64_t reach = std::min({static_cast<uint64_t>(n), uint64_t{kBringInChunk}, vma.end - a});
  const AddrRange required{PageDown(a), PageUp(a + reach)};
  const auto result = BringIn(v, required, force == Force::kYes ? required : Window(v, required), write ? Prot::kWrite : Prot::kRead);
  for (auto p = PmaAtOrAfter(required.start); p != pmas.end() && p->first < required.end; ++p) {
    if (p->second.host == nullptr || (write && !p->second.host_writable)) {
      if (!EnsureHost(p->second, p->second.end - p->first).ok() && p->first <= a) {
        FinishChange();
        return Errno::kEFAULT;
      }
    }
  }
  FinishChange();
  // A part may be there although a later page failed; the caller collects and sees. Only when the first page is missing it is an error.
  if (!result.ok() && FindPma(a) == pmas.end()) return Errno::kEFAULT;
  return Ok();
}

namespace {
// Runs `act` over segments; stops at the first short one.
size_t RunSegments(const HostSegments& segments, absl::FunctionRef<size_t(const HostSegment&)> act) {
  size_t done = 0;
  for (const HostSegment& s : segments) {
    const size_t moved = act(s);
    done += moved;
    if (moved < s.length) break;
  }
  return done;
}
}  // namespace

size_t MemoryManager::Impl::Access(UserAddr a, size_t n, bool write, Force force, absl::FunctionRef<size_t(const HostSegment&)> act) {
  size_t done = 0;
  HostSegments segments;
  if (force == Force::kNo) {
    absl::ReaderMutexLock lock(&mu);
    if (Collect(a, n, write, segments) != 0) done = RunSegments(segments, act);
  }
  while (done < n) {
    absl::MutexLock lock(&mu);
    const UserAddr at = a + done;
    if (at < a || !BringInForKernel(at, n - done, write, force).ok()) break;
    segments.clear();
    if (force == Force::kNo) {
      if (Collect(at, n - done, write, segments) == 0) break;
    } else {
      // Rights are not asked; only that a write does not reach somebody else's page.
      auto p = FindPma(at);
      if (p == pmas.end() || p->second.host == nullptr || (write && (p->second.cow || !p->second.host_writable))) break;
      segments.push_back(HostSegment{p->second.host + (at - p->first), std::min(n - done, static_cast<size_t>(p->second.end - at)), p->second.stable});
    }
    const size_t moved = RunSegments(segments, act);
    if (moved == 0) break;
    done += moved;
  }
  return done;
}

size_t MemoryManager::Impl::Pin(UserAddr a, size_t n, bool write, HostSegments& out) {
  {
    absl::ReaderMutexLock lock(&mu);
    const size_t got = Collect(a, n, write, out);
    // A short answer is good enough: the caller comes again for the rest.
    if (got != 0) {
      pins.fetch_add(1, std::memory_order_acq_rel);
      return got;
    }
  }
  absl::MutexLock lock(&mu);
  if (!BringInForKernel(a, n, write, Force::kNo).ok()) return 0;
  const size_t got = Collect(a, n, write, out);
  if (got != 0) pins.fetch_add(1, std::memory_order_acq_rel);
  return got;
}

Result<size_t> MemoryManager::CopyInPartial(UserAddr from, std::span<std::byte> bytes) {
  std::byte* to = bytes.data();
  const size_t done = impl_->Access(from, bytes.size(), false, Force::kNo, [&](const HostSegment& s) {
    const size_t moved = CopyFrom(s, to);
    to += moved;
    return moved;
  });
  if (done == 0 && !bytes.empty()) return Errno::kEFAULT;
  return done;
}

Result<size_t> MemoryManager::CopyOutPartial(UserAddr to, std::span<const std::byte> bytes) {
  const std::byte* from = bytes.data();
  const size_t done = impl_->Access(to, bytes.size(), true, Force::kNo, [&](const HostSegment& s) {
    const size_t moved = CopyTo(s, from);
    from += moved;
    return moved;
  });
  if (done == 0 && !bytes.empty()) return Errno::kEFAULT;
  return done;
}

Result<size_t> MemoryManager::CopyOutFromOutside(UserAddr to, std::span<const std::byte> bytes) {
  const uint64_t before = impl_->space->queued();
  const Result<size_t> done = CopyOutPartial(to, bytes);
  if (impl_->space->queued() != before) impl_->space->Kick();
  return done;
}

Result<size_t> MemoryManager::ForceCopyIn(UserAddr from, std::span<std::byte> bytes) {
  std::byte* to = bytes.data();
  const size_t done = impl_->Access(from, bytes.size(), false, Force::kYes, [&](const HostSegment& s) {
    const size_t moved = CopyFrom(s, to);
    to += moved;
    return moved;
  });
  if (done == 0 && !bytes.empty()) return Errno::kEFAULT;
  return done;
}

Result<size_t> MemoryManager::ForceCopyOut(UserAddr to, std::span<const std::byte> bytes) {
  const std::byte* from = bytes.data();
  const uint64_t before = impl_->space->queued();
  const size_t done = impl_->Access(to, bytes.size(), true, Force::kYes, [&](const HostSegment& s) {
    const size_t moved = CopyTo(s, from);
    from += moved;
    return moved;
  });
  // The writer is outside: whoever runs inside must see the new page.
  if (impl_->space->queued() != before) impl_->space->Kick();
  if (done == 0 && !bytes.empty()) return Errno::kEFAULT;
  return done;
}

Result<uint32_t> MemoryManager::Atomic32(UserAddr address, Atomic32Op op, uint32_t operand, uint32_t expected) {
  if (address % 4 != 0) return Errno::kEINVAL;
  std::optional<uint32_t> old;
  impl_->Access(address, 4, op != Atomic32Op::kLoad, Force::kNo, [&](const HostSegment& s) {
    old = AtomicOn(s.host, op, operand, expected);
    return old ? size_t{4} : size_t{0};
  });
  if (!old) return Errno::kEFAULT;
  return *old;
}

Result<uint32_t> MemoryManager::Atomic32NoFault(UserAddr address, Atomic32Op op, uint32_t operand, uint32_t expected) {
  if (address % 4 != 0) return Errno::kEINVAL;
  // Whoever brings pages in may wait for a file under this lock.
  if (!impl_->mu.ReaderTryLock()) return Errno::kEAGAIN;
  HostSegments segments;
  std::optional<uint32_t> old;
  if (impl_->Collect(address, 4, op != Atomic32Op::kLoad, segments) == 4) old = AtomicOn(segments.front().host, op, operand, expected);
  impl_->mu.ReaderUnlock();
  if (!old) return Errno::kEAGAIN;
  return *old;
}

Result<FutexKey> MemoryManager::GetFutexKey(UserAddr address, bool process_private) {
  if (address % 4 != 0) return Errno::kEINVAL;
  if (address >= impl_->max_address) return Errno::kEFAULT;
  if (process_private) return FutexKey{this, address, nullptr};
  FutexKey key{};
  bool there = false;
  {
    absl::ReaderMutexLock lock(&impl_->mu);
    const auto v = impl_->FindVma(address);
    if (v == impl_->vmas.end() || !platform::Any(v->second.prot & Prot::kReadWrite)) return Errno::kEFAULT;  // what can be executed alone is not read
    // What is private, of no file and not to be written never changes: nobody can wait for it.
    if (!v->second.file && !platform::Allows(v->second.prot, Prot::kWrite)) return Errno::kEFAULT;
    // An address is a multiple of four: the lowest bit keeps private memory apart that is waited on as if it were shared, as Linux does.
    if (!v->second.shared || !v->second.file) return FutexKey{this, address | 1, nullptr};
    key = FutexKey{v->second.file.get(), v->second.offset + (address - v->first), v->second.file};
    const auto p = impl_->PmaAtOrAfter(address);
    there = p != impl_->pmas.end() && p->first <= address;
  }
  // A file's page must exist: it may have been truncated.
  if (!there) TRY(Atomic32(address, Atomic32Op::kLoad, 0, 0));
  return key;
}

}  // namespace rampart::mm
