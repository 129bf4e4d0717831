// Clients that lie, race, exhaust and send rubbish.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>

#include "gofer/server/testing/test_server.h"

namespace rampart::gofer {
namespace {

constexpr FidNum kRoot{0};
constexpr auto kSeq = SocketKind::kSeqPacket;

TEST(HostileClient, MessageWhoseSizeLiesEndsTheSession) {
  TestServer server({});
  RawClient client(server.TakeSocket(), kSeq);
  ASSERT_TRUE(client.Begin().ok());
  const std::byte wrong[] = {std::byte{200}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{120}, std::byte{1}, std::byte{0}};
  ASSERT_TRUE(client.SendBytes(wrong).ok());
  EXPECT_EQ(client.Receive().error(), Errno::kEPIPE);
}

TEST(HostileClient, StreamWithHugeSizeEndsTheSession) {
  TestServer server({.kind = SocketKind::kStream});
  RawClient client(server.TakeSocket(), SocketKind::kStream);
  ASSERT_TRUE(client.Begin().ok());
  std::byte huge[7] = {};
  PutHeader(huge, 0xfffffff0, MsgType::kTclunk, 1);
  ASSERT_TRUE(client.SendBytes(huge).ok());
  EXPECT_EQ(client.Receive().error(), Errno::kEPIPE);
}

TEST(HostileClient, TruncatedAndOverlongBodiesAreErrors) {
  TestServer server({});
  RawClient client(server.TakeSocket(), kSeq);
  ASSERT_TRUE(client.Begin().ok());
  for (const size_t size : {7u, 8u, 10u, 12u}) {  // a Tclunk is 11
    std::byte message[16] = {};
    PutHeader(message, static_cast<uint32_t>(size), MsgType::kTclunk, 3);
    ASSERT_TRUE(client.SendBytes(Bytes(message).first(size)).ok());
    const auto frame = client.Receive();
    ASSERT_TRUE(frame.ok());
    EXPECT_EQ(DecodeReply<Tclunk>(*frame).error(), Errno::kEBADMSG);
  }
}

TEST(HostileClient, EveryMessageNumberIsAnswered) {
  TestServer server({});
  RawClient client(server.TakeSocket(), kSeq);
  ASSERT_TRUE(client.Begin(kVersionRampart).ok());
  for (int type = 0; type < 256; ++type) {
    std::byte message[7];
    PutHeader(message, 7, static_cast<MsgType>(type), 9);
    ASSERT_TRUE(client.SendBytes(message).ok());
    const auto frame = client.Receive();
    ASSERT_TRUE(frame.ok()) << type;
    EXPECT_EQ(frame->tag, 9);
  }
}

TEST(HostileClient, RandomBodiesNeverKillTheServer) {
  TestServer server({});
  RawClient client(server.TakeSocket(), kSeq);
  ASSERT_TRUE(client.Begin(kVersionRampart).ok());
  std::mt19937 random(42);
  for (int i = 0; i < 20000; ++i) {
    std::byte message[128];
    const uint32_t size = kHeaderSize + static_cast<uint32_t>(random() % 100);
    for (std::byte& b : message) b = static_cast<std::byte>(random() % 4 == 0 ? random() : 0);
    auto type = static_cast<MsgType>(random());
    if (type == MsgType::kTversion || type == MsgType::kTflush) continue;  // would end or hold up this test's own session
    PutHeader(message, size, type, 9);
    ASSERT_TRUE(client.SendBytes(Bytes(message).first(size)).ok());
    ASSERT_TRUE(client.Receive().ok());
  }
  EXPECT_TRUE(client.Begin(kVersionRampart).ok());
}

TEST(HostileClient, FilesRunOutCleanlyAndComeBack) {
  TestServer server({.max_files = 20});
  WriteFile(server.root() + "/f", "x");
  RawClient client(server.TakeSocket(), kSeq);
  ASSERT_TRUE(client.Begin().ok());
  uint32_t fid = 1;
  while (client.Walk(0, fid, {"f"}).ok()) ASSERT_LT(++fid, 100u);
  EXPECT_EQ(client.Walk(0, fid, {"f"}).error(), Errno::kENFILE);
  EXPECT_EQ(fid, 20u);
  ASSERT_TRUE(client.Call(Tclunk{FidNum{1}}).ok());
  EXPECT_TRUE(client.Walk(0, 1, {"f"}).ok());
  EXPECT_EQ(client.Call(Tlopen{FidNum{1}, O_RDONLY}).error(), Errno::kENFILE);
}

TEST(HostileClient, FidsRunOutCleanly) {
  TestServer server({.max_fids = 50});
  RawClient client(server.TakeSocket(), kSeq);
  ASSERT_TRUE(client.Begin().ok());
  uint32_t fid = 1;
  while (client.Walk(0, fid, {}).ok()) ASSERT_LT(++fid, 100u);
  EXPECT_EQ(client.Walk(0, fid, {}).error(), Errno::kEMFILE);
  EXPECT_EQ(fid, 50u);
}

// A name flips between a directory inside and a symbolic link to the outside while a client walks through it: it may fail, but
// what it finds is never the outside.
TEST(HostileClient, SwappingADirectoryForASymlinkDoesNotEscape) {
  TestServer server({});
  const std::string name = server.root() + "/d", link = server.root() + "/l", outside = server.outside() + "/target";
  ASSERT_EQ(mkdir(name.c_str(), 0755), 0);
  WriteFile(name + "/f", "inside");
  ASSERT_EQ(mkdir(outside.c_str(), 0755), 0);
  WriteFile(outside + "/f", "outside, and longer");
  ASSERT_EQ(symlink(outside.c_str(), link.c_str()), 0);
  std::atomic<bool> stop{false};
  std::thread swapper([&] {
    while (!stop) renameat2(AT_FDCWD, name.c_str(), AT_FDCWD, link.c_str(), RENAME_EXCHANGE);
  });
  RawClient client(server.TakeSocket(), kSeq);
  ASSERT_TRUE(client.Begin(kVersionRampart).ok());
  int found = 0;
  for (int i = 0; i < 5000; ++i) {
    const auto walked = client.Call(Tewalk{kRoot, {{kNoFid, "d"}, {FidNum{1}, "f"}}});
    EXPECT_TRUE(walked.ok()) << ErrnoText(walked.error());
    if (!walked.ok()) break;
    if (walked->end != WalkEnd::kDone) continue;
    ++found;
    EXPECT_EQ(walked->attrs[1].size, 6u);
    EXPECT_TRUE(client.Call(Tclunk{FidNum{1}}).ok());
  }
  stop = true;
  swapper.join();
  EXPECT_GT(found, 0);
}

TEST(HostileClient, ReadOnlyAttachPointRefusesEveryChange) {
  TestServer server({.read_only = true});
  WriteFile(server.root() + "/f", "text");
  RawClient client(server.TakeSocket(), kSeq);
  ASSERT_TRUE(client.Begin(kVersionRampart).ok());
  const FidNum file{1};
  ASSERT_TRUE(client.Walk(0, 1, {"f"}).ok());
  const Errno erofs = Errno::kEROFS;
  EXPECT_EQ(client.Call(Teopen{file, O_RDWR}).error(), erofs);
  EXPECT_EQ(client.Call(Teopen{file, O_TRUNC}).error(), erofs);
  EXPECT_EQ(client.Call(Tlopen{file, O_WRONLY}).error(), erofs);
  EXPECT_EQ(client.Call(Tlcreate{kRoot, "new", O_RDWR, 0644, 0}).error(), erofs);
  EXPECT_EQ(client.Call(Tecreate{kRoot, FidNum{2}, "new", O_RDWR, 0644, 0, 0}).error(), erofs);
  EXPECT_EQ(client.Call(Tmkdir{kRoot, "new", 0755, 0}).error(), erofs);
  EXPECT_EQ(client.Call(Tsymlink{kRoot, "new", "t", 0}).error(), erofs);
  EXPECT_EQ(client.Call(Tmknod{kRoot, "new", S_IFIFO, 0, 0, 0}).error(), erofs);
  EXPECT_EQ(client.Call(Tlink{kRoot, file, "new"}).error(), erofs);
  EXPECT_EQ(client.Call(Tunlinkat{kRoot, "f", 0}).error(), erofs);
  EXPECT_EQ(client.Call(Trenameat{kRoot, "f", kRoot, "g"}).error(), erofs);
  EXPECT_EQ(client.Call(Tsetattr{file, {.valid = kSetMode, .mode = 0}}).error(), erofs);
  EXPECT_EQ(client.Call(Txattrcreate{file, "user.x", 0, 0}).error(), erofs);
  EXPECT_EQ(client.Call(Tesetxattr{file, "user.x", {}, 0}).error(), erofs);
  EXPECT_EQ(client.Call(Teremovexattr{file, "user.x"}).error(), erofs);
  EXPECT_TRUE(client.Call(Teopen{file, O_RDONLY}).ok());
  EXPECT_EQ(client.Call(Tremove{file}).error(), erofs);
  EXPECT_EQ(ReadFile(server.root() + "/f"), "text");
}

}  // namespace
}  // namespace rampart::gofer
