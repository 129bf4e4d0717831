// Page tables and their pages, without /dev/kvm.
#include "platform/kvm/page_table.h"

#include <gtest/gtest.h>

namespace rampart::platform::kvm {
namespace {

constexpr uint64_t kAt = 0x555555554000;
constexpr GuestPage kA = 0x100000000000 - 0x1000, kB = 0x200000;

class Tables : public ::testing::Test {
 protected:
  int grown_ = 0;
  std::unique_ptr<PagePool> pool_ = PagePool::Create([this](uint64_t, std::byte*, uint64_t) {
                                      ++grown_;
                                      return Ok();
                                    }).value();
  std::unique_ptr<PageTable> table_ = PageTable::Create(*pool_, 0x77).value();
  std::vector<GuestPage> emptied_;
};

TEST_F(Tables, SetThenGet) {
  EXPECT_EQ(*table_->Set(kAt, kA, Prot::kReadWrite), PageTable::Change::kAdded);
  const uint64_t entry = table_->Get(kAt);
  EXPECT_EQ(entry & pte::kAddress, kA);
  EXPECT_NE(entry & pte::kWrite, 0u);
  EXPECT_NE(entry & pte::kUser, 0u);
  EXPECT_NE(entry & pte::kNoExecute, 0u);
  EXPECT_EQ(table_->Get(kAt + kPageSize), 0u);
}

TEST_F(Tables, OnlyLessOrOtherNeedsAFlush) {
  EXPECT_EQ(*table_->Set(kAt, kA, Prot::kRead), PageTable::Change::kAdded);
  EXPECT_EQ(*table_->Set(kAt, kA, Prot::kRead), PageTable::Change::kSame);
  EXPECT_EQ(*table_->Set(kAt, kA, Prot::kAll), PageTable::Change::kAdded);
  EXPECT_EQ(*table_->Set(kAt, kA, Prot::kReadExec), PageTable::Change::kReplaced);
  EXPECT_EQ(*table_->Set(kAt, kB, Prot::kReadExec), PageTable::Change::kReplaced);
  EXPECT_FALSE(table_->Protect(kAt, kAt + kPageSize, Prot::kAll));
  EXPECT_TRUE(table_->Protect(kAt, kAt + kPageSize, Prot::kReadWrite));
  EXPECT_TRUE(table_->Protect(kAt, kAt + kPageSize, Prot::kRead));
  EXPECT_FALSE(table_->Protect(0, uint64_t{1} << 47, Prot::kRead));
}

TEST_F(Tables, EmptyTablesAreHandedOut) {
  const size_t before = pool_->in_use();
  for (uint64_t i = 0; i < 600; ++i) ASSERT_TRUE(table_->Set(kAt + i * kPageSize, kA, Prot::kRead).ok());
  EXPECT_GE(pool_->in_use(), before + 4);
  EXPECT_FALSE(table_->Clear(0x10000, kAt, emptied_));
  EXPECT_TRUE(emptied_.empty());
  EXPECT_TRUE(table_->Clear(kAt, kAt + 599 * kPageSize, emptied_));
  EXPECT_NE(table_->Get(kAt + 599 * kPageSize), 0u);
  EXPECT_TRUE(table_->Clear(0x10000, uint64_t{1} << 47, emptied_));
  EXPECT_EQ(pool_->in_use() - emptied_.size(), before);
  for (const GuestPage page : emptied_) pool_->Free(page);
  EXPECT_EQ(pool_->Table(table_->root()->page)[511], 0x77u);
}

TEST_F(Tables, DestructionFreesAll) {
  for (uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(table_->Set(0x10000 + i * (uint64_t{3} << 30), kA, Prot::kRead).ok());
  table_ = nullptr;
  EXPECT_EQ(pool_->in_use(), 0u);
  EXPECT_EQ(grown_, 1);
}

TEST_F(Tables, PagesComeZeroed) {
  const GuestPage page = pool_->Allocate().value();
  pool_->Table(page)[5] = 1;
  pool_->live(page) = 7;
  pool_->Free(page);
  const GuestPage again = pool_->Allocate().value();
  EXPECT_EQ(again, page);
  EXPECT_EQ(pool_->Table(again)[5], 0u);
  EXPECT_EQ(pool_->live(again), 0);
  pool_->Free(again);
}

}  // namespace
}  // namespace rampart::platform::kvm
