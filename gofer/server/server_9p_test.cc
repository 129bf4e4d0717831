// Plain 9P2000.L, as a stock client speaks it.
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <set>

#include "gofer/server/testing/test_server.h"

namespace rampart::gofer {
namespace {

constexpr FidNum kRoot{0};
constexpr FidNum kFile{10};
constexpr FidNum kOther{11};

class Server9p : public testing::TestWithParam<SocketKind> {
 protected:
  Server9p() : server_({.kind = GetParam()}), client_(server_.TakeSocket(), GetParam()) { EXPECT_TRUE(client_.Begin().ok()); }
  std::string Path(const std::string& name) const { return server_.root() + "/" + name; }

  TestServer server_;
  RawClient client_;
};

INSTANTIATE_TEST_SUITE_P(Sockets, Server9p, testing::Values(SocketKind::kSeqPacket, SocketKind::kStream));

TEST_P(Server9p, UnknownVersionsAreRefused) {
  EXPECT_EQ(client_.Call(Tversion{kMaxMessage, "9P2000.u"}, kNoTag)->version, kVersionUnknown);
  EXPECT_EQ(client_.Call(Tattach{kRoot, kNoFid, "", "", 0}).error(), Errno::kEPROTO);
  EXPECT_EQ(client_.Call(Tversion{16, kVersionLinux}, kNoTag).error(), Errno::kEINVAL);
}

TEST_P(Server9p, VersionBeginsAnewAndForgetsFids) {
  EXPECT_EQ(client_.Call(Tversion{5000, kVersionLinux}, kNoTag)->msize, 5000u);
  EXPECT_EQ(client_.Call(Tclunk{kRoot}).error(), Errno::kEBADF);
}

TEST_P(Server9p, ExtensionNeedsItsVersion) { EXPECT_EQ(client_.Call(Tegetattr{kRoot}).error(), Errno::kEOPNOTSUPP); }

TEST_P(Server9p, ReadsAndWritesFiles) {
  ASSERT_TRUE(client_.Walk(0, 10, {}).ok());
  ASSERT_TRUE(client_.Call(Tlcreate{kFile, "hello", O_RDWR, 0640, static_cast<uint32_t>(getgid())}).ok());
  const std::string text = "some text";
  EXPECT_EQ(client_.Call(Twrite{kFile, 3, {std::as_bytes(std::span(text))}})->count, text.size());
  const auto read = client_.Call(Tread{kFile, 5, 100});
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(read->data.bytes.data()), read->data.bytes.size()), "me text");
  EXPECT_TRUE(client_.Call(Tfsync{kFile, 0}).ok());
  EXPECT_TRUE(client_.Call(Tfsync{kFile, 1}).ok());
  EXPECT_EQ(ReadFile(Path("hello")), std::string("\0\0\0some text", 12));
  struct stat st {};
  ASSERT_EQ(stat(Path("hello").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0640u);
  const auto attr = client_.Call(Tgetattr{kFile, kGetattrBasic});
  ASSERT_TRUE(attr.ok());
  EXPECT_EQ(attr->size, 12u);
  EXPECT_EQ(attr->mode, 0100640u);
  EXPECT_EQ(attr->qid.path & 0xffffffff, st.st_ino & 0xffffffff);
  EXPECT_TRUE(client_.Call(Tclunk{kFile}).ok());
  EXPECT_EQ(client_.Call(Tread{kFile, 0, 1}).error(), Errno::kEBADF);
}

TEST_P(Server9p, ReadingWithoutOpeningFails) {
  WriteFile(Path("f"), "x");
  ASSERT_TRUE(client_.Walk(0, 10, {"f"}).ok());
  EXPECT_EQ(client_.Call(Tread{kFile, 0, 1}).error(), Errno::kEBADF);
  EXPECT_EQ(client_.Call(Twrite{kFile, 0, {}}).error(), Errno::kEBADF);
  EXPECT_TRUE(client_.Call(Tlopen{kFile, O_RDONLY}).ok());
  EXPECT_EQ(client_.Call(Tlopen{kFile, O_RDONLY}).error(), Errno::kEBADF);
  EXPECT_EQ(client_.Call(Tread{kFile, UINT64_MAX, 1}).error(), Errno::kEINVAL);
  EXPECT_EQ(client_.Call(Tread{kFile, 0, UINT32_MAX})->data.bytes.size(), 1u);  // a huge count reads what there is
}

TEST_P(Server9p, WalksSeveralNamesAndStopsAtWhatIsMissing) {
  ASSERT_EQ(mkdir(Path("a").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(Path("a/b").c_str(), 0755), 0);
  const auto walked = client_.Call(Twalk{kRoot, kFile, {"a", "b", "c"}});
  ASSERT_TRUE(walked.ok());
  EXPECT_EQ(walked->qids.size(), 2u);
  EXPECT_EQ(walked->qids[0].type, kQidDir);
  EXPECT_EQ(client_.Call(Tclunk{kFile}).error(), Errno::kEBADF);  // not bound by a partial walk
  EXPECT_EQ(client_.Call(Twalk{kRoot, kFile, {"none"}}).error(), Errno::kENOENT);
  EXPECT_EQ(client_.Call(Twalk{kRoot, kFile, std::vector<std::string_view>(17, "a")}).error(), Errno::kEINVAL);
  ASSERT_TRUE(client_.Walk(0, 10, {"a", "b", "..", ".."}).ok());
  EXPECT_EQ(client_.Call(Tgetattr{kFile, 0})->qid.path, client_.Call(Tgetattr{kRoot, 0})->qid.path);
}

TEST_P(Server9p, FidInUseIsRefused) {
  ASSERT_TRUE(client_.Walk(0, 10, {}).ok());
  EXPECT_EQ(client_.Call(Twalk{kRoot, kFile, {}}).error(), Errno::kEBADF);
  EXPECT_EQ(client_.Call(Twalk{kRoot, kNoFid, {}}).error(), Errno::kEBADF);
  EXPECT_EQ(client_.Call(Twalk{FidNum{77}, kOther, {}}).error(), Errno::kEBADF);
}

TEST_P(Server9p, DotDotAtTheRootStaysAtTheRoot) {
  WriteFile(server_.outside() + "/secret", "x");
  EXPECT_EQ(client_.Walk(0, 10, {"..", "..", "secret"}).error(), Errno::kENOENT);
  ASSERT_TRUE(client_.Walk(0, 11, {"..", ".."}).ok());
  EXPECT_EQ(client_.Call(Tgetattr{kOther, 0})->qid.path, client_.Call(Tgetattr{kRoot, 0})->qid.path);
}

TEST_P(Server9p, NamesWithSlashesAndOddNamesAreRefused) {
  for (const std::string_view name : {std::string_view(""), std::string_view("a/b"), std::string_view("/etc"), std::string_view("."),
                                      std::string_view("a\0b", 3), std::string_view("../x")}) {
    if (name != ".") {
      EXPECT_EQ(client_.Walk(0, 10, {name}).error(), Errno::kEINVAL) << name;
    }
    EXPECT_EQ(client_.Call(Tmkdir{kRoot, name, 0755, 0}).error(), Errno::kEINVAL) << name;
    EXPECT_EQ(client_.Call(Tunlinkat{kRoot, name, 0}).error(), Errno::kEINVAL) << name;
  }
  EXPECT_EQ(client_.Call(Tmkdir{kRoot, "..", 0755, 0}).error(), Errno::kEINVAL);
  EXPECT_TRUE(client_.Walk(0, 12, {"."}).ok());
  EXPECT_EQ(client_.Walk(0, 10, {std::string(256, 'x')}).error(), Errno::kENAMETOOLONG);
}

TEST_P(Server9p, SymlinksAreNeverFollowed) {
  WriteFile(server_.outside() + "/secret", "x");
  ASSERT_EQ(symlink("../secret", Path("link").c_str()), 0);
  ASSERT_EQ(symlink("/", Path("abs").c_str()), 0);
  ASSERT_TRUE(client_.Walk(0, 10, {"link"}).ok());
  EXPECT_EQ(client_.Call(Tlopen{kFile, O_RDONLY}).error(), Errno::kELOOP);
  EXPECT_EQ(client_.Call(Treadlink{kFile})->target, "../secret");
  EXPECT_EQ(client_.Call(Tsetattr{kFile, {.valid = kSetSize}}).error(), Errno::kEINVAL);
  EXPECT_NE(client_.Call(Tsetattr{kFile, {.valid = kSetMode, .mode = 0}}).ok(), true);
  EXPECT_EQ(client_.Walk(0, 11, {"abs", "etc"}).error(), Errno::kENOENT);  // a partial walk
  EXPECT_EQ(client_.Call(Tlcreate{kRoot, "link", O_WRONLY | O_TRUNC, 0644, 0}).error(), Errno::kELOOP);
  EXPECT_EQ(ReadFile(server_.outside() + "/secret"), "x");
}

std::set<std::string> ListNames(RawClient& client, FidNum fid, uint32_t count) {
  std::set<std::string> names;
  for (uint64_t offset = 0;;) {
    const auto reply = client.Call(Treaddir{fid, offset, count});
    EXPECT_TRUE(reply.ok());
    if (!reply.ok() || reply->data.bytes.empty()) return names;
    Reader reader(reply->data.bytes);
    while (reader.remaining() > 0) {
      WireDirent entry;
      entry.Visit(reader);
      EXPECT_TRUE(reader.ok());
      EXPECT_TRUE(names.insert(std::string(entry.name)).second);
      offset = entry.offset;
    }
  }
}

TEST_P(Server9p, ReadsDirectoriesInSmallPieces) {
  std::set<std::string> expected{".", ".."};
  for (int i = 0; i < 300; ++i) {
    const std::string name = "file" + std::to_string(i);
    WriteFile(Path(name), "");
    expected.insert(name);
  }
  ASSERT_TRUE(client_.Walk(0, 10, {}).ok());
  EXPECT_EQ(client_.Call(Treaddir{kFile, 0, 1000}).error(), Errno::kEBADF);
  ASSERT_TRUE(client_.Call(Tlopen{kFile, O_RDONLY | O_DIRECTORY}).ok());
  EXPECT_EQ(ListNames(client_, kFile, 200), expected);
  EXPECT_EQ(ListNames(client_, kFile, 1 << 20), expected);
  EXPECT_EQ(client_.Call(Treaddir{kFile, 0, 3}).error(), Errno::kEINVAL);
}

TEST_P(Server9p, MakesLinksRenamesAndRemoves) {
  const auto gid = static_cast<uint32_t>(getgid());
  ASSERT_TRUE(client_.Call(Tmkdir{kRoot, "d", 0711, gid}).ok());
  ASSERT_TRUE(client_.Call(Tsymlink{kRoot, "s", "target/anywhere", gid}).ok());
  ASSERT_TRUE(client_.Call(Tmknod{kRoot, "p", S_IFIFO | 0600, 0, 0, gid}).ok());
  EXPECT_EQ(client_.Call(Tmknod{kRoot, "c", S_IFCHR | 0600, 1, 3, gid}).error(), Errno::kEPERM);
  EXPECT_EQ(client_.Call(Tmkdir{kRoot, "d", 0711, gid}).error(), Errno::kEEXIST);
  struct stat st {};
  ASSERT_EQ(lstat(Path("p").c_str(), &st), 0);
  EXPECT_TRUE(S_ISFIFO(st.st_mode));
  ASSERT_TRUE(client_.Walk(0, 10, {"p"}).ok());
  EXPECT_EQ(client_.Call(Tlopen{kFile, O_RDWR}).error(), Errno::kENXIO);  // opening a FIFO could block the Gofer
  WriteFile(Path("f"), "text");
  ASSERT_TRUE(client_.Walk(0, 11, {"f"}).ok());
  ASSERT_TRUE(client_.Walk(0, 12, {"d"}).ok());
  ASSERT_TRUE(client_.Call(Tlink{FidNum{12}, kOther, "hard"}).ok());
  EXPECT_EQ(ReadFile(Path("d/hard")), "text");
  ASSERT_TRUE(client_.Call(Trename{kOther, FidNum{12}, "renamed"}).ok());
  EXPECT_EQ(ReadFile(Path("d/renamed")), "text");
  ASSERT_TRUE(client_.Call(Trenameat{FidNum{12}, "renamed", kRoot, "back"}).ok());
  EXPECT_EQ(ReadFile(Path("back")), "text");
  EXPECT_EQ(client_.Call(Tunlinkat{kRoot, "d", 0}).error(), Errno::kEISDIR);
  EXPECT_EQ(client_.Call(Tunlinkat{kRoot, "d", AT_REMOVEDIR}).error(), Errno::kENOTEMPTY);
  EXPECT_TRUE(client_.Call(Tunlinkat{kRoot, "back", 0}).ok());
  EXPECT_EQ(client_.Call(Tremove{kOther}).error(), Errno::kENOENT);  // its last known name is gone
  EXPECT_EQ(client_.Call(Tclunk{kOther}).error(), Errno::kEBADF);    // and so is the fid, in any case
  ASSERT_TRUE(client_.Walk(0, 11, {"d", "hard"}).ok());
  EXPECT_TRUE(client_.Call(Tremove{kOther}).ok());
  EXPECT_NE(access(Path("d/hard").c_str(), F_OK), 0);
}

TEST_P(Server9p, FidsFollowRenamedDirectories) {
  ASSERT_EQ(mkdir(Path("a").c_str(), 0755), 0);
  WriteFile(Path("a/f"), "inside");
  ASSERT_TRUE(client_.Walk(0, 10, {"a"}).ok());
  ASSERT_EQ(rename(Path("a").c_str(), Path("b").c_str()), 0);
  ASSERT_TRUE(client_.Walk(10, 11, {"f"}).ok());
  // Moved out of the tree, the directory stays reachable as any descriptor does, but nothing above it.
  ASSERT_EQ(rename(Path("b").c_str(), (server_.outside() + "/b").c_str()), 0);
  WriteFile(server_.outside() + "/secret", "x");
  ASSERT_TRUE(client_.Walk(10, 12, {"f"}).ok());
  EXPECT_EQ(client_.Walk(10, 13, {"..", "secret"}).error(), Errno::kENOENT);
}

TEST_P(Server9p, SetsAttributes) {
  WriteFile(Path("f"), "0123456789");
  ASSERT_TRUE(client_.Walk(0, 10, {"f"}).ok());
  SetAttr set;
  set.valid = kSetMode | kSetSize | kSetAtime | kSetAtimeValue | kSetMtime | kSetMtimeValue;
  set.mode = 04751;
  set.size = 4;
  set.atime_sec = 1000;
  set.mtime_sec = -5;
  set.mtime_nsec = 77;
  ASSERT_TRUE(client_.Call(Tsetattr{kFile, set}).ok());
  struct stat st {};
  ASSERT_EQ(stat(Path("f").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 04751u);
  EXPECT_EQ(st.st_size, 4);
  EXPECT_EQ(st.st_atim.tv_sec, 1000);
  EXPECT_EQ(st.st_mtim.tv_sec, -5);
  EXPECT_EQ(st.st_mtim.tv_nsec, 77);
  set.valid = kSetMtime | kSetMtimeValue;
  set.mtime_nsec = 1'000'000'000;
  EXPECT_EQ(client_.Call(Tsetattr{kFile, set}).error(), Errno::kEINVAL);
  if (getuid() == 0) {
    set.valid = kSetUid | kSetGid;
    set.uid = 1234;
    set.gid = 5678;
    ASSERT_TRUE(client_.Call(Tsetattr{kFile, set}).ok());
    ASSERT_EQ(stat(Path("f").c_str(), &st), 0);
    EXPECT_EQ(st.st_uid, 1234u);
    EXPECT_EQ(st.st_gid, 5678u);
  }
}

TEST_P(Server9p, MovesExtendedAttributes) {
  WriteFile(Path("f"), "");
  if (setxattr(Path("f").c_str(), "user.probe", "1", 1, 0) != 0) GTEST_SKIP() << "the temporary directory has no extended attributes";
  ASSERT_TRUE(client_.Walk(0, 10, {"f"}).ok());
  ASSERT_TRUE(client_.Call(Txattrcreate{kFile, "user.new", 5, 0}).ok());
  const std::string value = "value";
  ASSERT_TRUE(client_.Call(Twrite{kFile, 0, {std::as_bytes(std::span(value))}}).ok());
  EXPECT_EQ(client_.Call(Twrite{kFile, 5, {std::as_bytes(std::span(value))}}).error(), Errno::kEINVAL);
  ASSERT_TRUE(client_.Call(Tclunk{kFile}).ok());
  ASSERT_TRUE(client_.Walk(0, 10, {"f"}).ok());
  ASSERT_EQ(client_.Call(Txattrwalk{kFile, kOther, "user.new"})->size, 5u);
  const auto read = client_.Call(Tread{kOther, 1, 10});
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(read->data.bytes.data()), read->data.bytes.size()), "alue");
  EXPECT_EQ(client_.Call(Txattrwalk{kFile, FidNum{12}, "user.none"}).error(), Errno::kENODATA);
  EXPECT_GE(client_.Call(Txattrwalk{kFile, FidNum{12}, ""})->size, 10u);
  ASSERT_TRUE(client_.Call(Txattrcreate{kFile, "trusted.x", 0, 0}).ok());
  EXPECT_EQ(client_.Call(Tclunk{kFile}).error(), Errno::kEPERM);
}

TEST_P(Server9p, LocksConflictBetweenFids) {
  WriteFile(Path("f"), "text");
  for (const uint32_t fid : {10u, 11u}) {
    ASSERT_TRUE(client_.Walk(0, fid, {"f"}).ok());
    ASSERT_TRUE(client_.Call(Tlopen{FidNum{fid}, O_RDWR}).ok());
  }
  EXPECT_EQ(client_.Call(Tlock{kFile, LockType::kWrite, 0, 0, 0, 1, "me"})->status, LockStatus::kSuccess);
  EXPECT_EQ(client_.Call(Tlock{kOther, LockType::kRead, 0, 0, 0, 2, "you"})->status, LockStatus::kBlocked);
  EXPECT_EQ(client_.Call(Tgetlock{kOther, LockType::kRead, 0, 0, 2, "you"})->type, LockType::kWrite);
  EXPECT_EQ(client_.Call(Tlock{kFile, LockType::kUnlock, 0, 0, 0, 1, "me"})->status, LockStatus::kSuccess);
  EXPECT_EQ(client_.Call(Tgetlock{kOther, LockType::kRead, 0, 0, 2, "you"})->type, LockType::kUnlock);
  EXPECT_EQ(client_.Call(Tlock{kFile, LockType{9}, 0, 0, 0, 1, "me"}).error(), Errno::kEINVAL);
}

TEST_P(Server9p, Statfs) {
  const auto reply = client_.Call(Tstatfs{kRoot});
  ASSERT_TRUE(reply.ok());
  EXPECT_GT(reply->bsize, 0u);
  EXPECT_EQ(reply->namelen, 255u);
}

TEST_P(Server9p, FlushIsAnsweredAfterTheRequestItNames) {
  // Whatever the order of the two replies to 5 and 6, the flush of 5 never overtakes 5's.
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(client_.Send(Tgetattr{kRoot, 0}, 5).ok());
    ASSERT_TRUE(client_.Send(Tflush{5}, 6).ok());
    EXPECT_EQ(client_.Receive()->tag, 5);
    EXPECT_EQ(client_.Receive()->tag, 6);
  }
  EXPECT_TRUE(client_.Call(Tflush{99}).ok());
}

}  // namespace
}  // namespace rampart::gofer
