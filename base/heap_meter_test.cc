#include "base/heap_meter.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "base/sanitizers.h"

namespace rampart {
namespace {

TEST(HeapMeter, CountsWhatIsHeld) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer has its own allocator";
  StartThreadHeap();
  const uint64_t before = HeapBytes();
  std::vector<std::unique_ptr<char[]>> blocks;
  for (int i = 0; i < 100; ++i) blocks.push_back(std::make_unique<char[]>(100'000));
  EXPECT_GE(HeapBytes(), before + 9'900'000);
  EXPECT_GE(ThreadHeapBytes(), 9'900'000);
  blocks.clear();
  EXPECT_LE(HeapBytes(), before + (64 << 10));
  EXPECT_LE(ThreadHeapBytes(), 64 << 10);
}

TEST(HeapMeter, WhatAnotherThreadFreesIsGone) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer has its own allocator";
  StartThreadHeap();
  const uint64_t before = HeapBytes();
  auto block = std::make_unique<std::vector<char>>(5'000'000);
  std::thread([&] { block = nullptr; }).join();
  EXPECT_LE(HeapBytes(), before + (64 << 10));
  EXPECT_GE(ThreadHeapBytes(), 4'900'000);
}

struct alignas(128) Wide {
  char bytes[128];
};

TEST(HeapMeter, AlignedObjectsCountToo) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer has its own allocator";
  const uint64_t before = HeapBytes();
  auto wide = std::make_unique<Wide[]>(100'000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(wide.get()) % 128, 0u);
  EXPECT_GE(HeapBytes(), before + 12'000'000);
}

}  // namespace
}  // namespace rampart
