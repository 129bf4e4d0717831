#include "base/heap_meter.h"

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "base/check.h"
#include "base/sanitizers.h"

namespace rampart {
namespace {

constinit std::atomic<int64_t> sum{0};
constinit thread_local int64_t pending = 0;
constinit thread_local int64_t own = 0;

#ifndef RAMPART_SANITIZED
constexpr int64_t kBatch = 16 << 10;

void Count(int64_t bytes) {
  own += bytes;
  pending += bytes;
  if (pending < kBatch && pending > -kBatch) [[likely]] return;
  sum.fetch_add(pending, std::memory_order_relaxed);
  pending = 0;
}

// There is no going on without memory: the same end as an uncaught bad_alloc has.
void* Counted(void* memory) {
  CHECK(memory != nullptr);
  Count(static_cast<int64_t>(malloc_usable_size(memory)));
  return memory;
}

void Free(void* memory) {
  if (memory == nullptr) return;
  Count(-static_cast<int64_t>(malloc_usable_size(memory)));
  std::free(memory);
}
#endif

}  // namespace

uint64_t HeapBytes() { return static_cast<uint64_t>(std::max<int64_t>(sum.load(std::memory_order_relaxed), 0)); }

int64_t ThreadHeapBytes() { return own; }

void CountBeside(int64_t bytes) {
  own += bytes;
  sum.fetch_add(bytes, std::memory_order_relaxed);
}

void StartThreadHeap() {
  sum.fetch_add(pending, std::memory_order_relaxed);
  pending = 0;
  own = 0;
}

}  // namespace rampart

#ifndef RAMPART_SANITIZED
// The forms for arrays, and those with a size, call these.
void* operator new(size_t size) { return rampart::Counted(std::malloc(std::max<size_t>(size, 1))); }
void* operator new(size_t size, std::align_val_t alignment) {
  const auto align = static_cast<size_t>(alignment);
  return rampart::Counted(std::aligned_alloc(align, (std::max<size_t>(size, 1) + align - 1) / align * align));
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  void* memory = std::malloc(std::max<size_t>(size, 1));
  return memory == nullptr ? nullptr : rampart::Counted(memory);
}
void operator delete(void* memory) noexcept { rampart::Free(memory); }
void operator delete(void* memory, size_t) noexcept { rampart::Free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { rampart::Free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { rampart::Free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { rampart::Free(memory); }
#endif
