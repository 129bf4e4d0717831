#include "sentry/kernel/robust.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "sentry/kernel/futex.h"

namespace rampart::kernel {
namespace {

constexpr uint64_t kSize = 4096;

class FlatMemory final : public mm::UserMemory {
 public:
  Result<size_t> CopyInPartial(UserAddr from, std::span<std::byte> out) override {
    if (from >= kSize || out.size() > kSize - from) return Errno::kEFAULT;
    std::memcpy(out.data(), bytes.data() + from, out.size());
    return out.size();
  }
  Result<size_t> CopyOutPartial(UserAddr to, std::span<const std::byte> in) override {
    if (to >= kSize || in.size() > kSize - to) return Errno::kEFAULT;
    std::memcpy(bytes.data() + to, in.data(), in.size());
    return in.size();
  }
  Result<uint32_t> Atomic32(UserAddr address, mm::Atomic32Op op, uint32_t operand, uint32_t expected) override {
    if (address >= kSize) return Errno::kEFAULT;
    const uint32_t old = Get32(address);
    if (op == mm::Atomic32Op::kCompareExchange && old == expected) Set32(address, operand);
    return old;
  }
  uint32_t Get32(UserAddr a) const {
    uint32_t v = 0;
    std::memcpy(&v, bytes.data() + a, 4);
    return v;
  }
  void Set32(UserAddr a, uint32_t v) { std::memcpy(bytes.data() + a, &v, 4); }
  void Set64(UserAddr a, uint64_t v) { std::memcpy(bytes.data() + a, &v, 8); }
  std::vector<std::byte> bytes = std::vector<std::byte>(kSize);
};

class RobustTest : public ::testing::Test {
 protected:
  // Head at 64; entries at 128, 192, …; word of an entry 32 bytes behind it.
  void Build(const std::vector<UserAddr>& entries, UserAddr pending) {
    memory_.Set64(64, entries.empty() ? 64 : entries[0]);
    memory_.Set64(72, 32);
    memory_.Set64(80, pending);
    for (size_t i = 0; i < entries.size(); ++i) memory_.Set64(entries[i] & ~1ull, i + 1 < entries.size() ? entries[i + 1] : 64);
  }
  void Release() {
    ReleaseRobustList(memory_, 64, 5, [this](UserAddr word) { woken_.push_back(word); });
  }
  FlatMemory memory_;
  std::vector<UserAddr> woken_;
};

TEST_F(RobustTest, MarksWhatTheThreadHoldsAndWakesWaiters) {
  Build({128, 192, 256}, 0);
  memory_.Set32(160, 5);
  memory_.Set32(224, 5 | kFutexWaiters);
  memory_.Set32(288, 6);
  Release();
  EXPECT_EQ(memory_.Get32(160), kFutexOwnerDied);
  EXPECT_EQ(memory_.Get32(224), kFutexOwnerDied | kFutexWaiters);
  EXPECT_EQ(memory_.Get32(288), 6u);
  EXPECT_EQ(woken_, std::vector<UserAddr>{224});
}

TEST_F(RobustTest, PiEntryIsMarkedButNotWoken) {
  Build({128 | 1}, 0);
  memory_.Set32(160, 5 | kFutexWaiters);
  Release();
  EXPECT_EQ(memory_.Get32(160), kFutexOwnerDied | kFutexWaiters);
  EXPECT_TRUE(woken_.empty());
}

TEST_F(RobustTest, PendingOperationOfAReleasedLockWakes) {
  Build({}, 320);
  memory_.Set32(352, 0);
  Release();
  EXPECT_EQ(woken_, std::vector<UserAddr>{352});
}

TEST_F(RobustTest, PendingEntryInTheListIsHandledOnce) {
  Build({128}, 128);
  memory_.Set32(160, 5 | kFutexWaiters);
  Release();
  EXPECT_EQ(woken_.size(), 1u);
}

TEST_F(RobustTest, CircularListEnds) {
  Build({128, 192}, 0);
  memory_.Set64(192, 128);
  Release();
}

TEST_F(RobustTest, WildPointersEndTheWalk) {
  Build({128}, 0);
  memory_.Set64(128, 1ull << 40);
  memory_.Set32(160, 5);
  Release();
  EXPECT_EQ(memory_.Get32(160), kFutexOwnerDied);
  ReleaseRobustList(memory_, 1ull << 50, 5, [](UserAddr) { FAIL(); });
}

}  // namespace
}  // namespace rampart::kernel
