#include "sentry/fs/epoll/epoll.h"

#include <gtest/gtest.h>

#include <vector>

#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

// A file whose readiness the test sets.
class FakeFile final : public vfs::FileDescription {
 public:
  FakeFile()
      : FileDescription(vfs::NewAnonymousPath(vfs::NewAnonymousInode(vfs::FileType{0}, 0600, 0, 0), "fake"), abi::kORdWr) {}
  bool pollable() const override { return true; }
  wait::EventMask Readiness(wait::EventMask mask) override { return ready & mask; }
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override { queue.Register(entry, mask); }
  void EventUnregister(wait::WaitEntry& entry) override { queue.Unregister(entry); }
  void Set(wait::EventMask mask) {
    ready = mask;
    queue.Notify(mask);
  }
  wait::EventMask ready = 0;
  wait::WaitQueue queue;
};

abi::EpollEvent Event(uint32_t events, uint64_t data = 0) {
  return {events, static_cast<uint32_t>(data), static_cast<uint32_t>(data >> 32)};
}
std::vector<uint64_t> Take(Epoll& epoll, size_t max = 10) {
  Epoll::Events events;
  Epoll::Collected from;
  epoll.Collect(max, events, from);
  std::vector<uint64_t> data;
  for (const abi::EpollEvent& e : events) data.push_back(e.data());
  return data;
}
using Data = std::vector<uint64_t>;

struct EpollTest : testing::Test {
  KernelCaller caller;
  Ref<Epoll> epoll = Epoll::Create();
  Ref<FakeFile> file = MakeRef<FakeFile>();
};

TEST_F(EpollTest, LevelTriggeredTellsAgain) {
  ASSERT_TRUE(epoll->Add(*file, Fd{3}, Event(abi::kPollIn, 0x1234567890)).ok());
  EXPECT_EQ(Take(*epoll), Data{});
  file->Set(abi::kPollIn);
  EXPECT_EQ(Take(*epoll), Data{0x1234567890});
  EXPECT_EQ(Take(*epoll), Data{0x1234567890});
  file->ready = 0;
  EXPECT_EQ(Take(*epoll), Data{});
  EXPECT_EQ(epoll->Readiness(abi::kPollIn), 0u);
}

TEST_F(EpollTest, EdgeTriggeredTellsOnceAnEvent) {
  file->ready = abi::kPollIn;
  ASSERT_TRUE(epoll->Add(*file, Fd{3}, Event(abi::kPollIn | abi::kEpollEt, 1)).ok());
  EXPECT_EQ(Take(*epoll), Data{1});
  EXPECT_EQ(Take(*epoll), Data{});
  file->Set(abi::kPollIn);
  EXPECT_EQ(Take(*epoll), Data{1});
}

TEST_F(EpollTest, OneShotSleepsUntilModified) {
  ASSERT_TRUE(epoll->Add(*file, Fd{3}, Event(abi::kPollIn | abi::kEpollOneshot, 1)).ok());
  file->Set(abi::kPollIn);
  EXPECT_EQ(Take(*epoll), Data{1});
  file->Set(abi::kPollIn | abi::kPollHup);
  EXPECT_EQ(Take(*epoll), Data{});
  ASSERT_TRUE(epoll->Modify(*file, Fd{3}, Event(abi::kPollIn | abi::kEpollOneshot, 2)).ok());
  EXPECT_EQ(Take(*epoll), Data{2});
}

TEST_F(EpollTest, OneDescriptionUnderTwoNumbersIsTwoInterests) {
  ASSERT_TRUE(epoll->Add(*file, Fd{3}, Event(abi::kPollIn, 3)).ok());
  ASSERT_TRUE(epoll->Add(*file, Fd{4}, Event(abi::kPollIn, 4)).ok());
  EXPECT_EQ(epoll->Add(*file, Fd{3}, Event(abi::kPollIn)).error(), Errno::kEEXIST);
  file->Set(abi::kPollIn);
  EXPECT_EQ(Take(*epoll), (Data{3, 4}));
  ASSERT_TRUE(epoll->Remove(*file, Fd{3}).ok());
  EXPECT_EQ(epoll->Remove(*file, Fd{3}).error(), Errno::kENOENT);
  EXPECT_EQ(Take(*epoll), Data{4});
}

TEST_F(EpollTest, TheEndOfTheFileEndsTheInterest) {
  ASSERT_TRUE(epoll->Add(*file, Fd{3}, Event(abi::kPollIn, 3)).ok());
  file->Set(abi::kPollIn);
  file = MakeRef<FakeFile>();
  EXPECT_EQ(Take(*epoll), Data{});
  EXPECT_EQ(epoll->FdInfo(), "");
}

TEST_F(EpollTest, TheEndOfTheEpollLeavesTheFile) {
  ASSERT_TRUE(epoll->Add(*file, Fd{3}, Event(abi::kPollIn, 3)).ok());
  epoll = Epoll::Create();
  EXPECT_TRUE(file->queue.empty());
  file->Set(abi::kPollIn);
}

TEST_F(EpollTest, ReadyFilesTakeTurns) {
  Ref<FakeFile> other = MakeRef<FakeFile>();
  ASSERT_TRUE(epoll->Add(*file, Fd{3}, Event(abi::kPollIn, 3)).ok());
  ASSERT_TRUE(epoll->Add(*other, Fd{4}, Event(abi::kPollIn, 4)).ok());
  file->Set(abi::kPollIn);
  other->Set(abi::kPollIn);
  EXPECT_EQ(Take(*epoll, 1), Data{3});
  EXPECT_EQ(Take(*epoll, 1), Data{4});
  EXPECT_EQ(Take(*epoll, 1), Data{3});
}

TEST_F(EpollTest, NestingIsBoundedAndNotCircular) {
  std::vector<Ref<Epoll>> chain;
  for (int i = 0; i < 6; ++i) chain.push_back(Epoll::Create());
  for (size_t i = 0; i + 1 < 5; ++i) ASSERT_TRUE(chain[i]->Add(*chain[i + 1], Fd{3}, Event(abi::kPollIn, 1)).ok()) << i;
  EXPECT_EQ(chain[4]->Add(*chain[5], Fd{3}, Event(abi::kPollIn)).error(), Errno::kELOOP);
  EXPECT_EQ(chain[4]->Add(*chain[0], Fd{3}, Event(abi::kPollIn)).error(), Errno::kELOOP);
  EXPECT_EQ(chain[0]->Add(*chain[0], Fd{3}, Event(abi::kPollIn)).error(), Errno::kEINVAL);
  ASSERT_TRUE(chain[4]->Add(*file, Fd{9}, Event(abi::kPollIn, 1)).ok());
  file->Set(abi::kPollIn);
  EXPECT_EQ(Take(*chain[0]), Data{1});
}

TEST_F(EpollTest, ExclusiveHasItsRules) {
  EXPECT_EQ(epoll->Add(*file, Fd{3}, Event(abi::kPollIn | abi::kEpollExclusive | abi::kEpollOneshot)).error(), Errno::kEINVAL);
  Ref<Epoll> other = Epoll::Create();
  EXPECT_EQ(epoll->Add(*other, Fd{3}, Event(abi::kPollIn | abi::kEpollExclusive)).error(), Errno::kEINVAL);
  ASSERT_TRUE(epoll->Add(*file, Fd{3}, Event(abi::kPollIn | abi::kEpollExclusive, 1)).ok());
  ASSERT_TRUE(other->Add(*file, Fd{3}, Event(abi::kPollIn | abi::kEpollExclusive, 2)).ok());
  EXPECT_EQ(epoll->Modify(*file, Fd{3}, Event(abi::kPollIn)).error(), Errno::kEINVAL);
  file->Set(abi::kPollIn);
  EXPECT_EQ(Take(*epoll), Data{1});
  EXPECT_EQ(Take(*other), Data{2});  // nobody waits at either: both are told
}

TEST_F(EpollTest, AnEventWakesAWaiter) {
  ASSERT_TRUE(epoll->Add(*file, Fd{3}, Event(abi::kPollIn, 1)).ok());
  wait::Sleeper sleeper;
  wait::SleeperEntry entry(sleeper);
  epoll->RegisterWaiter(entry);
  file->Set(abi::kPollOut);
  EXPECT_EQ(sleeper.Sleep(Deadline::Immediately()), wait::Sleeper::Outcome::kTimedOut);
  file->Set(abi::kPollIn);
  EXPECT_EQ(sleeper.Sleep(Deadline::Immediately()), wait::Sleeper::Outcome::kWoken);
  epoll->EventUnregister(entry);
}

}  // namespace
}  // namespace rampart::fs
