#include "sentry/mm/memory_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/synchronization/mutex.h"
#include "base/host.h"
#include "base/safe_math.h"
#include "sentry/mm/statistics.h"

// Debian 12's libc headers have it; older kernels (< 5.14) answer EINVAL.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace rampart::mm {
namespace {

constexpr uint64_t kMaxReservation = uint64_t{256} << 30;
constexpr uint64_t kMinReservation = uint64_t{1} << 30;
constexpr uint64_t kGrowth = uint64_t{64} << 20;       // the memfd's size grows by multiples of this
constexpr uint64_t kSmall = 256 << 10;                 // up to here committed pages are taken from a batch
constexpr uint64_t kCommitBatch = 512 << 10;
constexpr uint64_t kKeepFree = uint64_t{128} << 20;    // unreferenced memory kept for reuse

int SizeClass(uint64_t length) { return static_cast<int>(std::bit_width(length >> 12)) - 1; }

// Free ranges of one kind, coalesced, found by size.
class RunSet {
 public:
  uint64_t bytes() const { return bytes_; }

  void Add(FileRange r) {
    bytes_ += r.length();
    auto next = runs_.lower_bound(r.start);
    if (next != runs_.begin()) {
      auto prev = std::prev(next);
      if (prev->second == r.start) {
        r.start = prev->first;
        Forget(FileRange{prev->first, prev->second});
        next = runs_.lower_bound(r.start);
      }
    }
    if (next != runs_.end() && next->first == r.end) {
      r.end = next->second;
      Forget(FileRange{next->first, next->second});
    }
    Remember(r);
  }

  // Takes `length` bytes from the first run of the smallest class that surely fits, else from one that happens to.
  bool Take(uint64_t length, FileRange* out) {
    if (bytes_ < length) return false;
    const int exact = SizeClass(length);
    for (int c = exact + ((length >> 12) == (uint64_t{1} << exact) ? 0 : 1); c < kClasses; ++c) {
      if (!by_class_[static_cast<size_t>(c)].empty()) return TakeFrom(*by_class_[static_cast<size_t>(c)].begin(), length, out);
    }
    int tries = 0;
    for (const uint64_t start : by_class_[static_cast<size_t>(exact)]) {
      if (runs_.find(start)->second - start >= length) return TakeFrom(start, length, out);
      if (++tries == 16) break;
    }
    return false;
  }

  // Takes the biggest-class run whole.
  bool TakeLargest(FileRange* out) {
    for (int c = kClasses - 1; c >= 0; --c) {
      auto& set = by_class_[static_cast<size_t>(c)];
      if (set.empty()) continue;
      const uint64_t start = *set.begin();
      *out = FileRange{start, runs_.find(start)->second};
      Forget(*out);
      bytes_ -= out->length();
      return true;
    }
    return false;
  }

 private:
  static constexpr int kClasses = 40;

  bool TakeFrom(uint64_t start, uint64_t length, FileRange* out) {
    const FileRange whole{start, runs_.find(start)->second};
    Forget(whole);
    *out = FileRange{start, start + length};
    if (whole.end != out->end) Remember(FileRange{out->end, whole.end});
    bytes_ -= length;
    return true;
  }
  void Remember(FileRange r) {
    runs_.emplace(r.start, r.end);
    by_class_[static_cast<size_t>(SizeClass(r.length()))].insert(r.start);
  }
  void Forget(FileRange r) {
    runs_.erase(r.start);
    by_class_[static_cast<size_t>(SizeClass(r.length()))].erase(r.start);
  }

  absl::btree_map<uint64_t, uint64_t> runs_;
  std::array<absl::btree_set<uint64_t>, kClasses> by_class_;
  uint64_t bytes_ = 0;
};

// Brings the pages in. True on success.
bool Populate(std::byte* at, uint64_t length) {
  for (;;) {
    if (madvise(at, length, MADV_POPULATE_WRITE) == 0) return true;
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno != EINVAL) return false;
    break;
  }
  // An older kernel: touch each page. An atomic no-op write, so that it is not optimised away.
  for (uint64_t i = 0; i < length; i += kPageSize) {
    // SAFETY: within the memory file's mapping, below the file's end.
    __atomic_fetch_or(reinterpret_cast<uint8_t*>(at + i), uint8_t{0}, __ATOMIC_RELAXED);
  }
  return true;
}

std::atomic<uint64_t> peak_bytes{0};  // written under State::mu; a process has one MemoryFile, but for tests

}  // namespace

uint64_t PeakMemoryBytes() { return peak_bytes.load(std::memory_order_relaxed); }

struct MemoryFile::State {
  mutable absl::Mutex mu;
  uint64_t reserved = 0;               // bytes of address space, immutable
  std::atomic<uint32_t>* counts = nullptr;  // one a page of the reservation, immutable pointer
  uint64_t limit ABSL_GUARDED_BY(mu) = 0;
  uint64_t host = 0;                   // memory that the host has, immutable
  std::atomic<uint64_t> total{0};      // changed with limit
  uint64_t frontier ABSL_GUARDED_BY(mu) = 0;  // never handed out at and above
  uint64_t file_size ABSL_GUARDED_BY(mu) = 0;
  uint64_t used ABSL_GUARDED_BY(mu) = 0;
  RunSet dirty ABSL_GUARDED_BY(mu);   // committed, old bytes
  RunSet clean ABSL_GUARDED_BY(mu);   // committed, zero
  RunSet holes ABSL_GUARDED_BY(mu);   // not committed

  std::atomic<uint32_t>& count(uint64_t offset) const { return counts[offset / kPageSize]; }
};

MemoryFile::MemoryFile(UniqueFd fd, std::byte* base, uint64_t limit) : fd_(std::move(fd)), base_(base), state_(std::make_unique<State>()) {
  absl::MutexLock lock(&state_->mu);
  state_->limit = limit;
}

Result<Ref<MemoryFile>> MemoryFile::Create(UniqueFd fd, uint64_t limit) {
  for (uint64_t size = kMaxReservation; size >= kMinReservation; size /= 2) {
    // The mapping reaches past the file's end; only pages below it are ever touched.
    void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
    if (base == MAP_FAILED) continue;
    const uint64_t count_bytes = size / kPageSize * sizeof(std::atomic<uint32_t>);
    void* counts = mmap(nullptr, count_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (counts == MAP_FAILED) {
      munmap(base, size);
      continue;
    }
    // A core dump of the Sentry must not hold the application's memory.
    madvise(base, size, MADV_DONTDUMP);
    Ref<MemoryFile> file = MakeRef<MemoryFile>(std::move(fd), static_cast<std::byte*>(base), limit);
    file->state_->reserved = size;
    const uint64_t pages = HostMemoryBytes() / kPageSize;
    file->state_->host = pages > 0 ? static_cast<uint64_t>(pages) * kPageSize : size;
    file->state_->total.store(limit == 0 ? file->state_->host : std::min(limit, file->state_->host), std::memory_order_relaxed);
    // SAFETY: zero-filled memory of the right size and alignment; a zero atomic is all zero bits.
    file->state_->counts = static_cast<std::atomic<uint32_t>*>(counts);
    return file;
  }
  return Errno::kENOMEM;
}

MemoryFile::~MemoryFile() {
  munmap(base_, state_->reserved);
  munmap(state_->counts, state_->reserved / kPageSize * sizeof(std::atomic<uint32_t>));
}

Result<FileRange> MemoryFile::Allocate(uint64_t length, Commit commit) {
  CHECK(length > 0 && PageAligned(length));
  State& s = *state_;
  if (length >= s.reserved) return Errno::kENOMEM;
  // A small lazy range is served like a committed one when committed pages lie ready anyway.
  enum class Source { kDirty, kClean, kHole } source;
  FileRange range;
  uint64_t extra = 0;  // committed beyond `range`, for the next
  bool trim_first = false;
  {
    absl::MutexLock lock(&s.mu);
    if (s.limit != 0 && (length > s.limit || s.used > s.limit - length)) return Errno::kENOMEM;
    const bool reuse = commit != Commit::kLazily || length <= kSmall;
    if (reuse && s.dirty.Take(length, &range)) {
      source = Source::kDirty;
    } else if (reuse && s.clean.Take(length, &range)) {
      source = Source::kClean;
    } else {
      source = Source::kHole;
      trim_first = s.limit != 0 && s.used + s.dirty.bytes() + s.clean.bytes() + length > s.limit;
      if (!s.holes.Take(length, &range)) {
        if (s.frontier + length > s.reserved) return Errno::kENOMEM;
        if (commit != Commit::kLazily && length < kSmall && s.frontier + kCommitBatch <= s.reserved && !trim_first) {
          extra = kCommitBatch - length;
        }
        const uint64_t end = s.frontier + length + extra;
        if (end > s.file_size) {
          const uint64_t size = std::min(s.reserved, (end + kGrowth - 1) / kGrowth * kGrowth);
          if (ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) return Errno::kENOMEM;
          s.file_size = size;
        }
        range = FileRange{s.frontier, s.frontier + length};
        s.frontier = end;
      }
    }
    s.used += length;
    if (s.used > peak_bytes.load(std::memory_order_relaxed)) peak_bytes.store(s.used, std::memory_order_relaxed);
  }
  if (trim_first) Trim();
  if (source == Source::kDirty && commit != Commit::kNowUninitialized) {
    std::memset(At(range.start), 0, length);
  } else if (source == Source::kHole && commit != Commit::kLazily) {
    if (!Populate(At(range.start), length + extra)) {
      absl::MutexLock lock(&s.mu);
      s.used -= length;
      s.dirty.Add(FileRange{range.start, range.end + extra});
      return Errno::kENOMEM;
    }
  }
  for (uint64_t o = range.start; o < range.end; o += kPageSize) s.count(o).store(1, std::memory_order_relaxed);
  if (extra != 0) {
    absl::MutexLock lock(&s.mu);
    s.clean.Add(FileRange{range.end, range.end + extra});
  }
  return range;
}

void MemoryFile::IncRef(FileRange range) {
  for (uint64_t o = range.start; o < range.end; o += kPageSize) {
    const uint32_t before = state_->count(o).fetch_add(1, std::memory_order_relaxed);
    CHECK(before != 0 && before != UINT32_MAX);
  }
}

void MemoryFile::DecRef(FileRange range) {
  State& s = *state_;
  uint64_t freed_from = range.start;
  const auto flush = [&](uint64_t end) {
    if (freed_from == end) return;
    absl::MutexLock lock(&s.mu);
    s.used -= end - freed_from;
    s.dirty.Add(FileRange{freed_from, end});
  };
  for (uint64_t o = range.start; o < range.end; o += kPageSize) {
    const uint32_t before = s.count(o).fetch_sub(1, std::memory_order_acq_rel);
    CHECK(before != 0);
    if (before != 1) {
      flush(o);
      freed_from = o + kPageSize;
    }
  }
  flush(range.end);

  for (;;) {
    FileRange victim;
    {
      absl::MutexLock lock(&s.mu);
      const uint64_t keep = s.limit == 0 ? kKeepFree : std::min(kKeepFree, s.limit / 8);
      if (s.dirty.bytes() <= keep || !s.dirty.TakeLargest(&victim)) return;
    }
    // The hole is punched outside the lock: meanwhile the range belongs to nobody.
    const bool punched = madvise(At(victim.start), victim.length(), MADV_REMOVE) == 0;
    absl::MutexLock lock(&s.mu);
    (punched ? s.holes : s.dirty).Add(victim);
    if (!punched) return;
  }
}

bool MemoryFile::Unshared(uint64_t offset) const { return state_->count(offset).load(std::memory_order_acquire) == 1; }

uint64_t MemoryFile::UnsharedUntil(FileRange range) const {
  uint64_t o = range.start;
  while (o < range.end && Unshared(o)) o += kPageSize;
  return o;
}

MemoryFile::Usage MemoryFile::usage() const {
  absl::MutexLock lock(&state_->mu);
  return Usage{state_->used, state_->dirty.bytes() + state_->clean.bytes(), state_->limit};
}

uint64_t MemoryFile::total_bytes() const { return state_->total.load(std::memory_order_relaxed); }

Result<void> MemoryFile::SetLimit(uint64_t limit) {
  State& s = *state_;
  absl::MutexLock lock(&s.mu);
  if (limit != 0 && s.used > limit) return Errno::kEBUSY;
  s.limit = limit;
  s.total.store(limit == 0 ? s.host : std::min(limit, s.host), std::memory_order_relaxed);
  return Ok();
}

void MemoryFile::Trim() {
  State& s = *state_;
  std::vector<FileRange> kept;
  for (;;) {
    FileRange victim;
    {
      absl::MutexLock lock(&s.mu);
      if (!s.dirty.TakeLargest(&victim) && !s.clean.TakeLargest(&victim)) break;
    }
    if (madvise(At(victim.start), victim.length(), MADV_REMOVE) != 0) {
      kept.push_back(victim);
      continue;
    }
    absl::MutexLock lock(&s.mu);
    s.holes.Add(victim);
  }
  absl::MutexLock lock(&s.mu);
  for (const FileRange& r : kept) s.dirty.Add(r);
}

Result<std::span<std::byte>> MemoryFile::Window(uint64_t offset, uint64_t length, bool) {
  if (length > state_->reserved || offset > state_->reserved - length) return Errno::kEINVAL;
  return std::span(base_ + offset, length);
}

}  // namespace rampart::mm
