#include "sentry/fs/tmpfs/tmpfs_file.h"

#include <algorithm>
#include <cstring>

#include "base/safe_math.h"
#include "sentry/mm/io.h"

namespace rampart::fs {
namespace {

constexpr uint32_t kFallocKeepSize = 1, kFallocPunchHole = 2;
constexpr uint64_t kMaxSize = INT64_MAX;

}  // namespace

TmpfsFile::TmpfsFile(Ref<Tmpfs> fs, uint64_t ino, const vfs::CreateArgs& args) : TmpfsInode(std::move(fs), ino, args) {}

TmpfsFile::~TmpfsFile() {
  absl::MutexLock lock(&mu_);
  Release(pages_.Remove(0, UINT64_MAX));
}

void TmpfsFile::Release(const std::vector<mm::FileRange>& ranges) {
  for (const mm::FileRange& range : ranges) {
    tmpfs().memory()->DecRef(range);
    tmpfs().UnchargePages(range.length() / kPageSize);
    blocks_.fetch_sub(range.length() / kPageSize, std::memory_order_relaxed);
  }
}

void TmpfsFile::FillAttr(vfs::Attr& attr) {
  attr.size = size();
  attr.blocks = blocks_.load(std::memory_order_relaxed) * (kPageSize / 512);
}

size_t TmpfsFile::CopyOutLocked(uint64_t offset, std::span<const iovec> segments, size_t limit) {
  size_t moved = 0;
  PageStore::Run run{0, 0, 0};
  for (const iovec& segment : segments) {
    auto* to = static_cast<std::byte*>(segment.iov_base);
    size_t left = std::min(segment.iov_len, limit - moved);
    while (left > 0) {
      const uint64_t page = offset / kPageSize;
      if (page < run.page || page >= run.page + run.pages) run = pages_.Find(page).value_or(PageStore::Run{0, 0, 0});
      size_t n;
      if (run.pages == 0) {
        const uint64_t present = pages_.NextPresent(page);
        n = present == UINT64_MAX ? left : std::min<uint64_t>(left, present * kPageSize - offset);
        mm::ZeroAppMemory(to, n);
      } else {
        const uint64_t in_run = offset - run.page * kPageSize;
        n = std::min<uint64_t>(left, run.pages * kPageSize - in_run);
        mm::CopyAppMemory(to, tmpfs().memory()->At(run.memory + in_run), n);
      }
      to += n;
      left -= n;
      offset += n;
      moved += n;
    }
  }
  return moved;
}

Result<size_t> TmpfsFile::ReadAt(mm::IoDst& dst, uint64_t offset) {
  const uint64_t known_size = size();
  if (offset >= known_size) return size_t{0};
  const size_t max = std::min<uint64_t>(dst.remaining(), known_size - offset);
  return dst.Fill(max, [&](std::span<const iovec> segments) -> Result<size_t> {
    absl::ReaderMutexLock lock(&mu_);
    const uint64_t size_now = size();
    if (offset >= size_now) return size_t{0};
    const size_t n = CopyOutLocked(offset, segments, size_now - offset);
    offset += n;
    return n;
  });
}

Result<uint64_t> TmpfsFile::FillLocked(uint64_t page, uint64_t pages, mm::MemoryFile::Commit commit) {
  const uint64_t present = pages_.NextPresent(page);
  const uint64_t count = std::min(pages, present - page);
  TRY(tmpfs().ChargePages(count));
  const Result<mm::FileRange> range = tmpfs().memory()->Allocate(count * kPageSize, commit);
  if (!range.ok()) {
    tmpfs().UnchargePages(count);
    return range.error();
  }
  pages_.Insert({page, count, range->start});
  blocks_.fetch_add(count, std::memory_order_relaxed);
  return count;
}

Result<size_t> TmpfsFile::CopyInLocked(uint64_t offset, std::span<const iovec> segments) {
  size_t total = 0;
  for (const iovec& segment : segments) total += segment.iov_len;
  size_t moved = 0;
  PageStore::Run run{0, 0, 0};
  for (const iovec& segment : segments) {
    const auto* from = static_cast<const std::byte*>(segment.iov_base);
    size_t left = segment.iov_len;
    while (left > 0) {
      const uint64_t page = offset / kPageSize;
      if (page < run.page || page >= run.page + run.pages) {
        std::optional<PageStore::Run> found = pages_.Find(page);
        if (!found) {
          const uint64_t want = PageUp(offset + (total - moved)) / kPageSize - page;
          const Result<uint64_t> filled = FillLocked(page, want, mm::MemoryFile::Commit::kNow);
          if (!filled.ok()) {
            if (moved > 0) return moved;
            return filled.error();
          }
          found = pages_.Find(page);
        }
        run = *found;
      }
      const uint64_t in_run = offset - run.page * kPageSize;
      const size_t n = std::min<uint64_t>(left, run.pages * kPageSize - in_run);
      mm::CopyAppMemory(tmpfs().memory()->At(run.memory + in_run), from, n);
      from += n;
      left -= n;
      offset += n;
      moved += n;
      if (offset > size()) size_.store(offset, std::memory_order_release);
    }
  }
  return moved;
}

// How many bytes of a write the seals let through: whole pages, as it is judged page by page.
Result<uint64_t> TmpfsFile::CheckWriteSeals(uint64_t offset, uint64_t length) const {
  const uint32_t s = seals();
  if ((s & (kSealWrite | kSealFutureWrite)) != 0) return Errno::kEPERM;
  if ((s & kSealGrow) == 0 || offset + length <= size()) return length;
  const uint64_t end = PageDown(size());
  return end > offset ? Result<uint64_t>(end - offset) : Errno::kEPERM;
}

Result<size_t> TmpfsFile::WriteAt(mm::IoSrc& src, uint64_t offset, bool append, uint64_t& end) {
  absl::MutexLock io_lock(&io_mu_);
  end = offset;
  if (src.remaining() == 0) return size_t{0};
  if (append) offset = size();
  if (offset >= kMaxSize) return Errno::kEFBIG;
  const uint64_t max = TRY(CheckWriteSeals(offset, std::min<uint64_t>(src.remaining(), kMaxSize - offset)));
  const Result<size_t> moved = src.Drain(max, [&](std::span<const iovec> segments) -> Result<size_t> {
    absl::MutexLock lock(&mu_);
    const size_t n = TRY(CopyInLocked(offset, segments));
    offset += n;
    return n;
  });
  if (moved.ok() && *moved > 0) TouchModify(RealtimeNow());
  end = offset;
  return moved;
}

void TmpfsFile::ZeroLocked(uint64_t start, uint64_t end) {
  while (start < end) {
    const uint64_t next = std::min(end, PageDown(start) + kPageSize);
    if (const std::optional<PageStore::Run> run = pages_.Find(start / kPageSize)) {
      std::memset(tmpfs().memory()->At(run->memory + (start - run->page * kPageSize)), 0, next - start);
    }
    start = next;
  }
}

Result<void> TmpfsFile::Resize(uint64_t new_size) {
  if (new_size > kMaxSize) return Errno::kEFBIG;
  absl::MutexLock io_lock(&io_mu_);
  const uint64_t old_size = size();
  if (new_size < old_size && (seals() & kSealShrink) != 0) return Errno::kEPERM;
  if (new_size > old_size && (seals() & kSealGrow) != 0) return Errno::kEPERM;
  std::vector<mm::FileRange> freed;
  {
    absl::MutexLock lock(&mu_);
    size_.store(new_size, std::memory_order_release);
    if (new_size >= old_size) return Ok();
    // What a later extension shows between here and the page's end must be zeros.
    ZeroLocked(new_size, std::min(PageUp(new_size), PageUp(old_size)));
    freed = pages_.Remove(PageUp(new_size) / kPageSize, UINT64_MAX);
  }
  mappings_.Invalidate(*this, {PageUp(new_size), PageDown(UINT64_MAX)}, true);
  Release(freed);
  return Ok();
}

std::optional<uint64_t> TmpfsFile::PagesInMemory(uint64_t first, uint64_t last) {
  absl::ReaderMutexLock lock(&mu_);
  return pages_.CountIn(first, last);
}

Result<uint64_t> TmpfsFile::SeekData(uint64_t offset, bool data) {
  absl::ReaderMutexLock lock(&mu_);
  const uint64_t size_now = size();
  if (offset >= size_now) return Errno::kENXIO;
  const uint64_t page = offset / kPageSize;
  if (data) {
    const uint64_t present = pages_.NextPresent(page);
    if (present == UINT64_MAX || present * kPageSize >= size_now) return Errno::kENXIO;
    return std::max(offset, present * kPageSize);
  }
  return std::min(size_now, std::max(offset, pages_.NextAbsent(page) * kPageSize));
}

Result<void> TmpfsFile::PunchHole(uint64_t offset, uint64_t length) {
  if ((seals() & (kSealWrite | kSealFutureWrite)) != 0) return Errno::kEPERM;
  const uint64_t end = offset + length;
  const uint64_t first = PageUp(offset), last = std::max(first, PageDown(end));
  std::vector<mm::FileRange> freed;
  {
    absl::MutexLock lock(&mu_);
    ZeroLocked(offset, std::min(first, end));
    if (PageDown(end) >= first) ZeroLocked(PageDown(end), end);
    freed = pages_.Remove(first / kPageSize, last / kPageSize);
  }
  if (first < last) mappings_.Invalidate(*this, {first, last}, false);
  Release(freed);
  return Ok();
}

Result<void> TmpfsFile::Allocate(uint32_t mode, uint64_t offset, uint64_t length) {
  if ((mode & ~(kFallocKeepSize | kFallocPunchHole)) != 0) return Errno::kEOPNOTSUPP;
  const uint64_t end = TRY(CheckedAdd(offset, length, Errno::kEFBIG));
  if (end > kMaxSize) return Errno::kEFBIG;
  absl::MutexLock io_lock(&io_mu_);
  if ((mode & kFallocPunchHole) != 0) {
    if ((mode & kFallocKeepSize) == 0) return Errno::kEOPNOTSUPP;
    TRY(PunchHole(offset, length));
    TouchModify(RealtimeNow());
    return Ok();
  }
  if ((seals() & kSealGrow) != 0 && end > size()) return Errno::kEPERM;
  constexpr uint64_t kChunk = 4096;  // pages
  std::vector<std::pair<uint64_t, uint64_t>> done;  // to be undone on failure
  absl::MutexLock lock(&mu_);
  const uint64_t last = PageUp(end) / kPageSize;
  for (uint64_t page = pages_.NextAbsent(offset / kPageSize); page < last; page = pages_.NextAbsent(page)) {
    const Result<uint64_t> filled = FillLocked(page, std::min(kChunk, last - page), mm::MemoryFile::Commit::kLazily);
    if (!filled.ok()) {
      for (const auto& [from, count] : done) Release(pages_.Remove(from, from + count));
      return filled.error() == Errno::kENOMEM ? Errno::kENOSPC : filled.error();
    }
    done.emplace_back(page, *filled);
  }
  if ((mode & kFallocKeepSize) == 0 && end > size()) size_.store(end, std::memory_order_release);
  TouchModify(RealtimeNow());
  return Ok();
}

Result<mm::Translation> TmpfsFile::Translate(mm::FileRange required, mm::FileRange optional, bool) {
  absl::MutexLock lock(&mu_);
  const uint64_t end = PageUp(std::min(size(), kMaxSize - kPageSize));
  if (required.start >= end) return Errno::kEFAULT;
  const uint64_t page = required.start / kPageSize;
  std::optional<PageStore::Run> run = pages_.Find(page);
  if (!run) {
    const uint64_t want = std::min(required.end, end) / kPageSize - page;
    TRY(FillLocked(page, std::max<uint64_t>(want, 1), mm::MemoryFile::Commit::kNow));
    run = pages_.Find(page);
  }
  const uint64_t first = std::max(run->page, optional.start / kPageSize);
  const uint64_t last = std::min({run->page + run->pages, optional.end / kPageSize, end / kPageSize});
  const uint64_t memory = run->memory + (first - run->page) * kPageSize;
  tmpfs().memory()->IncRef({memory, memory + (last - first) * kPageSize});
  using platform::Prot;
  const bool sealed = (seals() & (kSealWrite | kSealFutureWrite)) != 0;
  return mm::Translation{{first * kPageSize, last * kPageSize}, tmpfs().memory(), memory, sealed ? Prot::kReadExec : Prot::kAll};
}

Result<void> TmpfsFile::AddMapping(mm::MappingSpace& space, mm::FileRange range, bool shared, bool writable) {
  mappings_.Add(space, range, shared, writable);
  return Ok();
}

void TmpfsFile::RemoveMapping(mm::MappingSpace& space, mm::FileRange range, bool shared, bool writable) {
  mappings_.Remove(space, range, shared, writable);
}

Result<void> TmpfsFile::SetAttr(const Caller& caller, const vfs::AttrChange& change) {
  const bool other_execution = change.permissions && ((*change.permissions ^ permissions()) & 0111) != 0;
  if (other_execution && (seals() & kSealExec) != 0) return Errno::kEPERM;
  return TmpfsInode::SetAttr(caller, change);
}

Result<void> TmpfsFile::AddSeals(uint32_t added) {
  absl::MutexLock io_lock(&io_mu_);
  const uint32_t now = seals();
  if ((now & kSealSeal) != 0) return Errno::kEPERM;
  // What can be executed and may always be must not change from now on.
  if ((added & kSealExec) != 0 && (permissions() & 0111) != 0) added |= kSealShrink | kSealGrow | kSealWrite | kSealFutureWrite;
  if ((added & kSealWrite) != 0 && (now & kSealWrite) == 0 && mappings_.writable_shared() > 0) return Errno::kEBUSY;
  seals_.store(now | added, std::memory_order_release);
  return Ok();
}

}  // namespace rampart::fs
