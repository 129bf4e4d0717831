#include <gtest/gtest.h>

#include <thread>

#include "sentry/vfs/fs_context.h"
#include "sentry/vfs/operations.h"

namespace rampart::vfs {
namespace {

constexpr uint64_t kLimit = 100;

// Counts how many live.
class Counted final : public FileDescription {
 public:
  Counted() : FileDescription(NewAnonymousPath(NewAnonymousInode(FileType::kFifo, 0600, 0, 0), "x"), abi::kORdWr) { ++alive; }
  ~Counted() override { --alive; }
  static inline std::atomic<int> alive{0};
};

class FdTableTest : public ::testing::Test {
 protected:
  ~FdTableTest() override {
    table = nullptr;
    EXPECT_EQ(Counted::alive, 0);
  }
  int Add(bool close_on_exec = false, int32_t minimum = 0, uint64_t limit = kLimit) {
    const Result<Fd> fd = table->Install(MakeRef<Counted>(), close_on_exec, limit, minimum);
    return fd.ok() ? static_cast<int>(*fd) : -1;
  }
  bool Drop(int fd) { return table->Remove(static_cast<Fd>(fd)).ok(); }
  RefPtr<FdTable> table = RefPtr<FdTable>(MakeRef<FdTable>());
};

TEST_F(FdTableTest, GivesTheLowestFreeNumber) {
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Add(), i);
  EXPECT_TRUE(Drop(3));
  EXPECT_TRUE(Drop(7));
  EXPECT_EQ(Add(), 3);
  EXPECT_EQ(Add(), 7);
  EXPECT_EQ(Add(), 10);
  EXPECT_EQ(Add(false, 50), 50);
  EXPECT_EQ(Add(false, 50), 51);
  EXPECT_EQ(Add(), 11);
  EXPECT_FALSE(Drop(12));
  EXPECT_FALSE(Drop(-1));
  EXPECT_FALSE(Drop(1 << 30));
}

TEST_F(FdTableTest, KeepsTheLimit) {
  EXPECT_EQ(Add(false, 0, 2), 0);
  EXPECT_EQ(Add(false, 0, 2), 1);
  EXPECT_EQ(table->Install(MakeRef<Counted>(), false, 2).error(), Errno::kEMFILE);
  EXPECT_EQ(table->InstallPair(MakeRef<Counted>(), MakeRef<Counted>(), false, 3).error(), Errno::kEMFILE);
  EXPECT_EQ(table->List().size(), 2u) << "both or none";
  EXPECT_EQ(table->InstallAt(static_cast<Fd>(5), MakeRef<Counted>(), false, 5).error(), Errno::kEBADF);
  EXPECT_EQ(table->InstallAt(static_cast<Fd>(-1), MakeRef<Counted>(), false, 5).error(), Errno::kEBADF);
}

TEST_F(FdTableTest, InstallAtReplaces) {
  EXPECT_EQ(Add(), 0);
  const RefPtr<FileDescription> first = table->Get(static_cast<Fd>(0)).value();
  const RefPtr<FileDescription> old = table->InstallAt(static_cast<Fd>(0), MakeRef<Counted>(), true, kLimit).value();
  EXPECT_EQ(old.get(), first.get());
  EXPECT_TRUE(table->GetEntry(static_cast<Fd>(0)).value().close_on_exec);
  EXPECT_EQ(table->InstallAt(static_cast<Fd>(40), MakeRef<Counted>(), false, kLimit).value(), nullptr);
  EXPECT_EQ(Add(), 1);
}

TEST_F(FdTableTest, CloneSharesDescriptionsOnly) {
  EXPECT_EQ(Add(), 0);
  EXPECT_EQ(Add(true), 1);
  const Ref<FdTable> copy = table->Clone();
  EXPECT_EQ(copy->Get(static_cast<Fd>(0)).value().get(), table->Get(static_cast<Fd>(0)).value().get());
  EXPECT_TRUE(copy->GetEntry(static_cast<Fd>(1)).value().close_on_exec);
  EXPECT_TRUE(Drop(0));
  EXPECT_TRUE(copy->Get(static_cast<Fd>(0)).ok());
  EXPECT_EQ(table->Get(static_cast<Fd>(0)).error(), Errno::kEBADF);
}

TEST_F(FdTableTest, RangesGoByFlag) {
  for (int i = 0; i < 6; ++i) EXPECT_EQ(Add(i % 2 == 1), i);
  EXPECT_EQ(table->RemoveRange(2, ~uint32_t{0}, true).size(), 2u);
  EXPECT_EQ(table->List().size(), 4u);
  table->SetCloseOnExecRange(0, 3);
  EXPECT_TRUE(table->GetEntry(static_cast<Fd>(0)).value().close_on_exec);
  EXPECT_FALSE(table->GetEntry(static_cast<Fd>(4)).value().close_on_exec);
  EXPECT_EQ(table->RemoveRange(0, 2, false).size(), 3u);
  EXPECT_EQ(Add(), 0);
}

TEST_F(FdTableTest, ThreadsGetDifferentNumbers) {
  std::vector<std::thread> threads;
  std::atomic<int> opened{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        const int fd = Add(false, 0, 1000);
        if (fd >= 0) ++opened;
        if (i % 2 == 0) {
          EXPECT_TRUE(Drop(fd));
        }
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(opened, 2000);
  EXPECT_EQ(table->List().size(), 1000u);
}

}  // namespace
}  // namespace rampart::vfs
