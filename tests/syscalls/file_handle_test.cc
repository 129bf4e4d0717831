// name_to_handle_at(2), open_by_handle_at(2).
#include <fcntl.h>
#include <sys/stat.h>

#include "net_support.h"

namespace {

using test::Owned;

constexpr int kUnique = 1, kFid = 0x200;
struct Handle {
  unsigned bytes = sizeof(data);
  int type = 0;
  unsigned char data[128] = {};
  bool operator==(const Handle& o) const { return bytes == o.bytes && type == o.type && memcmp(data, o.data, sizeof(data)) == 0; }
};
int Name(int dirfd, const char* path, Handle& handle, int& mount, int flags) {
  return name_to_handle_at(dirfd, path, reinterpret_cast<file_handle*>(&handle), &mount, flags);
}

class FileHandle : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = "/dev/shm/file_handle_test." + std::to_string(getpid());
    ASSERT_EQ(mkdir(dir_.c_str(), 0700), 0);
    Owned(open((dir_ + "/a").c_str(), O_CREAT | O_WRONLY, 0600));
    Owned(open((dir_ + "/b").c_str(), O_CREAT | O_WRONLY, 0600));
    ASSERT_EQ(symlink("a", (dir_ + "/link").c_str()), 0);
    at_ = Owned(open(dir_.c_str(), O_RDONLY | O_DIRECTORY));
  }
  void TearDown() override { (void)!system(("rm -rf " + dir_).c_str()); }
  std::string dir_;
  Owned at_;
};

TEST_F(FileHandle, NamesAnObject) {
  Handle a, again, b, link, followed, self, directory;
  int mount = -1, mount_b = -2;
  ASSERT_EQ(Name(at_.get(), "a", a, mount, 0), 0);
  EXPECT_GT(a.bytes, 0u);
  EXPECT_LT(a.bytes, 128u);
  ASSERT_EQ(Name(at_.get(), "a", again, mount, 0), 0);
  EXPECT_EQ(a, again);
  ASSERT_EQ(Name(at_.get(), "b", b, mount_b, 0), 0);
  EXPECT_FALSE(a == b);
  EXPECT_EQ(mount, mount_b);
  ASSERT_EQ(Name(at_.get(), "link", link, mount, 0), 0);
  EXPECT_FALSE(a == link);
  ASSERT_EQ(Name(at_.get(), "link", followed, mount, AT_SYMLINK_FOLLOW), 0);
  EXPECT_EQ(a, followed);
  ASSERT_EQ(Name(at_.get(), "", self, mount, AT_EMPTY_PATH), 0);
  ASSERT_EQ(Name(AT_FDCWD, dir_.c_str(), directory, mount, 0), 0);
  EXPECT_EQ(self, directory);
}

TEST_F(FileHandle, TellsTheSizeThatItNeeds) {
  Handle small;
  small.bytes = 0;
  int mount = -1;
  EXPECT_FAILS(Name(at_.get(), "a", small, mount, 0), EOVERFLOW);
  EXPECT_GT(small.bytes, 0u);
  EXPECT_NE(mount, -1);
  EXPECT_EQ(Name(at_.get(), "a", small, mount, 0), 0);
}

TEST_F(FileHandle, Errors) {
  Handle handle;
  int mount = 0;
  EXPECT_FAILS(Name(-1, "a", handle, mount, 0), EBADF);
  EXPECT_FAILS(Name(at_.get(), "none", handle, mount, 0), ENOENT);
  EXPECT_FAILS(Name(at_.get(), "", handle, mount, 0), ENOENT);
  EXPECT_FAILS(Name(at_.get(), "a", handle, mount, -1), EINVAL);
  handle.bytes = 129;
  EXPECT_FAILS(Name(at_.get(), "a", handle, mount, 0), EINVAL);
  EXPECT_FAILS(name_to_handle_at(at_.get(), "a", reinterpret_cast<file_handle*>(test::BadAddress()), &mount, 0), EFAULT);
  EXPECT_FAILS(Name(AT_FDCWD, "/proc/self/status", handle = Handle(), mount, 0), EOPNOTSUPP);
}

TEST_F(FileHandle, OpeningNeedsTheCapability) {
  Handle handle;
  int mount = 0;
  ASSERT_EQ(Name(at_.get(), "a", handle, mount, 0), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (setresuid(12345, 12345, 12345) != 0 && getuid() == 0) _exit(1);
    const int fd = open_by_handle_at(at_.get(), reinterpret_cast<file_handle*>(&handle), O_RDONLY);
    _exit(fd == -1 && errno == EPERM ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_FAILS(open_by_handle_at(-1, reinterpret_cast<file_handle*>(&handle), O_RDONLY), EBADF);
  (void)kUnique, (void)kFid;
}

}  // namespace
