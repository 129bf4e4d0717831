#include "platform/kvm/page_pool.h"

#include <sys/mman.h>

#include <cstring>
#include <utility>

namespace rampart::platform::kvm {
namespace {

constexpr uint64_t kLiveBytes = kPoolSize / kPageSize * sizeof(uint16_t);

std::byte* Reserve(uint64_t length) {
  void* at = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
}

}  // namespace

Result<std::unique_ptr<PagePool>> PagePool::Create(Grow grow) {
  std::byte* const base = Reserve(kPoolSize);
  if (base == nullptr) return Errno::kENOMEM;
  std::byte* const live = Reserve(kLiveBytes);
  if (live == nullptr) {
    munmap(base, kPoolSize);
    return Errno::kENOMEM;
  }
  // SAFETY: zero-filled memory, page aligned.
  return std::unique_ptr<PagePool>(new PagePool(std::move(grow), base, reinterpret_cast<uint16_t*>(live)));
}

PagePool::~PagePool() {
  munmap(base_, kPoolSize);
  munmap(live_, kLiveBytes);
}

Result<GuestPage> PagePool::Allocate() {
  absl::MutexLock lock(&mu_);
  if (!free_.empty()) {
    const GuestPage page = free_.back();
    free_.pop_back();
    std::memset(At(page), 0, kPageSize);
    return page;
  }
  if (frontier_ == shown_) {
    if (shown_ == kPoolSize) return Errno::kENOMEM;
    TRY(grow_(kPoolGuestAddress + shown_, base_ + shown_, kPoolGrowth));
    shown_ += kPoolGrowth;
  }
  return kPoolGuestAddress + std::exchange(frontier_, frontier_ + kPageSize);
}

void PagePool::Free(GuestPage page) {
  live(page) = 0;
  absl::MutexLock lock(&mu_);
  free_.push_back(page);
}

size_t PagePool::in_use() const {
  absl::MutexLock lock(&mu_);
  return frontier_ / kPageSize - free_.size();
}

}  // namespace rampart::platform::kvm
