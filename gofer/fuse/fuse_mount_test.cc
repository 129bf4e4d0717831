// The host's own system calls on a mounted Gofer: client and server of the extension, whole.
#include "gofer/fuse/fuse_mount.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "gofer/server/testing/test_server.h"

namespace rampart::gofer {
namespace {

class Fuse : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "mounting needs root";
    if (access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "there is no /dev/fuse";
    where_ = server_.outside() + "/mnt";
    ASSERT_EQ(mkdir(where_.c_str(), 0755), 0);
    auto client = Client::Connect(server_.TakeSocket(), {});
    ASSERT_TRUE(client.ok());
    auto mount = FuseMount::Create(std::move(*client), where_, {.cache_seconds = 0});
    if (!mount.ok()) GTEST_SKIP() << "this host lets nobody mount FUSE: " << ErrnoText(mount.error());
    mount_ = std::move(*mount);
    thread_ = std::thread([this] { mount_->Serve(); });
  }
  void TearDown() override {
    if (!mount_) return;
    mount_->Stop();
    thread_.join();
    mount_.reset();
  }

  TestServer server_{{}};
  std::string where_;
  std::unique_ptr<FuseMount> mount_;
  std::thread thread_;
};

TEST_F(Fuse, HostCallsWorkOnIt) {
  const std::string root = where_ + "/", host = server_.root() + "/";
  WriteFile(root + "f", "written through FUSE");
  EXPECT_EQ(ReadFile(host + "f"), "written through FUSE");
  EXPECT_EQ(ReadFile(root + "f"), "written through FUSE");
  std::error_code error;
  std::filesystem::create_directories(root + "a/b/c", error);
  EXPECT_FALSE(error);
  std::filesystem::rename(root + "f", root + "a/b/g", error);
  EXPECT_FALSE(error);
  std::filesystem::create_symlink("b/g", root + "a/link", error);
  EXPECT_EQ(ReadFile(root + "a/link"), "written through FUSE");
  std::filesystem::create_hard_link(root + "a/b/g", root + "hard", error);
  EXPECT_FALSE(error);
  struct stat one {}, two {};
  ASSERT_EQ(stat((root + "hard").c_str(), &one), 0);
  ASSERT_EQ(stat((host + "hard").c_str(), &two), 0);
  EXPECT_EQ(one.st_ino, two.st_ino);
  EXPECT_EQ(one.st_nlink, 2u);
  ASSERT_EQ(truncate((root + "hard").c_str(), 7), 0);
  EXPECT_EQ(ReadFile(host + "a/b/g"), "written");
  size_t entries = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) entries += !entry.path().empty();
  EXPECT_EQ(entries, 6u);
  EXPECT_EQ(std::filesystem::remove_all(root + "a", error), 5u);
  EXPECT_FALSE(std::filesystem::exists(host + "a"));
}

TEST_F(Fuse, MapsFiles) {
  const std::string script = "cd " + where_ + " && cp /bin/true t && ./t && tar cf x.tar t && tar xf x.tar && cmp t /bin/true";
  EXPECT_EQ(std::system(script.c_str()), 0);
}

}  // namespace
}  // namespace rampart::gofer
