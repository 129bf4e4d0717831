// A Gofer under its own filter, in a process of its own, worked hard by several threads: nothing that it or its libraries do in passing
// may be missing from the table.
#include "runner/sandbox/gofer_policy.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "gofer/protocol/client.h"
#include "gofer/server/config.h"
#include "runner/seccomp/install.h"

namespace rampart::runner {
namespace {

using gofer::Client;
using gofer::FidNum;
using gofer::kNoFid;

[[noreturn]] void ServeConfined(UniqueFd socket, const char* root) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  gofer::GoferConfig config;
  config.channels.push_back({std::move(socket), gofer::SocketKind::kSeqPacket});
  gofer::AttachPoint point;
  point.root = UniqueFd(::open(root, O_PATH | O_CLOEXEC));
  config.attach_points.push_back(std::move(point));
  gofer::PrepareGofer(config);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  seccomp::PrimeAllocator();
  if (!seccomp::Install(GoferPolicy(false)).ok()) ::_exit(77);
  ::_exit(gofer::ServeGofer(std::move(config)));
}

// Every kind of request, some of which fail: what counts is that the process survives.
void Work(Client& client, const std::string& name) {
  const FidNum root{0};
  const uint32_t uid = ::getuid(), gid = ::getgid();
  for (int i = 0; i < 200 && !client.broken(); ++i) {
    const FidNum dir = *client.NewFid(), file = *client.NewFid(), other = *client.NewFid();
    EXPECT_TRUE(client.Call(gofer::Temkdir{root, dir, name, 02755, uid, gid}).ok());
    EXPECT_TRUE(client.Call(gofer::Tecreate{dir, file, "file", O_RDWR, 0644, uid, gid}).ok());
    EXPECT_TRUE(client.Call(gofer::Teopen{file, O_RDWR | O_TRUNC}).ok());
    EXPECT_TRUE(client.Call(gofer::Tesymlink{dir, kNoFid, "link", "file", uid, gid}).ok());
    EXPECT_TRUE(client.Call(gofer::Temknod{dir, kNoFid, "fifo", S_IFIFO | 0600, 0, 0, uid, gid}).ok());
    EXPECT_TRUE(client.Call(gofer::Telink{dir, file, "hard"}).ok());
    EXPECT_TRUE(client.Call(gofer::Terename{dir, "hard", dir, "renamed", 0}).ok());
    const uint32_t all = gofer::kSetMode | gofer::kSetUid | gofer::kSetGid | gofer::kSetSize | gofer::kSetAtime | gofer::kSetMtime;
    EXPECT_TRUE(client.Call(gofer::Tesetattr{file, {.valid = all, .mode = 0600, .uid = uid, .gid = gid, .size = 10}}).ok());
    EXPECT_TRUE(client.Call(gofer::Tewalk{root, {{kNoFid, name}, {other, "link"}}}).ok());
    EXPECT_TRUE(client.Call(gofer::Treadlink{other}).ok());
    EXPECT_TRUE(client.Call(gofer::Tereaddir{dir, 1, 1}).ok());
    EXPECT_TRUE(client.Call(gofer::Tegetattr{file}).ok());
    EXPECT_TRUE(client.Call(gofer::Tstatfs{file}).ok());
    (void)client.Call(gofer::Tesetxattr{file, "user.x", {}, 0});
    (void)client.Call(gofer::Tegetxattr{file, "user.x"});
    (void)client.Call(gofer::Telistxattr{file});
    (void)client.Call(gofer::Teremovexattr{file, "user.x"});
    (void)client.Call(gofer::Teconnect{file, 1});
    if (i % 50 == 0) {
      for (const auto kind : {gofer::SyncKind::kFile, gofer::SyncKind::kData, gofer::SyncKind::kFilesystem})
        EXPECT_TRUE(client.Call(gofer::Tesync{file, kind}).ok());
    }
    EXPECT_TRUE(client.Call(gofer::Tlopen{file, O_RDWR}).ok());
    EXPECT_TRUE(client.Call(gofer::Twrite{file, 0, {}}).ok());
    EXPECT_TRUE(client.Call(gofer::Tread{file, 0, 100}).ok());
    EXPECT_TRUE(client.Call(gofer::Tfsync{file, 1}).ok());
    EXPECT_TRUE(client.Call(gofer::Tlock{file, gofer::LockType::kWrite, 0, 0, 0, 1, ""}).ok());
    EXPECT_TRUE(client.Call(gofer::Tgetlock{file, gofer::LockType::kRead, 0, 0, 1, ""}).ok());
    for (const char* entry : {"file", "link", "fifo", "renamed"}) EXPECT_TRUE(client.Call(gofer::Tunlinkat{dir, entry, 0}).ok());
    EXPECT_TRUE(client.Call(gofer::Tunlinkat{root, name, 0x200}).ok());
    for (const FidNum fid : {dir, file, other}) client.Clunk(fid);
  }
}

TEST(GoferPolicy, AllowsEverythingThatAWorkingGoferDoes) {
  std::string root = (std::filesystem::temp_directory_path() / "gofer_policy.XXXXXX").string();
  ASSERT_NE(::mkdtemp(root.data()), nullptr);
  for (const bool shared : {true, false}) {
    auto pair = gofer::MakeSocketPair(gofer::SocketKind::kSeqPacket);
    ASSERT_TRUE(pair.ok());
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      (*pair)[0].Reset();
      ServeConfined(std::move((*pair)[1]), root.c_str());
    }
    (*pair)[1].Reset();
    {
      auto client = Client::Connect(std::move((*pair)[0]), {.max_lanes = 6, .shared = shared});
      ASSERT_TRUE(client.ok());
      ASSERT_TRUE((*client)->Call(gofer::Teattach{FidNum{0}, ""}).ok());
      std::vector<std::thread> threads;
      for (int t = 0; t < 6; ++t) threads.emplace_back([&, t] { Work(**client, "d" + std::to_string(t)); });
      for (std::thread& thread : threads) thread.join();
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  std::filesystem::remove_all(root);
}

TEST(GoferPolicy, HasAtMostFiftyCalls) { EXPECT_LE(GoferPolicy(true).allowed.size(), 50u); }

}  // namespace
}  // namespace rampart::runner
