#include "sentry/vfs/file_locks.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>

namespace rampart::vfs {
namespace {

int a, b, c;  // owners are compared by address

RecordLock Lock(const int& who, uint64_t start, uint64_t end, LockType type) { return {start, end, type, {&who, who == 0 ? 1 : 2, false}}; }
Errno Set(FileLocks& locks, const RecordLock& lock, bool wait = false) {
  const Result<void> result = locks.Set(lock, wait);
  return result.ok() ? Errno{} : result.error();
}

TEST(FileLocks, WritersExcludeReadersShare) {
  FileLocks locks;
  EXPECT_EQ(Set(locks, Lock(a, 0, 10, LockType::kRead)), Errno{});
  EXPECT_EQ(Set(locks, Lock(b, 5, 15, LockType::kRead)), Errno{});
  EXPECT_EQ(Set(locks, Lock(b, 0, 5, LockType::kWrite)), Errno::kEAGAIN);
  EXPECT_EQ(Set(locks, Lock(b, 10, 20, LockType::kWrite)), Errno{});
  EXPECT_EQ(Set(locks, Lock(a, 15, UINT64_MAX, LockType::kRead)), Errno::kEAGAIN);
  locks.ReleaseAll(&b);
  EXPECT_EQ(Set(locks, Lock(a, 0, UINT64_MAX, LockType::kWrite)), Errno{});
  EXPECT_EQ(locks.List().size(), 1u);
}

TEST(FileLocks, DeadlocksAreFound) {
  FileLocks locks;
  EXPECT_EQ(Set(locks, Lock(a, 0, 1, LockType::kWrite)), Errno{});
  EXPECT_EQ(Set(locks, Lock(b, 1, 2, LockType::kWrite)), Errno{});
  EXPECT_EQ(Set(locks, Lock(c, 2, 3, LockType::kWrite)), Errno{});
  EXPECT_EQ(Set(locks, Lock(a, 1, 2, LockType::kWrite), true), Errno::kEAGAIN);
  EXPECT_EQ(Set(locks, Lock(b, 2, 3, LockType::kWrite), true), Errno::kEAGAIN);
  EXPECT_EQ(Set(locks, Lock(c, 0, 1, LockType::kWrite), true), Errno::kEDEADLK);
  FileLocks::StopWaiting({&a, 1, false});
  FileLocks::StopWaiting({&b, 1, false});
  EXPECT_EQ(Set(locks, Lock(c, 0, 1, LockType::kWrite), true), Errno::kEAGAIN);
  FileLocks::StopWaiting({&c, 1, false});
}

TEST(FileLocks, FlockUpgradeGivesUpTheOldOne) {
  FileLocks locks;
  EXPECT_TRUE(locks.Flock(&a, LockType::kRead).ok());
  EXPECT_TRUE(locks.Flock(&b, LockType::kRead).ok());
  EXPECT_EQ(locks.Flock(&a, LockType::kWrite).error(), Errno::kEAGAIN);
  EXPECT_TRUE(locks.Flock(&b, LockType::kWrite).ok()) << "a's was given up";
}

// A model: each byte has its own lock.
TEST(FileLocks, RandomRangesAgreeWithAModel) {
  constexpr uint64_t kBytes = 40;
  FileLocks locks;
  std::map<const int*, std::array<int, kBytes>> model;  // 0 none, 1 read, 2 write
  model[&a].fill(0), model[&b].fill(0);
  std::minstd_rand random(7);
  for (int step = 0; step < 20'000; ++step) {
    const int& who = random() % 2 == 0 ? a : b;
    const int& other = &who == &a ? b : a;
    const uint64_t start = random() % kBytes, end = start + 1 + random() % (kBytes - start);
    const uint64_t action = random() % 3;
    if (action == 0) {
      locks.Clear({&who, 1, false}, start, end);
      for (uint64_t i = start; i < end; ++i) model[&who][i] = 0;
      continue;
    }
    bool conflict = false;
    for (uint64_t i = start; i < end; ++i) conflict |= model[&other][i] == 2 || (action == 2 && model[&other][i] != 0);
    const RecordLock lock = Lock(who, start, end, action == 1 ? LockType::kRead : LockType::kWrite);
    ASSERT_EQ(locks.FindConflict(lock).has_value(), conflict) << step;
    ASSERT_EQ(Set(locks, lock), conflict ? Errno::kEAGAIN : Errno{}) << step;
    if (!conflict) {
      for (uint64_t i = start; i < end; ++i) model[&who][i] = static_cast<int>(action);
    }
  }
  // As few records as the model has runs.
  size_t runs = 0;
  for (const auto& [owner, bytes] : model) {
    for (uint64_t i = 0; i < kBytes; ++i) runs += bytes[i] != 0 && (i == 0 || bytes[i - 1] != bytes[i]) ? 1 : 0;
  }
  EXPECT_EQ(locks.List().size(), runs);
}

TEST(LeaseTable, BreaksAndExpires) {
  LeaseTable leases;
  int told = 0;
  const auto on_break = [](void* holder) { ++*static_cast<int*>(holder); };
  EXPECT_TRUE(leases.Set(&a, LeaseTable::Kind::kRead, on_break, &told).ok());
  EXPECT_TRUE(leases.Break(nullptr, false).ok()) << "readers do not matter to a read lease";
  EXPECT_EQ(leases.Break(nullptr, true).error(), Errno::kEAGAIN);
  EXPECT_EQ(leases.Break(nullptr, true).error(), Errno::kEAGAIN);
  EXPECT_EQ(told, 1) << "once";
  EXPECT_EQ(leases.Get(&a), LeaseTable::Kind::kNone);
  leases.Expire(true);
  EXPECT_TRUE(leases.Break(nullptr, true).ok());
  EXPECT_FALSE(leases.any());
  EXPECT_TRUE(leases.Set(&a, LeaseTable::Kind::kWrite, on_break, &told).ok());
  EXPECT_EQ(leases.Set(&b, LeaseTable::Kind::kRead, on_break, &told).error(), Errno::kEAGAIN);
  EXPECT_EQ(leases.Break(nullptr, false).error(), Errno::kEAGAIN);
  EXPECT_EQ(leases.Get(&a), LeaseTable::Kind::kRead);
  leases.ReleaseAll(&a);
  EXPECT_FALSE(leases.any());
}

}  // namespace
}  // namespace rampart::vfs
