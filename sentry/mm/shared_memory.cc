#include "sentry/mm/shared_memory.h"

#include <algorithm>
#include <cstring>
#include <atomic>

#include "base/safe_math.h"

namespace rampart::mm {
namespace {
constexpr uint64_t kWindow = 64 << 10;
std::atomic<uint64_t> g_next_inode{1};
}  // namespace

Ref<SharedMemory> SharedMemory::Create(Ref<MemoryFile> memory_file, uint64_t length, std::string name) {
  return MakeRef<SharedMemory>(std::move(memory_file), PageUp(length), std::move(name));
}

SharedMemory::SharedMemory(Ref<MemoryFile> memory_file, uint64_t length, std::string name)
    : memory_file_(std::move(memory_file)), length_(length), name_(std::move(name)),
      inode_(g_next_inode.fetch_add(1, std::memory_order_relaxed)) {}

SharedMemory::~SharedMemory() {
  for (const auto& [start, range] : runs_) memory_file_->DecRef(range);
}

uint64_t SharedMemory::resident() const {
  absl::MutexLock lock(&mu_);
  uint64_t bytes = 0;
  for (const auto& [start, range] : runs_) bytes += range.length();
  return bytes;
}

Result<void> SharedMemory::PunchPages(FileRange range) {
  absl::MutexLock lock(&mu_);
  auto run = runs_.upper_bound(range.start);
  if (run != runs_.begin()) --run;
  for (; run != runs_.end() && run->first < range.end; ++run) {
    const uint64_t from = std::max(run->first, range.start), to = std::min(run->first + run->second.length(), range.end);
    if (from < to) std::memset(memory_file_->At(run->second.start + (from - run->first)), 0, to - from);
  }
  return Ok();
}

Result<Translation> SharedMemory::Translate(FileRange required, FileRange optional, bool) {
  // mremap can make a mapping longer than the object: beyond it there is nothing (SIGBUS), as on Linux.
  if (required.end > length_) return Errno::kEFAULT;
  optional.end = std::min(optional.end, length_);
  absl::MutexLock lock(&mu_);
  auto next = runs_.upper_bound(required.start);
  if (next != runs_.begin()) {
    const auto& [start, range] = *std::prev(next);
    const uint64_t end = start + range.length();
    if (end > required.start) {
      const uint64_t from = std::max(start, optional.start);
      const uint64_t to = std::min(end, optional.end);
      const FileRange pages{range.start + (from - start), range.start + (to - start)};
      memory_file_->IncRef(pages);
      return Translation{FileRange{from, to}, memory_file_, pages.start, platform::Prot::kAll};
    }
  }
  // A hole: fill a window of it.
  uint64_t low = std::max(optional.start, required.start & ~(kWindow - 1));
  if (next != runs_.begin()) low = std::max(low, std::prev(next)->first + std::prev(next)->second.length());
  uint64_t high = std::min(optional.end, low + std::max(kWindow, required.end - low));
  if (next != runs_.end()) high = std::min(high, next->first);
  auto pages = memory_file_->Allocate(high - low, MemoryFile::Commit::kNow);
  if (!pages.ok()) {
    low = required.start;
    high = low + kPageSize;
    pages = memory_file_->Allocate(kPageSize, MemoryFile::Commit::kNow);
    if (!pages.ok()) return pages.error();
  }
  memory_file_->IncRef(*pages);
  runs_.emplace(low, *pages);
  return Translation{FileRange{low, high}, memory_file_, pages->start, platform::Prot::kAll};
}

}  // namespace rampart::mm
