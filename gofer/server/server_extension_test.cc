// The extension, through the client that the Sentry uses.
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "gofer/server/testing/test_server.h"

namespace rampart::gofer {
namespace {

constexpr FidNum kRoot{0};

class Extension : public testing::TestWithParam<bool> {
 protected:
  Extension() : server_({.host_sockets = true, .proc = GetParam()}) {
    auto client = Client::Connect(server_.TakeSocket(), {});
    CHECK(client.ok());
    client_ = std::move(*client);
    CHECK(client_->Call(Teattach{kRoot, "root"}).ok());
    uid_ = getuid();
    gid_ = getgid();
  }
  std::string Path(const std::string& name) const { return server_.root() + "/" + name; }
  FidNum Walk(std::vector<std::string_view> names) {
    std::vector<WalkStep> steps;
    for (const std::string_view name : names) steps.push_back({kNoFid, name});
    const FidNum fid = *client_->NewFid();
    steps.back().newfid = fid;
    auto walked = client_->Call(Tewalk{kRoot, steps});
    EXPECT_TRUE(walked.ok() && (*walked)->attrs.size() == names.size());
    return fid;
  }

  TestServer server_;
  std::unique_ptr<Client> client_;
  uint32_t uid_, gid_;
};

INSTANTIATE_TEST_SUITE_P(WithAndWithoutProc, Extension, testing::Bool());

TEST_P(Extension, WalksWholePathsWithAttributes) {
  ASSERT_EQ(mkdir(Path("a").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(Path("a/b").c_str(), 0700), 0);
  WriteFile(Path("a/b/f"), "12345");
  ASSERT_EQ(symlink("b/f", Path("a/link").c_str()), 0);
  {
    auto walked = client_->Call(Tewalk{kRoot, {{FidNum{1}, "a"}, {FidNum{2}, "b"}, {FidNum{3}, "f"}}});
    ASSERT_TRUE(walked.ok());
    EXPECT_EQ((*walked)->end, WalkEnd::kDone);
    ASSERT_EQ((*walked)->attrs.size(), 3u);
    EXPECT_EQ((*walked)->attrs[1].mode, S_IFDIR | 0700u);
    EXPECT_EQ((*walked)->attrs[2].size, 5u);
    EXPECT_TRUE(IsValid((*walked)->attrs[2]));
  }
  {
    auto missing = client_->Call(Tewalk{kRoot, {{FidNum{4}, "a"}, {FidNum{5}, "none"}, {FidNum{6}, "f"}}});
    EXPECT_EQ((*missing)->end, WalkEnd::kMissing);
    EXPECT_EQ((*missing)->attrs.size(), 1u);
  }
  {
    auto link = client_->Call(Tewalk{kRoot, {{kNoFid, "a"}, {kNoFid, "link"}, {kNoFid, "x"}}});
    EXPECT_EQ((*link)->end, WalkEnd::kSymlink);
    EXPECT_EQ((*link)->attrs.size(), 2u);
    EXPECT_EQ((*link)->target, "b/f");
  }
  {
    auto not_dir = client_->Call(Tewalk{FidNum{2}, {{kNoFid, "f"}, {kNoFid, "x"}}});
    EXPECT_EQ((*not_dir)->end, WalkEnd::kNotDir);
    EXPECT_EQ((*not_dir)->attrs.size(), 1u);
  }
  {
    auto dots = client_->Call(Tewalk{FidNum{2}, {{kNoFid, ".."}}});
    EXPECT_EQ((*dots)->end, WalkEnd::kError);
    EXPECT_EQ((*dots)->ecode, static_cast<uint32_t>(EINVAL));
  }
  EXPECT_EQ(client_->Call(Tewalk{kRoot, std::vector<WalkStep>(65, {kNoFid, "a"})}).error(), Errno::kEINVAL);
}

TEST_P(Extension, DonatesDescriptorsOfRegularFiles) {
  WriteFile(Path("f"), "12345");
  const FidNum file = Walk({"f"});
  UniqueFd fd;
  {
    auto opened = client_->Call(Teopen{file, O_RDWR | O_TRUNC});
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ((*opened)->attr.size, 0u);
    fd = opened->TakeFd().value();
  }
  EXPECT_EQ(write(fd.get(), "new", 3), 3);
  EXPECT_EQ(ReadFile(Path("f")), "new");
  EXPECT_EQ(client_->Call(Teopen{kRoot, O_RDONLY}).error(), Errno::kEISDIR);
  ASSERT_EQ(mkfifo(Path("p").c_str(), 0600), 0);
  EXPECT_EQ(client_->Call(Teopen{Walk({"p"}), O_RDONLY}).error(), Errno::kENXIO);
  ASSERT_EQ(symlink("f", Path("l").c_str()), 0);
  EXPECT_EQ(client_->Call(Teopen{Walk({"l"}), O_RDONLY}).error(), Errno::kELOOP);
}

TEST_P(Extension, OpensRenamedAndReplacedFilesOrSaysSo) {
  WriteFile(Path("f"), "original");
  const FidNum file = Walk({"f"});
  ASSERT_EQ(rename(Path("f").c_str(), Path("g").c_str()), 0);
  WriteFile(Path("f"), "other");
  auto opened = client_->Call(Teopen{file, O_RDONLY});
  if (!GetParam()) {
    EXPECT_EQ(opened.error(), Errno::kESTALE);
    return;
  }
  char text[16] = {};
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(read(opened->TakeFd()->get(), text, sizeof(text)), 8);
  EXPECT_STREQ(text, "original");
}

TEST_P(Extension, CreatesFiles) {
  const FidNum file = *client_->NewFid();
  {
    auto created = client_->Call(Tecreate{kRoot, file, "new", O_RDWR, 04755, uid_, gid_});
    ASSERT_TRUE(created.ok());
    EXPECT_EQ((*created)->attr.mode, S_IFREG | 04755u);
    EXPECT_EQ(write(created->TakeFd()->get(), "abc", 3), 3);
  }
  EXPECT_EQ((*client_->Call(Tegetattr{file}))->attr.size, 3u);
  EXPECT_EQ(client_->Call(Tecreate{kRoot, FidNum{99}, "new", O_RDWR, 0644, uid_, gid_}).error(), Errno::kEEXIST);
  if (uid_ == 0) {
    auto owned = client_->Call(Tecreate{kRoot, FidNum{98}, "owned", O_RDWR, 06755, 1000, 1001});
    ASSERT_TRUE(owned.ok());
    EXPECT_EQ((*owned)->attr.uid, 1000u);
    EXPECT_EQ((*owned)->attr.gid, 1001u);
    EXPECT_EQ((*owned)->attr.mode, S_IFREG | 06755u);  // chown takes the bits away; they are put back
  }
}

TEST_P(Extension, MakesEveryOtherKind) {
  EXPECT_EQ((*client_->Call(Temkdir{kRoot, FidNum{1}, "d", 02755, uid_, gid_}))->attr.mode, S_IFDIR | 02755u);
  EXPECT_EQ((*client_->Call(Tesymlink{kRoot, FidNum{2}, "s", "target", uid_, gid_}))->attr.mode & S_IFMT, unsigned{S_IFLNK});
  EXPECT_EQ((*client_->Call(Temknod{kRoot, FidNum{3}, "p", S_IFIFO | 0600, 0, 0, uid_, gid_}))->attr.mode, S_IFIFO | 0600u);
  EXPECT_EQ((*client_->Call(Temknod{kRoot, FidNum{4}, "k", S_IFSOCK | 0600, 0, 0, uid_, gid_}))->attr.mode, S_IFSOCK | 0600u);
  EXPECT_EQ((*client_->Call(Temknod{kRoot, FidNum{5}, "r", 0644, 0, 0, uid_, gid_}))->attr.mode, S_IFREG | 0644u);
  EXPECT_EQ((*client_->Call(Telink{FidNum{1}, FidNum{5}, "hard"}))->attr.nlink, 2u);
  EXPECT_EQ((*client_->Call(Treadlink{FidNum{2}}))->target, "target");
  EXPECT_EQ(client_->Call(Telink{kRoot, FidNum{1}, "dirlink"}).error(), Errno::kEPERM);
  EXPECT_EQ(client_->Call(Tesymlink{kRoot, kNoFid, "e", "", uid_, gid_}).error(), Errno::kENOENT);
}

TEST_P(Extension, RenamesWithFlags) {
  WriteFile(Path("a"), "A");
  WriteFile(Path("b"), "B");
  EXPECT_EQ(client_->Call(Terename{kRoot, "a", kRoot, "b", RENAME_NOREPLACE}).error(), Errno::kEEXIST);
  ASSERT_TRUE(client_->Call(Terename{kRoot, "a", kRoot, "b", RENAME_EXCHANGE}).ok());
  EXPECT_EQ(ReadFile(Path("a")), "B");
  EXPECT_EQ(client_->Call(Terename{kRoot, "a", kRoot, "b", RENAME_WHITEOUT}).error(), Errno::kEINVAL);
  ASSERT_TRUE(client_->Call(Terename{kRoot, "a", kRoot, "b", 0}).ok());
  EXPECT_EQ(ReadFile(Path("b")), "B");
}

TEST_P(Extension, ReadsLargeDirectoriesWithAttributes) {
  std::set<std::string> expected, found;
  for (int i = 0; i < 2500; ++i) {
    const std::string name = std::string(static_cast<size_t>(i % 200), 'n') + std::to_string(i);
    WriteFile(Path(name), std::string(static_cast<size_t>(i % 7), 'x'));
    expected.insert(name);
  }
  uint8_t restart = 1;
  for (bool end = false; !end; restart = 0) {
    auto reply = client_->Call(Tereaddir{kRoot, restart, 1});
    ASSERT_TRUE(reply.ok());
    end = (*reply)->end != 0;
    for (const EntryAttr& entry : (*reply)->entries) {
      EXPECT_TRUE(found.insert(std::string(entry.name)).second) << entry.name;
      EXPECT_EQ(entry.has_attr, 1);
      EXPECT_EQ(entry.attr.ino, entry.ino);
      EXPECT_LT(entry.attr.size, 7u);
    }
  }
  EXPECT_EQ(found, expected);
  EXPECT_EQ(client_->Call(Tereaddir{kRoot, 0, 1}).error(), Errno::kEBADF);  // ended: begin anew
}

TEST_P(Extension, ClunksInBatches) {
  WriteFile(Path("f"), "");
  std::vector<FidNum> fids;
  for (int i = 0; i < 200; ++i) fids.push_back(Walk({"f"}));
  for (const FidNum fid : fids) client_->Clunk(fid);
  client_->FlushClunks();
  EXPECT_EQ(client_->Call(Tegetattr{fids[0]}).error(), Errno::kEBADF);
  EXPECT_EQ(client_->Call(Tegetattr{fids[199]}).error(), Errno::kEBADF);
}

TEST_P(Extension, ManyThreadsShareASession) {
  WriteFile(Path("f"), "text");
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 300; ++i) {
        const FidNum fid = *client_->NewFid();
        ASSERT_TRUE(client_->Call(Tewalk{kRoot, {{fid, "f"}}}).ok());
        ASSERT_TRUE(client_->Call(Teopen{fid, O_RDONLY}).ok());
        client_->Clunk(fid);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(Extension, SyncsAndSetsAttributes) {
  WriteFile(Path("f"), "text");
  const FidNum file = Walk({"f"});
  for (const SyncKind kind : {SyncKind::kFile, SyncKind::kData, SyncKind::kFilesystem}) EXPECT_TRUE(client_->Call(Tesync{file, kind}).ok());
  EXPECT_TRUE(client_->Call(Tesync{kRoot, SyncKind::kFile}).ok());
  EXPECT_EQ(client_->Call(Tesync{file, SyncKind{7}}).error(), Errno::kEINVAL);
  EXPECT_EQ((*client_->Call(Tesetattr{file, {.valid = kSetMode | kSetSize, .mode = 0600, .size = 2}}))->attr.size, 2u);
}

TEST_P(Extension, ConnectsToHostSocketsWhereAllowed) {
  const UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(Path("sock").size(), sizeof(address.sun_path));
  std::copy_n(Path("sock").c_str(), Path("sock").size() + 1, address.sun_path);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  UniqueFd ours;
  {
    auto connected = client_->Call(Teconnect{Walk({"sock"}), SOCK_STREAM});
    if (!GetParam()) {
      EXPECT_EQ(connected.error(), Errno::kECONNREFUSED);
      return;
    }
    ASSERT_TRUE(connected.ok());
    ours = connected->TakeFd().value();
  }
  const UniqueFd theirs(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_EQ(write(ours.get(), "hi", 2), 2);
  char text[3] = {};
  EXPECT_EQ(read(theirs.get(), text, 2), 2);
  EXPECT_EQ(client_->Call(Teconnect{kRoot, SOCK_STREAM}).error(), Errno::kECONNREFUSED);
}

TEST_P(Extension, LostServerIsEioForGood) {
  auto pair = MakeSocketPair(SocketKind::kSeqPacket);
  ASSERT_TRUE(pair.ok());
  std::thread impostor([fd = std::move((*pair)[1])] {
    RawClient peer(UniqueFd(dup(fd.get())), SocketKind::kSeqPacket);
    (void)peer.Receive();
    std::byte reply[64];
    const size_t size = EncodeMessage(kNoTag, Rversion{kMaxMessage, kVersionRampart}, reply);
    (void)peer.SendBytes(Bytes(reply).first(size));
    (void)peer.Receive();
    const size_t wrong = EncodeMessage(0, Rclunk{}, reply);  // not what was asked
    (void)peer.SendBytes(Bytes(reply).first(wrong));
  });
  auto client = Client::Connect(std::move((*pair)[0]), {});
  ASSERT_TRUE(client.ok());
  EXPECT_EQ((*client)->Call(Tegetattr{kRoot}).error(), Errno::kEIO);
  EXPECT_EQ((*client)->Call(Tegetattr{kRoot}).error(), Errno::kEIO);
  EXPECT_TRUE((*client)->broken());
  impostor.join();
}

}  // namespace
}  // namespace rampart::gofer
