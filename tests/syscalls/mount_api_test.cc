// open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr, statmount, listmount. Numbers and structures stand here: the C library's
// headers lack some.
#include <cstring>

#include "mount_support.h"

namespace {

using mounts::LineOf;
using mounts::Passes;
using Api = mounts::Mounts;

int OpenTree(int dirfd, const char* path, unsigned flags) { return static_cast<int>(syscall(428, dirfd, path, flags)); }
int MoveMount(int from_fd, const char* from, int to_fd, const char* to, unsigned flags) {
  return static_cast<int>(syscall(429, from_fd, from, to_fd, to, flags));
}
int FsOpen(const char* type, unsigned flags) { return static_cast<int>(syscall(430, type, flags)); }
int FsConfig(int fd, unsigned command, const char* key, const void* value, int aux) {
  return static_cast<int>(syscall(431, fd, command, key, value, aux));
}
int FsMount(int fd, unsigned flags, unsigned attributes) { return static_cast<int>(syscall(432, fd, flags, attributes)); }
int FsPick(int dirfd, const char* path, unsigned flags) { return static_cast<int>(syscall(433, dirfd, path, flags)); }
struct Attr {
  uint64_t set = 0, clear = 0, propagation = 0, userns_fd = 0;
};
int SetAttr(int dirfd, const char* path, unsigned flags, const Attr& attr, size_t size = sizeof(Attr)) {
  return static_cast<int>(syscall(442, dirfd, path, flags, &attr, size));
}

constexpr unsigned kClone = 1, kCloexec = O_CLOEXEC, kRecursive = 0x8000, kFromEmpty = 4, kSetGroup = 0x100;
constexpr unsigned kSetFlag = 0, kSetString = 1, kSetBinary = 2, kSetFd = 5, kCreate = 6, kReconfigure = 7;
constexpr uint64_t kRdonly = 1, kNosuid = 2, kNoexec = 8, kAtime = 0x70, kNoatime = 0x10, kIdmap = 0x100000;

TEST_F(Api, FilesystemStepByStep) {
  Directory("d");
  const int context = FsOpen("tmpfs", 1);
  ASSERT_GE(context, 0);
  EXPECT_EQ(fcntl(context, F_GETFD), FD_CLOEXEC);
  EXPECT_WORKS(FsConfig(context, kSetString, "source", "name", 0));
  EXPECT_WORKS(FsConfig(context, kSetString, "size", "1m", 0));
  EXPECT_WORKS(FsConfig(context, kSetString, "mode", "700", 0));
  EXPECT_FAILS(FsMount(context, 0, 0), EINVAL);
  EXPECT_WORKS(FsConfig(context, kCreate, nullptr, nullptr, 0));
  EXPECT_FAILS(FsConfig(context, kCreate, nullptr, nullptr, 0), EBUSY);
  EXPECT_FAILS(FsConfig(context, kSetString, "size", "1m", 0), EBUSY);
  const int tree = FsMount(context, 1, kNosuid);
  ASSERT_GE(tree, 0);
  EXPECT_FAILS(FsMount(context, 0, 0), EBUSY);
  struct stat st {};
  ASSERT_WORKS(fstat(tree, &st));
  EXPECT_EQ(st.st_mode & 07777, 0700u);
  const int inside = openat(tree, "f", O_CREAT | O_WRONLY, 0644);
  EXPECT_GE(inside, 0);
  close(inside);
  ASSERT_WORKS(MoveMount(tree, "", AT_FDCWD, "d", kFromEmpty));
  EXPECT_TRUE(Exists("d/f"));
  const mounts::Line line = LineOf(At("d"));
  EXPECT_EQ(line.source, "name");
  EXPECT_EQ(line.options, "rw,nosuid,relatime");
  close(tree);
  close(context);
  EXPECT_TRUE(Exists("d/f"));
  EXPECT_WORKS(umount("d"));
}

TEST_F(Api, WhatIsNotMovedGoes) {
  Directory("d");
  Tmpfs("a");
  Tmpfs("a/in");
  Put("a/in/f");
  const int tree = OpenTree(AT_FDCWD, "a", kClone | kRecursive | kCloexec);
  ASSERT_GE(tree, 0);
  EXPECT_EQ(faccessat(tree, "in/f", F_OK, 0), 0);
  const int kept = openat(tree, "in/f", O_RDONLY);
  close(tree);
  EXPECT_FAILS(openat(tree, "in/f", O_RDONLY), EBADF);
  char c = 0;
  EXPECT_EQ(read(kept, &c, 1), 1);
  close(kept);
  EXPECT_WORKS(umount("a/in"));
}

TEST_F(Api, TreesAreCopies) {
  Tmpfs("a");
  Tmpfs("a/in");
  Put("a/in/f");
  Directory("b");
  const int alone = OpenTree(AT_FDCWD, "a", kClone);
  ASSERT_GE(alone, 0);
  EXPECT_EQ(faccessat(alone, "in/f", F_OK, 0), -1);
  close(alone);
  const int tree = OpenTree(AT_FDCWD, "a", kClone | kRecursive);
  ASSERT_GE(tree, 0);
  EXPECT_EQ(faccessat(tree, "in/f", F_OK, 0), 0);
  EXPECT_EQ(SetAttr(tree, "", AT_EMPTY_PATH | kRecursive, {.set = kRdonly}), 0);
  ASSERT_WORKS(MoveMount(tree, "", AT_FDCWD, "b", kFromEmpty));
  EXPECT_FAILS(open("b/in/f", O_WRONLY), EROFS);
  Put("a/in/f");
  EXPECT_WORKS(umount("b/in"));
  close(tree);
  EXPECT_WORKS(umount("b"));
  // Without a copy, it is the place itself.
  const int plain = OpenTree(AT_FDCWD, "a", 0);
  ASSERT_GE(plain, 0);
  char c = 0;
  EXPECT_FAILS(read(plain, &c, 1), EBADF);
  ASSERT_WORKS(MoveMount(plain, "", AT_FDCWD, "b", kFromEmpty));
  EXPECT_TRUE(Exists("b/in/f"));
  EXPECT_FALSE(Exists("a/in"));
  close(plain);
}

TEST_F(Api, TreeErrors) {
  Tmpfs("a");
  Directory("a/sub");
  Directory("b");
  Put("f");
  EXPECT_FAILS(OpenTree(AT_FDCWD, "a", 0x4), EINVAL);
  EXPECT_FAILS(OpenTree(AT_FDCWD, "a", kRecursive), EINVAL);
  EXPECT_FAILS(OpenTree(AT_FDCWD, "none", kClone), ENOENT);
  EXPECT_FAILS(OpenTree(-1, "a", kClone), EBADF);
  EXPECT_FAILS(OpenTree(AT_FDCWD, "", kClone), ENOENT);
  EXPECT_FAILS(MoveMount(AT_FDCWD, "a", AT_FDCWD, "b", 0x1000), EINVAL);
  EXPECT_FAILS(MoveMount(AT_FDCWD, "a/sub", AT_FDCWD, "b", 0), EINVAL);
  EXPECT_FAILS(MoveMount(AT_FDCWD, "a", AT_FDCWD, "none", 0), ENOENT);
  EXPECT_FAILS(MoveMount(AT_FDCWD, "a", AT_FDCWD, "f", 0), EINVAL);
  EXPECT_FAILS(MoveMount(AT_FDCWD, "a", AT_FDCWD, "a/sub", 0), ELOOP);
  EXPECT_FAILS(MoveMount(AT_FDCWD, "", AT_FDCWD, "b", 0), ENOENT);
  ASSERT_WORKS(mount(nullptr, "a", nullptr, MS_UNBINDABLE, nullptr));
  EXPECT_FAILS(OpenTree(AT_FDCWD, "a", kClone), EINVAL);
  Passes(scratch::AsUser(1234, [] {
    IN_CHILD_FAILS(OpenTree(AT_FDCWD, "a", kClone), EPERM);
    IN_CHILD_FAILS(MoveMount(AT_FDCWD, "a", AT_FDCWD, "b", 0), EPERM);
    IN_CHILD_FAILS(FsOpen("tmpfs", 0), EPERM);
    IN_CHILD_FAILS(FsPick(AT_FDCWD, "a", 0), EPERM);
    IN_CHILD_FAILS(SetAttr(AT_FDCWD, "a", 0, {.set = kRdonly}), EPERM);
    IN_CHILD(OpenTree(AT_FDCWD, "a", 0) >= 0);
    return 0;
  }));
}

TEST_F(Api, ContextErrors) {
  EXPECT_FAILS(FsOpen("no-such-type", 0), ENODEV);
  EXPECT_FAILS(FsOpen("tmpfs", 2), EINVAL);
  EXPECT_FAILS(FsOpen(nullptr, 0), EFAULT);
  const int context = FsOpen("tmpfs", 0);
  ASSERT_GE(context, 0);
  const struct {
    int fd;
    unsigned command;
    const char* key;
    const void* value;
    int aux, error;
  } rows[] = {
      {-1, kSetFlag, "ro", nullptr, 0, EINVAL},        {context, 100, "ro", nullptr, 0, EOPNOTSUPP},   {context, kSetFlag, nullptr, nullptr, 0, EINVAL},
      {context, kSetFlag, "ro", "x", 0, EINVAL},       {context, kSetFlag, "ro", nullptr, 1, EINVAL},  {context, kSetString, "size", nullptr, 0, EINVAL},
      {context, kSetString, "size", "1", 1, EINVAL},   {context, kSetBinary, "x", "y", 0, EINVAL},     {context, kSetFd, "x", nullptr, -1, EINVAL},
      {context, kCreate, "x", nullptr, 0, EINVAL},     {0, kSetFlag, "ro", nullptr, 0, EINVAL},        {999, kSetFlag, "ro", nullptr, 0, EBADF},
      {context, kSetString, "size", "banana", 0, EINVAL}, {context, kSetString, "frobnicate", "1", 0, EINVAL}, {context, kReconfigure, nullptr, nullptr, 0, EBUSY},
  };
  for (const auto& row : rows) {
    errno = 0;
    EXPECT_EQ(FsConfig(row.fd, row.command, row.key, row.value, row.aux), -1) << row.command << " " << (row.key ? row.key : "-");
    EXPECT_EQ(errno, row.error) << row.fd << " " << row.command << " " << (row.key ? row.key : "-");
  }
  EXPECT_FAILS(FsMount(0, 0, 0), EINVAL);
  EXPECT_FAILS(FsMount(999, 0, 0), EBADF);
  EXPECT_FAILS(FsMount(context, 2, 0), EINVAL);
  EXPECT_FAILS(FsMount(context, 0, 0x40000000), EINVAL);
  EXPECT_FAILS(FsPick(AT_FDCWD, "none", 0), ENOENT);
  EXPECT_FAILS(FsPick(AT_FDCWD, ".", 0x100), EINVAL);
  Directory("d");
  EXPECT_FAILS(FsPick(AT_FDCWD, "d", 0), EINVAL);
  close(context);
}

TEST_F(Api, ContextTellsWhatWasWrong) {
  const int context = FsOpen("tmpfs", 0);
  ASSERT_GE(context, 0);
  char text[256] = {};
  EXPECT_FAILS(read(context, text, sizeof(text)), ENODATA);
  EXPECT_FAILS(FsConfig(context, kSetString, "frobnicate", "1", 0), EINVAL);
  ASSERT_GT(read(context, text, sizeof(text) - 1), 0);
  EXPECT_THAT(std::string(text), ::testing::HasSubstr("tmpfs: Unknown parameter 'frobnicate'"));
  EXPECT_EQ(std::string(text).substr(0, 2), "e ");
  EXPECT_FAILS(read(context, text, sizeof(text)), ENODATA);
  close(context);
}

TEST_F(Api, PickedIsReconfigured) {
  Tmpfs("d");
  const int context = FsPick(AT_FDCWD, "d", 1);
  ASSERT_GE(context, 0);
  EXPECT_FAILS(FsConfig(context, kCreate, nullptr, nullptr, 0), EBUSY);
  EXPECT_WORKS(FsConfig(context, kSetFlag, "ro", nullptr, 0));
  EXPECT_WORKS(FsConfig(context, kReconfigure, nullptr, nullptr, 0));
  EXPECT_FAILS(open("d/f", O_CREAT | O_WRONLY, 0644), EROFS);
  EXPECT_EQ(LineOf(At("d")).super.substr(0, 2), "ro");
  EXPECT_EQ(LineOf(At("d")).options.substr(0, 2), "rw");
  EXPECT_FAILS(FsMount(context, 0, 0), EBUSY);
  close(context);
}

TEST_F(Api, AttributesOfMounts) {
  Tmpfs("d");
  Tmpfs("d/in");
  ASSERT_WORKS(SetAttr(AT_FDCWD, "d", 0, {.set = kNosuid | kNoexec}));
  EXPECT_EQ(LineOf(At("d")).options, "rw,nosuid,noexec,relatime");
  EXPECT_EQ(LineOf(At("d/in")).options, "rw,relatime");
  ASSERT_WORKS(SetAttr(AT_FDCWD, "d", kRecursive, {.set = kRdonly | kNoatime, .clear = kNosuid | kAtime}));
  EXPECT_EQ(LineOf(At("d")).options, "ro,noexec,noatime");
  EXPECT_EQ(LineOf(At("d/in")).options, "ro,noatime");
  ASSERT_WORKS(SetAttr(AT_FDCWD, "d", kRecursive, {.clear = kRdonly, .propagation = MS_SHARED}));
  EXPECT_THAT(LineOf(At("d/in")).propagation, ::testing::StartsWith("shared:"));
  const int writer = open("d/in/f", O_CREAT | O_WRONLY, 0644);
  ASSERT_GE(writer, 0);
  EXPECT_FAILS(SetAttr(AT_FDCWD, "d", kRecursive, {.set = kRdonly}), EBUSY);
  EXPECT_EQ(LineOf(At("d")).options.substr(0, 2), "rw");  // all or none
  close(writer);
}

TEST_F(Api, AttributeErrors) {
  Tmpfs("d");
  Directory("plain");
  EXPECT_FAILS(SetAttr(AT_FDCWD, "d", 0x4, {.set = kRdonly}), EINVAL);
  EXPECT_FAILS(SetAttr(AT_FDCWD, "d", 0, {.set = kRdonly}, 8), EINVAL);
  EXPECT_FAILS(SetAttr(AT_FDCWD, "d", 0, {.set = kRdonly}, 8192), E2BIG);
  EXPECT_FAILS(SetAttr(AT_FDCWD, "d", 0, {.set = uint64_t{1} << 40}), EINVAL);
  EXPECT_FAILS(SetAttr(AT_FDCWD, "d", 0, {.set = kNoatime}), EINVAL);
  EXPECT_FAILS(SetAttr(AT_FDCWD, "d", 0, {.clear = kNoatime}), EINVAL);
  EXPECT_FAILS(SetAttr(AT_FDCWD, "d", 0, {.propagation = MS_SHARED | MS_PRIVATE}), EINVAL);
  EXPECT_FAILS(SetAttr(AT_FDCWD, "d", 0, {.propagation = 1}), EINVAL);
  EXPECT_FAILS(SetAttr(AT_FDCWD, "plain", 0, {.set = kRdonly}), EINVAL);
  EXPECT_FAILS(SetAttr(AT_FDCWD, "none", 0, {.set = kRdonly}), ENOENT);
  EXPECT_WORKS(SetAttr(AT_FDCWD, "none", 0, {}));
  EXPECT_FAILS(SetAttr(AT_FDCWD, "d", 0, {.set = kIdmap, .userns_fd = 999}), EBADF);
  EXPECT_FAILS(SetAttr(AT_FDCWD, "d", 0, {.set = kIdmap, .userns_fd = 0}), EINVAL);
}

TEST_F(Api, GroupsAreJoined) {
  Tmpfs("a");
  Directory("a/in");
  Directory("b");
  ASSERT_WORKS(mount("a", "b", nullptr, MS_BIND, nullptr));
  EXPECT_FAILS(MoveMount(AT_FDCWD, "a", AT_FDCWD, "b", kSetGroup), EINVAL);
  ASSERT_WORKS(mount(nullptr, "a", nullptr, MS_SHARED, nullptr));
  ASSERT_WORKS(MoveMount(AT_FDCWD, "a", AT_FDCWD, "b", kSetGroup));
  EXPECT_EQ(LineOf(At("a")).propagation, LineOf(At("b")).propagation);
  ASSERT_WORKS(mount("t", "b/in", "tmpfs", 0, nullptr));
  EXPECT_EQ(LineOf(At("a/in")).type, "tmpfs");
}

struct Request {
  uint32_t size = 24, spare = 0;
  uint64_t id = 0, parameter = 0;
};
struct Status {
  uint32_t size, options;
  uint64_t mask;
  uint32_t major, minor;
  uint64_t magic;
  uint32_t sb_flags, type;
  uint64_t id, parent;
  uint32_t old_id, old_parent;
  uint64_t attributes, propagation, peers, master, from;
  uint32_t root, point;
  uint64_t ns;
  uint64_t spare[49];
  char text[4096];
};

class Query : public mounts::Mounts {
 protected:
  void SetUp() override {
    Mounts::SetUp();
    Request request{.id = ~uint64_t{0}};
    uint64_t id = 0;
    if (ready && syscall(458, &request, &id, 1, 0) == -1 && errno == ENOSYS) GTEST_SKIP() << "this kernel has no listmount";
  }
  static uint64_t IdOf(const char* name) {
    struct {
      uint32_t mask;
      char before[140];
      uint64_t mount_id;
      char after[256];
    } x{};
    EXPECT_EQ(syscall(SYS_statx, AT_FDCWD, name, 0, 0x4000 /* STATX_MNT_ID_UNIQUE */, &x), 0);
    EXPECT_NE(x.mask & 0x4000, 0u);
    uint64_t id = 0;
    std::memcpy(&id, reinterpret_cast<const char*>(&x) + 144, sizeof(id));
    return id;
  }
};

TEST_F(Query, OneMount) {
  Tmpfs("d");
  ASSERT_WORKS(mount(nullptr, "d", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr));
  Status s{};
  Request request{.id = IdOf("d"), .parameter = 0x3f};
  ASSERT_WORKS(syscall(457, &request, &s, sizeof(s), 0));
  EXPECT_EQ(s.mask & 0x3f, 0x3fu);
  EXPECT_EQ(s.id, IdOf("d"));
  EXPECT_EQ(s.parent, IdOf("."));
  EXPECT_EQ(static_cast<int>(s.old_id), LineOf(At("d")).id);
  EXPECT_EQ(s.magic, 0x01021994u);
  EXPECT_EQ(s.attributes, kRdonly);
  EXPECT_EQ(s.propagation, static_cast<uint64_t>(MS_PRIVATE));
  EXPECT_STREQ(s.text + s.type, "tmpfs");
  EXPECT_STREQ(s.text + s.root, "/");
  EXPECT_EQ(std::string(s.text + s.point), At("d"));
  EXPECT_FAILS(syscall(457, &request, &s, 512, 0), EOVERFLOW);
  EXPECT_FAILS(syscall(457, &request, &s, sizeof(s), 1), EINVAL);
  request.size = 8;
  EXPECT_FAILS(syscall(457, &request, &s, sizeof(s), 0), EINVAL);
  request = {.id = IdOf("d") + 1000, .parameter = 1};
  EXPECT_FAILS(syscall(457, &request, &s, sizeof(s), 0), ENOENT);
  EXPECT_FAILS(syscall(457, 8L, &s, sizeof(s), 0), EFAULT);
}

TEST_F(Query, ManyMounts) {
  Tmpfs("d");
  Tmpfs("d/e");
  Tmpfs("f");
  uint64_t ids[16] = {};
  Request request{.id = IdOf(".")};
  ASSERT_EQ(syscall(458, &request, ids, 16, 0), 3);
  EXPECT_EQ(ids[0], IdOf("d"));
  EXPECT_EQ(ids[1], IdOf("d/e"));
  EXPECT_EQ(ids[2], IdOf("f"));
  request.parameter = ids[0];
  EXPECT_EQ(syscall(458, &request, ids, 1, 0), 1);
  EXPECT_EQ(ids[0], IdOf("d/e"));
  request.parameter = 0;
  EXPECT_EQ(syscall(458, &request, ids, 16, 1), 3);
  EXPECT_EQ(ids[0], IdOf("f"));
  request.id = ~uint64_t{0};
  EXPECT_EQ(syscall(458, &request, ids, 16, 0) >= 4, true);
  EXPECT_FAILS(syscall(458, &request, ids, 16, 4), EINVAL);
}

}  // namespace
