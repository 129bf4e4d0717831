#include "sentry/fs/inotify/inotify.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "abi/inotify.h"
#include "sentry/vfs/inode_extras.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

struct Seen {
  int32_t wd;
  uint32_t mask;
  std::string name;
  bool operator==(const Seen&) const = default;
};

class InotifyTest : public testing::Test {
 protected:
  std::vector<Seen> Read() {
    std::vector<std::byte> bytes(4096);
    mm::BufferDst dst(bytes);
    const Result<size_t> n = inotify_->Read(caller_, dst, 0);
    std::vector<Seen> seen;
    if (!n.ok()) return seen;
    for (size_t at = 0; at < *n;) {
      abi::InotifyEvent head;
      std::memcpy(&head, bytes.data() + at, sizeof(head));
      seen.push_back({head.wd, head.mask, head.len == 0 ? "" : reinterpret_cast<const char*>(bytes.data() + at + sizeof(head))});
      EXPECT_EQ(head.len % 16, 0u);
      at += sizeof(head) + head.len;
    }
    return seen;
  }
  void Tell(uint32_t mask, std::string_view name = "", bool unlinked = false) { inode_->extras().watches.Notify(mask, 0, name, unlinked); }

  KernelCaller caller_;
  Ref<Inotify> inotify_ = Inotify::Create(0);
  Ref<vfs::Inode> inode_ = vfs::NewAnonymousInode(vfs::FileType::kDirectory, 0700, 0, 0);
  vfs::Path path_ = vfs::NewAnonymousPath(inode_, "dir");
};

using Events = std::vector<Seen>;

TEST_F(InotifyTest, TellsWhatWasAskedFor) {
  EXPECT_EQ(*inotify_->AddWatch(path_, vfs::kInCreate | vfs::kInDelete), 1);
  EXPECT_EQ(inotify_->Readiness(abi::kPollIn), 0u);
  Tell(vfs::kInCreate, "a");
  Tell(vfs::kInModify, "a");
  Tell(vfs::kInCreate | vfs::kInIsDir, "sixteen-letters-");
  EXPECT_EQ(inotify_->Readiness(abi::kPollIn), abi::kPollIn);
  EXPECT_EQ(Read(), (Events{{1, vfs::kInCreate, "a"}, {1, vfs::kInCreate | vfs::kInIsDir, "sixteen-letters-"}}));
  EXPECT_EQ(Read(), Events{});
}

TEST_F(InotifyTest, EqualEventsInARowAreOne) {
  EXPECT_TRUE(inotify_->AddWatch(path_, vfs::kInModify | vfs::kInOpen).ok());
  Tell(vfs::kInModify, "a");
  Tell(vfs::kInModify, "a");
  Tell(vfs::kInOpen, "a");
  Tell(vfs::kInModify, "a");
  EXPECT_EQ(Read().size(), 3u);
}

TEST_F(InotifyTest, OneShotEndsWithIgnored) {
  EXPECT_EQ(*inotify_->AddWatch(path_, vfs::kInOpen | abi::kInOneshot), 1);
  Tell(vfs::kInOpen);
  Tell(vfs::kInOpen);
  EXPECT_EQ(Read(), (Events{{1, vfs::kInOpen, ""}, {1, vfs::kInIgnored, ""}}));
  EXPECT_EQ(inotify_->RemoveWatch(1).error(), Errno::kEINVAL);
  EXPECT_EQ(*inotify_->AddWatch(path_, vfs::kInOpen), 2);
}

TEST_F(InotifyTest, TheSameInodeIsTheSameWatch) {
  EXPECT_EQ(*inotify_->AddWatch(path_, vfs::kInOpen), 1);
  EXPECT_EQ(*inotify_->AddWatch(path_, vfs::kInModify), 1);
  Tell(vfs::kInOpen);
  EXPECT_EQ(Read(), Events{});
  EXPECT_EQ(*inotify_->AddWatch(path_, vfs::kInOpen | abi::kInMaskAdd), 1);
  Tell(vfs::kInOpen);
  Tell(vfs::kInModify);
  EXPECT_EQ(Read().size(), 2u);
  EXPECT_EQ(inotify_->AddWatch(path_, vfs::kInOpen | abi::kInMaskCreate).error(), Errno::kEEXIST);
}

TEST_F(InotifyTest, RemovalIsTold) {
  EXPECT_EQ(*inotify_->AddWatch(path_, vfs::kInOpen), 1);
  EXPECT_TRUE(inotify_->RemoveWatch(1).ok());
  Tell(vfs::kInOpen);
  EXPECT_EQ(Read(), (Events{{1, vfs::kInIgnored, ""}}));
}

TEST_F(InotifyTest, DeletionEndsTheWatch) {
  EXPECT_EQ(*inotify_->AddWatch(path_, vfs::kInDeleteSelf), 1);
  Tell(vfs::kInDeleteSelf);
  EXPECT_EQ(Read(), (Events{{1, vfs::kInDeleteSelf, ""}, {1, vfs::kInIgnored, ""}}));
}

TEST_F(InotifyTest, OverflowIsOneEvent) {
  EXPECT_TRUE(inotify_->AddWatch(path_, vfs::kInModify).ok());
  for (int i = 0; i < 20000; ++i) Tell(vfs::kInModify, std::to_string(i));
  size_t count = 0;
  uint32_t last = 0;
  for (Events some = Read(); !some.empty(); some = Read()) {
    count += some.size();
    last = some.back().mask;
  }
  EXPECT_EQ(count, 16385u);
  EXPECT_EQ(last, vfs::kInQOverflow);
}

TEST_F(InotifyTest, AShortBufferIsInvalid) {
  EXPECT_TRUE(inotify_->AddWatch(path_, vfs::kInModify).ok());
  Tell(vfs::kInModify, "a");
  std::vector<std::byte> bytes(31);
  mm::BufferDst dst(bytes);
  EXPECT_EQ(inotify_->Read(caller_, dst, 0).error(), Errno::kEINVAL);
}

TEST_F(InotifyTest, UnlinkedChildrenMayBeExcluded) {
  EXPECT_TRUE(inotify_->AddWatch(path_, vfs::kInModify | abi::kInExclUnlink).ok());
  Tell(vfs::kInModify, "a", true);
  EXPECT_EQ(Read(), Events{});
}

}  // namespace
}  // namespace rampart::fs
