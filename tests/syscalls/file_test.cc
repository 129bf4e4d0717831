// Opening, closing, duplicating, naming and judging files: open, close, dup, fcntl, stat, chmod, chown, access, umask, timestamps.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <utime.h>

#include <climits>
#include <cstring>
#include <ctime>
#include <vector>

#include "scratch.h"

namespace {

using scratch::AsUser;
using scratch::InChild;
using scratch::Passes;

class File : public scratch::Scratch {};
ON_ALL_PLACES(File);

TEST_P(File, OpenMakesWithModeAndUmask) {
  umask(027);
  const int fd = open("f", O_CREAT | O_EXCL | O_RDWR, 0666);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(Mode("f"), 0640u);
  EXPECT_EQ(umask(077), 027u);
  EXPECT_EQ(umask(0), 077u);
  EXPECT_FAILS(open("f", O_CREAT | O_EXCL | O_RDWR, 0666), EEXIST);
  const int again = open("f", O_CREAT | O_RDONLY, 0777);
  ASSERT_GE(again, 0);
  EXPECT_EQ(Mode("f"), 0640u);
  const int special = open("s", O_CREAT | O_RDWR, 07777);
  ASSERT_GE(special, 0);
  EXPECT_EQ(Mode("s"), 07777u);
  close(special);
  close(again);
  close(fd);
}

TEST_P(File, OpenErrors) {
  Put("f", "x");
  ASSERT_WORKS(mkdir("d", 0755));
  ASSERT_WORKS(symlink("loop", "loop"));
  ASSERT_WORKS(symlink("f", "link"));
  EXPECT_FAILS(open("none", O_RDONLY), ENOENT);
  EXPECT_FAILS(open("", O_RDONLY), ENOENT);
  EXPECT_FAILS(open("none/f", O_CREAT | O_RDWR, 0600), ENOENT);
  EXPECT_FAILS(open("f/g", O_RDONLY), ENOTDIR);
  EXPECT_FAILS(open("f/g", O_CREAT | O_RDWR, 0600), ENOTDIR);
  EXPECT_FAILS(open("f/", O_RDONLY), ENOTDIR);
  EXPECT_FAILS(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
  EXPECT_FAILS(open("d", O_WRONLY), EISDIR);
  EXPECT_FAILS(open("d", O_RDWR), EISDIR);
  EXPECT_FAILS(open("d", O_RDONLY | O_TRUNC), EISDIR);
  EXPECT_FAILS(open("d", O_RDONLY | O_CREAT, 0600), EISDIR);
  EXPECT_FAILS(open("new/", O_CREAT | O_RDWR, 0600), EISDIR);
  EXPECT_FAILS(open("loop", O_RDONLY), ELOOP);
  EXPECT_FAILS(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
  EXPECT_FAILS(open("link", O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
  EXPECT_FAILS(open(std::string(256, 'n').c_str(), O_RDONLY), ENAMETOOLONG);
  EXPECT_FAILS(open((std::string(255, 'n') + "/x").c_str(), O_RDONLY), ENOENT);
  EXPECT_FAILS(open(std::string(PATH_MAX, '/').c_str(), O_RDONLY), ENAMETOOLONG);
  EXPECT_FAILS(syscall(SYS_open, 1L, O_RDONLY), EFAULT);
  EXPECT_FAILS(syscall(SYS_openat, 999, "f", O_RDONLY), EBADF);
  const int fd = open("f", O_RDONLY);
  EXPECT_FAILS(openat(fd, "f", O_RDONLY), ENOTDIR);
  close(fd);
}

TEST_P(File, LongestNameAndPathWork) {
  const std::string name(255, 'n');
  Put(name.c_str(), "long");
  EXPECT_EQ(Get(name.c_str()), "long");
  std::string padded = "f";
  Put("f", "pad");
  while (padded.size() + 2 < PATH_MAX) padded = "./" + padded;
  EXPECT_EQ(Get(padded.c_str()), "pad");
}

TEST_P(File, ThreeAndInvalidAccessModes) {
  Put("f", "abc");
  const int fd = open("f", 3);  // neither read nor write, only ioctl
  ASSERT_GE(fd, 0);
  char c = 0;
  EXPECT_FAILS(read(fd, &c, 1), EBADF);
  EXPECT_FAILS(write(fd, &c, 1), EBADF);
  close(fd);
  const int ro = open("f", O_RDONLY), wo = open("f", O_WRONLY);
  EXPECT_FAILS(write(ro, &c, 1), EBADF);
  EXPECT_FAILS(read(wo, &c, 1), EBADF);
  EXPECT_FAILS(pread(wo, &c, 1, 0), EBADF);
  EXPECT_FAILS(ftruncate(ro, 0), EINVAL);
  close(ro);
  close(wo);
}

TEST_P(File, TruncateAtOpen) {
  Put("f", "0123456789");
  const int fd = open("f", O_WRONLY | O_TRUNC);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(Stat("f").st_size, 0);
  close(fd);
}

TEST_P(File, WhetherAnOpenMadeIt) {
  constexpr int kCreatedQuery = 1024 + 4;
  const auto made = [&](int flags) {
    const int fd = open("made", flags, 0600);
    const int result = fcntl(fd, kCreatedQuery, 0), error = errno;
    close(fd);
    return result >= 0 ? result : -error;
  };
  const int first = made(O_CREAT | O_RDONLY);
  if (first == -EINVAL) GTEST_SKIP() << "the kernel is older than 6.12";
  EXPECT_EQ(first, 1);
  EXPECT_EQ(made(O_CREAT | O_RDWR), 0);
  EXPECT_EQ(made(O_RDONLY), 0);
  EXPECT_EQ(made(O_PATH), 0);
  ASSERT_EQ(unlink("made"), 0);
  EXPECT_EQ(made(O_CREAT | O_EXCL | O_WRONLY), 1);
}

TEST_P(File, CreatThroughDanglingLink) {
  ASSERT_WORKS(mkdir("d", 0755));
  ASSERT_WORKS(symlink("d/target", "link"));
  const int fd = open("link", O_CREAT | O_RDWR, 0600);
  ASSERT_GE(fd, 0);
  close(fd);
  EXPECT_TRUE(Exists("d/target"));
}

TEST_P(File, PathDescriptorsOnlyName) {
  Put("f", "abc");
  ASSERT_WORKS(symlink("f", "link"));
  const int fd = open("f", O_PATH);
  ASSERT_GE(fd, 0);
  char c = 0;
  struct stat st {};
  EXPECT_FAILS(read(fd, &c, 1), EBADF);
  EXPECT_FAILS(fchmod(fd, 0600), EBADF);
  EXPECT_FAILS(fchown(fd, 0, 0), EBADF);
  EXPECT_FAILS(lseek(fd, 0, SEEK_SET), EBADF);
  EXPECT_FAILS(ftruncate(fd, 0), EBADF);
  EXPECT_FAILS(fsync(fd), EBADF);
  EXPECT_FAILS(flock(fd, LOCK_SH), EBADF);
  EXPECT_WORKS(fstat(fd, &st));
  EXPECT_EQ(st.st_size, 3);
  EXPECT_EQ(fcntl(fd, F_GETFL) & O_PATH, O_PATH);
  const int copy = dup(fd);
  EXPECT_GE(copy, 0);
  close(copy);
  const std::string again = "/proc/self/fd/" + std::to_string(fd);
  EXPECT_EQ(Get(again.c_str()), "abc");
  const int link = open("link", O_PATH | O_NOFOLLOW);
  ASSERT_GE(link, 0);
  EXPECT_WORKS(fstat(link, &st));
  EXPECT_TRUE(S_ISLNK(st.st_mode));
  char text[8] = {};
  EXPECT_EQ(readlinkat(link, "", text, sizeof(text)), 1);
  EXPECT_WORKS(fstatat(link, "", &st, AT_EMPTY_PATH));
  close(link);
  close(fd);
}

TEST_P(File, LowestNumbersAreGiven) {
  const int a = open(".", O_RDONLY), b = open(".", O_RDONLY), c = open(".", O_RDONLY);
  EXPECT_EQ(b, a + 1);
  EXPECT_EQ(c, a + 2);
  close(b);
  EXPECT_EQ(dup(a), b);
  EXPECT_FAILS(close(c + 100), EBADF);
  close(a);
  close(b);
  close(c);
  EXPECT_FAILS(close(c), EBADF);
}

TEST_P(File, DupFamily) {
  Put("f", "0123456789");
  const int fd = open("f", O_RDONLY);
  const int copy = dup(fd);
  EXPECT_EQ(lseek(fd, 4, SEEK_SET), 4);
  EXPECT_EQ(lseek(copy, 0, SEEK_CUR), 4);
  EXPECT_EQ(dup2(fd, 100), 100);
  EXPECT_EQ(fcntl(100, F_GETFD), 0);
  EXPECT_EQ(dup3(fd, 101, O_CLOEXEC), 101);
  EXPECT_EQ(fcntl(101, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(dup2(fd, fd), fd);
  EXPECT_FAILS(dup3(fd, fd, 0), EINVAL);
  EXPECT_FAILS(dup3(fd, 102, O_APPEND), EINVAL);
  EXPECT_FAILS(dup2(999, 103), EBADF);
  EXPECT_FAILS(dup2(fd, -1), EBADF);
  EXPECT_FAILS(dup2(999, 999), EBADF);
  EXPECT_EQ(fcntl(fd, F_DUPFD, 200), 200);
  EXPECT_EQ(fcntl(fd, F_DUPFD_CLOEXEC, 200), 201);
  EXPECT_EQ(fcntl(201, F_GETFD), FD_CLOEXEC);
  EXPECT_WORKS(fcntl(201, F_SETFD, 0));
  EXPECT_EQ(fcntl(201, F_GETFD), 0);
  EXPECT_FAILS(fcntl(fd, F_DUPFD, -1), EINVAL);
  EXPECT_WORKS(close_range(100, 201, 0));
  EXPECT_FAILS(fcntl(100, F_GETFD), EBADF);
  EXPECT_FAILS(close_range(5, 4, 0), EINVAL);
  EXPECT_WORKS(close_range(static_cast<unsigned>(copy), static_cast<unsigned>(copy), CLOSE_RANGE_CLOEXEC));
  EXPECT_EQ(fcntl(copy, F_GETFD), FD_CLOEXEC);
  close(fd);
  close(copy);
}

TEST_P(File, DescriptorLimit) {
  Passes(InChild([] {
    rlimit limit{20, 20};
    IN_CHILD(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int last = -1, fd = -1;
    while ((fd = open("/", O_RDONLY)) >= 0) last = fd;
    IN_CHILD(last == 19);
    IN_CHILD_FAILS(open("/", O_RDONLY), EMFILE);
    IN_CHILD_FAILS(dup(0), EMFILE);
    IN_CHILD_FAILS(dup2(0, 20), EBADF);
    IN_CHILD_FAILS(fcntl(0, F_DUPFD, 20), EINVAL);
    int fds[2];
    close(19);
    IN_CHILD_FAILS(pipe(fds), EMFILE);
    return 0;
  }));
}

TEST_P(File, StatusFlags) {
  const int fd = open("f", O_CREAT | O_RDWR | O_APPEND, 0600);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR | O_APPEND);
  EXPECT_WORKS(fcntl(fd, F_SETFL, O_NONBLOCK));
  EXPECT_EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR | O_NONBLOCK);
  EXPECT_FAILS(fcntl(fd, 9999), EINVAL);
  EXPECT_FAILS(fcntl(999, F_GETFL), EBADF);
  int on = 0;
  EXPECT_WORKS(ioctl(fd, FIONBIO, &on));
  EXPECT_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_WORKS(ioctl(fd, FIOCLEX));
  EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(write(fd, "12345", 5), 5);
  EXPECT_EQ(lseek(fd, 2, SEEK_SET), 2);
  int left = 0;
  EXPECT_WORKS(ioctl(fd, FIONREAD, &left));
  EXPECT_EQ(left, 3);
  EXPECT_FAILS(ioctl(fd, TCGETS, &left), ENOTTY);
  close(fd);
}

TEST_P(File, StatTellsTheTruth) {
  Put("f", "hello", 0640);
  ASSERT_WORKS(mkdir("d", 0750));
  ASSERT_WORKS(symlink("f", "s"));
  ASSERT_WORKS(link("f", "g"));
  const struct stat f = Stat("f"), d = Stat("d"), s = Stat("s"), g = Stat("g");
  EXPECT_TRUE(S_ISREG(f.st_mode) && S_ISDIR(d.st_mode) && S_ISLNK(s.st_mode));
  EXPECT_EQ(f.st_size, 5);
  EXPECT_EQ(s.st_size, 1);
  EXPECT_EQ(f.st_nlink, 2u);
  EXPECT_EQ(d.st_nlink, 2u);
  EXPECT_EQ(f.st_ino, g.st_ino);
  EXPECT_EQ(f.st_dev, g.st_dev);
  EXPECT_EQ(f.st_dev, d.st_dev);
  EXPECT_NE(f.st_ino, d.st_ino);
  EXPECT_GT(f.st_ino, 0u);
  EXPECT_EQ(f.st_uid, geteuid());
  EXPECT_EQ(f.st_gid, getegid());
  EXPECT_EQ(f.st_blksize, 4096);
  EXPECT_EQ(s.st_mode & 07777, 0777u);
  ASSERT_WORKS(mkdir("d/sub", 0755));
  EXPECT_EQ(Stat("d").st_nlink, 3u);
  struct stat st {};
  EXPECT_WORKS(stat("s", &st));
  EXPECT_EQ(st.st_ino, f.st_ino);
  EXPECT_FAILS(stat("none", &st), ENOENT);
  EXPECT_FAILS(stat("f/x", &st), ENOTDIR);
  EXPECT_FAILS(fstat(999, &st), EBADF);
  EXPECT_FAILS(syscall(SYS_stat, "f", 1L), EFAULT);
  EXPECT_FAILS(fstatat(AT_FDCWD, "", &st, 0), ENOENT);
  EXPECT_FAILS(fstatat(AT_FDCWD, "f", &st, 0x40000), EINVAL);
  EXPECT_WORKS(fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH));
  EXPECT_TRUE(S_ISDIR(st.st_mode));
}

TEST_P(File, StatxTellsMore) {
  Put("f", "hello");
  struct statx x {};
  ASSERT_WORKS(statx(AT_FDCWD, "f", 0, STATX_ALL, &x));
  EXPECT_EQ(x.stx_mask & STATX_BASIC_STATS, unsigned{STATX_BASIC_STATS});
  EXPECT_EQ(x.stx_size, 5u);
  EXPECT_EQ(x.stx_nlink, 1u);
  EXPECT_TRUE(S_ISREG(x.stx_mode));
  if ((x.stx_mask & STATX_BTIME) != 0) {
    EXPECT_GT(x.stx_btime.tv_sec, 1'600'000'000);
  }
  const struct stat st = Stat("f");
  EXPECT_EQ(x.stx_ino, st.st_ino);
  EXPECT_EQ(makedev(x.stx_dev_major, x.stx_dev_minor), st.st_dev);
  constexpr uint64_t kOfEveryFile = STATX_ATTR_AUTOMOUNT | STATX_ATTR_MOUNT_ROOT | STATX_ATTR_DAX;
  EXPECT_EQ(x.stx_attributes_mask & kOfEveryFile, kOfEveryFile);
  EXPECT_EQ(x.stx_attributes & kOfEveryFile, 0u);
  EXPECT_FAILS(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_ALL, &x), EINVAL);
  EXPECT_FAILS(statx(AT_FDCWD, "f", 0, 0x80000000u, &x), EINVAL);
  EXPECT_FAILS(statx(AT_FDCWD, "f", 0x40000000, STATX_ALL, &x), EINVAL);
  EXPECT_FAILS(statx(999, "f", 0, STATX_ALL, &x), EBADF);
  const int fd = open("f", O_RDONLY);
  EXPECT_WORKS(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
  EXPECT_EQ(syscall(SYS_statx, fd, nullptr, AT_EMPTY_PATH, STATX_SIZE, &x), 0);  // since Linux 6.11
  close(fd);
}

TEST_P(File, ChmodRules) {
  Put("f", "x");
  ASSERT_WORKS(mkdir("d", 0755));
  ASSERT_WORKS(symlink("f", "s"));
  EXPECT_WORKS(chmod("f", 0604));
  EXPECT_EQ(Mode("f"), 0604u);
  EXPECT_WORKS(chmod("s", 0611));
  EXPECT_EQ(Mode("f"), 0611u);
  EXPECT_WORKS(chmod("d", 01777));
  EXPECT_EQ(Mode("d"), 01777u);
  EXPECT_WORKS(chmod("f", 0106777));
  EXPECT_EQ(Mode("f"), 06777u);
  const int fd = open("f", O_RDONLY);
  EXPECT_WORKS(fchmod(fd, 0));
  EXPECT_EQ(Mode("f"), 0u);
  EXPECT_FAILS(chmod("none", 0600), ENOENT);
  EXPECT_FAILS(fchmod(999, 0600), EBADF);
  EXPECT_FAILS(fchmodat(AT_FDCWD, "f", 0600, 0x40000), EINVAL);
  EXPECT_FAILS(syscall(452, AT_FDCWD, "s", 0600, AT_SYMLINK_NOFOLLOW), EOPNOTSUPP);  // fchmodat2
  close(fd);
}

TEST_P(File, ChownRules) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  Put("f", "x", 0755);
  ASSERT_WORKS(symlink("f", "s"));
  EXPECT_WORKS(chown("f", 12, 34));
  EXPECT_EQ(Stat("f").st_uid, 12u);
  EXPECT_EQ(Stat("f").st_gid, 34u);
  EXPECT_WORKS(chown("f", static_cast<uid_t>(-1), 35));
  EXPECT_EQ(Stat("f").st_uid, 12u);
  EXPECT_EQ(Stat("f").st_gid, 35u);
  EXPECT_WORKS(lchown("s", 77, 88));
  EXPECT_EQ(Stat("s").st_uid, 77u);
  EXPECT_EQ(Stat("f").st_uid, 12u);
  ASSERT_WORKS(chmod("f", 06755));
  EXPECT_WORKS(chown("f", 12, 35));
  EXPECT_EQ(Mode("f"), 0755u) << "set-id bits go, also for root";
  ASSERT_WORKS(chmod("f", 02644));
  EXPECT_WORKS(chown("f", 12, 35));
  EXPECT_EQ(Mode("f"), 02644u) << "mandatory-locking style bits stay for root";
  EXPECT_FAILS(chown("none", 1, 1), ENOENT);
  EXPECT_FAILS(fchownat(AT_FDCWD, "f", 1, 1, 0x40000), EINVAL);
  Passes(AsUser(12, [] {
    IN_CHILD_FAILS(chown("f", 13, static_cast<gid_t>(-1)), EPERM);
    IN_CHILD_FAILS(chown("f", static_cast<uid_t>(-1), 99), EPERM);
    IN_CHILD(chown("f", 12, 12) == 0);
    IN_CHILD_FAILS(chown("s", 12, 99), EPERM);
    return 0;
  }));
}

TEST_P(File, OtherUsersAreKeptOut) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  umask(0);
  Put("private", "x", 0600);
  Put("public", "x", 0644);
  Put("run", "#!/bin/true\n", 0711);
  ASSERT_WORKS(mkdir("closed", 0700));
  ASSERT_WORKS(mkdir("noread", 0711));
  Put("noread/in", "x", 0644);
  Put("closed/in", "x", 0644);
  ASSERT_WORKS(mkdir("open", 0777));
  Put("open/mine", "x", 0600);
  ASSERT_WORKS(mkdir("sticky", 01777));
  Put("sticky/mine", "x", 0666);
  Passes(AsUser(1234, [] {
    struct stat st {};
    IN_CHILD_FAILS(open("private", O_RDONLY), EACCES);
    IN_CHILD(open("public", O_RDONLY) >= 0);
    IN_CHILD_FAILS(open("public", O_RDWR), EACCES);
    IN_CHILD_FAILS(open("public", O_RDONLY | O_TRUNC), EACCES);
    IN_CHILD_FAILS(open("public", O_RDONLY | O_NOATIME), EPERM);
    IN_CHILD_FAILS(open("new", O_CREAT | O_RDWR, 0600), EACCES);
    IN_CHILD_FAILS(mkdir("newdir", 0700), EACCES);
    IN_CHILD_FAILS(stat("closed/in", &st), EACCES);
    IN_CHILD_FAILS(open("closed", O_RDONLY), EACCES);
    IN_CHILD(open("closed", O_PATH) >= 0);
    IN_CHILD(stat("noread/in", &st) == 0);
    IN_CHILD_FAILS(open("noread", O_RDONLY), EACCES);
    IN_CHILD_FAILS(stat("noread/none", &st), ENOENT);
    IN_CHILD_FAILS(chdir("closed"), EACCES);
    IN_CHILD_FAILS(chmod("public", 0777), EPERM);
    IN_CHILD_FAILS(truncate("public", 0), EACCES);
    IN_CHILD_FAILS(unlink("public"), EACCES);
    IN_CHILD_FAILS(rename("public", "x"), EACCES);
    IN_CHILD_FAILS(access("private", R_OK), EACCES);
    IN_CHILD(access("private", F_OK) == 0);
    IN_CHILD(access("run", X_OK) == 0);
    IN_CHILD_FAILS(access("run", R_OK), EACCES);
    IN_CHILD_FAILS(unlink("sticky/mine"), EPERM);
    IN_CHILD_FAILS(rename("sticky/mine", "sticky/x"), EPERM);
    IN_CHILD(open("sticky/own", O_CREAT | O_RDWR, 0600) >= 0);
    IN_CHILD(unlink("sticky/own") == 0);
    IN_CHILD(unlink("open/mine") == 0);
    IN_CHILD_FAILS(mknod("open/dev", S_IFCHR | 0600, makedev(1, 3)), EPERM);
    IN_CHILD(mknod("open/fifo", S_IFIFO | 0600, 0) == 0);
    IN_CHILD_FAILS(chroot("open"), EPERM);
    return 0;
  }));
}

TEST_P(File, WritingClearsSetIdBits) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  Put("f", "x");
  ASSERT_WORKS(chown("f", 1234, 1234));
  ASSERT_WORKS(chmod("f", 06777));
  Passes(AsUser(1234, [] {
    const int fd = open("f", O_WRONLY);
    IN_CHILD(fd >= 0);
    IN_CHILD(write(fd, "y", 1) == 1);
    struct stat st {};
    IN_CHILD(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0777);
    IN_CHILD(chmod("f", 06777) == 0);
    IN_CHILD(ftruncate(fd, 0) == 0);
    IN_CHILD(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0777);
    return 0;
  }));
  ASSERT_WORKS(chmod("f", 06777));
  Put("f", "by root");
  EXPECT_EQ(Mode("f"), 06777u);
}

TEST_P(File, SetGroupIdDirectories) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_WORKS(mkdir("d", 0755));
  ASSERT_WORKS(chown("d", 0, 4321));
  ASSERT_WORKS(chmod("d", 02777));
  Put("d/f", "x");
  ASSERT_WORKS(mkdir("d/sub", 0755));
  EXPECT_EQ(Stat("d/f").st_gid, 4321u);
  EXPECT_EQ(Stat("d/sub").st_gid, 4321u);
  EXPECT_EQ(Mode("d/sub"), 02755u);
  Passes(AsUser(1234, [] {
    IN_CHILD(open("d/g", O_CREAT | O_RDWR, 02775) >= 0);
    struct stat st {};
    IN_CHILD(stat("d/g", &st) == 0);
    IN_CHILD((st.st_mode & 07777) == 0755 && st.st_gid == 4321);
    IN_CHILD(chmod("d/g", 02755) == 0);
    IN_CHILD(stat("d/g", &st) == 0 && (st.st_mode & 07777) == 0755);
    return 0;
  }));
}

TEST_P(File, AccessAsksForTheRealUser) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  Put("f", "x", 0600);
  Put("x", "x", 0111);
  EXPECT_WORKS(access("f", R_OK | W_OK));
  EXPECT_FAILS(access("f", X_OK), EACCES);
  EXPECT_WORKS(access("x", X_OK | R_OK));
  EXPECT_FAILS(access("none", F_OK), ENOENT);
  EXPECT_FAILS(access("f", 8), EINVAL);
  EXPECT_FAILS(faccessat(AT_FDCWD, "f", F_OK, 0x40000), EINVAL);
  Passes(InChild([] {
    IN_CHILD(setresuid(1234, 0, 0) == 0);
    IN_CHILD_FAILS(access("f", R_OK), EACCES);
    IN_CHILD(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, AT_EACCESS) == 0);
    IN_CHILD(open("f", O_RDONLY) >= 0);
    return 0;
  }));
}

TEST_P(File, TimesAreSetAndKept) {
  Put("f", "x");
  const timespec both[2] = {{1'000'000'000, 123'456'789}, {1'100'000'000, 987'654'321}};
  ASSERT_WORKS(utimensat(AT_FDCWD, "f", both, 0));
  struct stat st = Stat("f");
  EXPECT_EQ(st.st_atim.tv_sec, 1'000'000'000);
  EXPECT_EQ(st.st_atim.tv_nsec, 123'456'789);
  EXPECT_EQ(st.st_mtim.tv_sec, 1'100'000'000);
  EXPECT_EQ(st.st_mtim.tv_nsec, 987'654'321);
  const timespec omit[2] = {{0, UTIME_OMIT}, {5, 6}};
  ASSERT_WORKS(utimensat(AT_FDCWD, "f", omit, 0));
  st = Stat("f");
  EXPECT_EQ(st.st_atim.tv_sec, 1'000'000'000);
  EXPECT_EQ(st.st_mtim.tv_sec, 5);
  const timespec old[2] = {{-5, 0}, {-6, 500}};
  ASSERT_WORKS(utimensat(AT_FDCWD, "f", old, 0));
  EXPECT_EQ(Stat("f").st_atim.tv_sec, -5);
  EXPECT_EQ(Stat("f").st_mtim.tv_sec, -6);
  const timespec bad[2] = {{0, 1'000'000'000}, {0, 0}};
  EXPECT_FAILS(utimensat(AT_FDCWD, "f", bad, 0), EINVAL);
  const int fd = open("f", O_RDWR);
  ASSERT_WORKS(futimens(fd, both));
  EXPECT_EQ(Stat("f").st_mtim.tv_sec, 1'100'000'000);
  ASSERT_WORKS(futimens(fd, nullptr));
  EXPECT_GT(Stat("f").st_mtim.tv_sec, 1'600'000'000);
  ASSERT_WORKS(symlink("f", "s"));
  ASSERT_WORKS(utimensat(AT_FDCWD, "s", both, AT_SYMLINK_NOFOLLOW));
  EXPECT_EQ(Stat("s").st_mtim.tv_sec, 1'100'000'000);
  EXPECT_GT(Stat("f").st_mtim.tv_sec, 1'600'000'000);
  const utimbuf seconds{7, 8};
  ASSERT_WORKS(utime("f", &seconds));
  EXPECT_EQ(Stat("f").st_atim.tv_sec, 7);
  const timeval micro[2] = {{9, 10}, {11, 12}};
  ASSERT_WORKS(utimes("f", micro));
  EXPECT_EQ(Stat("f").st_mtim.tv_nsec, 12'000);
  EXPECT_FAILS(utimensat(AT_FDCWD, "none", both, 0), ENOENT);
  close(fd);
}

TEST_P(File, TimesNeedRights) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  umask(0);
  Put("readable", "x", 0644);
  Put("writable", "x", 0666);
  Passes(AsUser(1234, [] {
    const timespec some[2] = {{1, 0}, {2, 0}};
    const timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
    const timespec one[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
    IN_CHILD_FAILS(utimensat(AT_FDCWD, "readable", nullptr, 0), EACCES);
    IN_CHILD_FAILS(utimensat(AT_FDCWD, "readable", some, 0), EPERM);
    IN_CHILD(utimensat(AT_FDCWD, "writable", nullptr, 0) == 0);
    IN_CHILD(utimensat(AT_FDCWD, "writable", now, 0) == 0);
    IN_CHILD_FAILS(utimensat(AT_FDCWD, "writable", some, 0), EPERM);
    IN_CHILD_FAILS(utimensat(AT_FDCWD, "writable", one, 0), EPERM);
    return 0;
  }));
}

// Whether what `act` does moves each time of "f": 'a', 'm', 'c'.
template <class F>
std::string Moves(const char* name, F act) {
  const timespec old[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  struct stat before {}, after {};
  EXPECT_EQ(utimensat(AT_FDCWD, name, old, AT_SYMLINK_NOFOLLOW), 0);
  EXPECT_EQ(lstat(name, &before), 0);
  const timespec moment{0, 20'000'000};
  nanosleep(&moment, nullptr);  // longer than a clock tick of the filesystem
  act();
  EXPECT_EQ(lstat(name, &after), 0);
  std::string moved;
  const auto differs = [](const timespec& x, const timespec& y) { return x.tv_sec != y.tv_sec || x.tv_nsec != y.tv_nsec; };
  if (differs(before.st_atim, after.st_atim)) moved += 'a';
  if (differs(before.st_mtim, after.st_mtim)) moved += 'm';
  if (differs(before.st_ctim, after.st_ctim)) moved += 'c';
  return moved;
}

TEST_P(File, OperationsMoveTheRightTimes) {
  Put("f", "some text");
  ASSERT_WORKS(mkdir("d", 0755));
  const int fd = open("f", O_RDWR);
  char c = 0;
  EXPECT_EQ(Moves("f", [&] { EXPECT_EQ(pread(fd, &c, 1, 0), 1); }), "a");
  EXPECT_EQ(Moves("f", [&] { EXPECT_EQ(pwrite(fd, "x", 1, 0), 1); }), "mc");
  EXPECT_EQ(Moves("f", [&] { EXPECT_EQ(chmod("f", 0600), 0); }), "c");
  EXPECT_EQ(Moves("f", [&] { EXPECT_EQ(ftruncate(fd, 3), 0); }), "mc");
  EXPECT_EQ(Moves("f", [&] { EXPECT_EQ(ftruncate(fd, 3), 0); }), "mc");
  EXPECT_EQ(Moves("f", [&] { EXPECT_EQ(link("f", "g"), 0); }), "c");
  EXPECT_EQ(Moves("f", [&] { EXPECT_EQ(rename("f", "h"), 0); EXPECT_EQ(rename("h", "f"), 0); }), "c");
  EXPECT_EQ(Moves("f", [&] { EXPECT_EQ(unlink("g"), 0); }), "c");
  EXPECT_EQ(Moves("d", [&] { close(open("d/new", O_CREAT | O_RDWR, 0600)); }), "mc");
  EXPECT_EQ(Moves("d", [&] { EXPECT_EQ(unlink("d/new"), 0); }), "mc");
  EXPECT_EQ(Moves("d", [&] { EXPECT_EQ(mkdir("d/sub", 0755), 0); }), "mc");
  EXPECT_EQ(Moves("d", [&] { EXPECT_EQ(rename("d/sub", "sub"), 0); }), "mc");
  EXPECT_EQ(Moves("f", [&] { struct stat st; EXPECT_EQ(stat("f", &st), 0); }), "");
  const int quiet = open("f", O_RDONLY | O_NOATIME);
  EXPECT_EQ(Moves("f", [&] { EXPECT_EQ(pread(quiet, &c, 1, 0), 1); }), "");
  close(quiet);
  close(fd);
}

TEST_P(File, UnlinkedFileLives) {
  Put("f", "alive");
  const int fd = open("f", O_RDWR);
  ASSERT_WORKS(unlink("f"));
  struct stat st {};
  EXPECT_WORKS(fstat(fd, &st));
  EXPECT_EQ(st.st_nlink, 0u);
  EXPECT_EQ(pwrite(fd, "A", 1, 0), 1);
  char text[8] = {};
  EXPECT_EQ(pread(fd, text, sizeof(text), 0), 5);
  EXPECT_STREQ(text, "Alive");
  EXPECT_WORKS(fchmod(fd, 0600));
  EXPECT_WORKS(ftruncate(fd, 2));
  char name[256] = {};
  EXPECT_GT(readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), name, sizeof(name) - 1), 0);
  EXPECT_EQ(name, path + "/f (deleted)");
  close(fd);
}

TEST_P(File, StatfsKnowsTheFilesystem) {
  struct statfs fs {};
  ASSERT_WORKS(statfs(".", &fs));
  EXPECT_EQ(fs.f_namelen, 255);
  EXPECT_GT(fs.f_blocks, 0u);
  EXPECT_LE(fs.f_bfree, fs.f_blocks);
  EXPECT_GT(fs.f_bsize, 0);
  const int fd = open(".", O_RDONLY);
  struct statfs again {};
  ASSERT_WORKS(fstatfs(fd, &again));
  EXPECT_EQ(again.f_type, fs.f_type);
  EXPECT_FAILS(statfs("none", &fs), ENOENT);
  EXPECT_FAILS(fstatfs(999, &fs), EBADF);
  EXPECT_FAILS(syscall(SYS_statfs, ".", 1L), EFAULT);
  close(fd);
}

TEST_P(File, UstatKnowsTheDevice) {
  struct {
    int32_t free;
    uint64_t inodes;
    char name[12];
  } u{};
  const long result = syscall(SYS_ustat, Stat(".").st_dev, &u);
  if (result != 0 && errno == ENOSYS) GTEST_SKIP() << "this kernel has no ustat";
  EXPECT_EQ(result, 0);
  EXPECT_FAILS(syscall(SYS_ustat, 0xfffffL, &u), EINVAL);
}

TEST_P(File, SpecialNodes) {
  ASSERT_WORKS(mkfifo("fifo", 0644));
  EXPECT_TRUE(S_ISFIFO(Stat("fifo").st_mode));
  EXPECT_FAILS(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
  const int fd = open("fifo", O_RDWR);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(write(fd, "x", 1), 1);
  EXPECT_FAILS(lseek(fd, 0, SEEK_SET), ESPIPE);
  close(fd);
  ASSERT_WORKS(mknod("reg", S_IFREG | 0640, 0));
  EXPECT_TRUE(S_ISREG(Stat("reg").st_mode));
  ASSERT_WORKS(mknod("sock", S_IFSOCK | 0640, 0));
  EXPECT_TRUE(S_ISSOCK(Stat("sock").st_mode));
  EXPECT_FAILS(open("sock", O_RDONLY), ENXIO);
  EXPECT_FAILS(mknod("dir", S_IFDIR | 0755, 0), EPERM);
  EXPECT_FAILS(mknod("bad", 0170000 | 0755, 0), EINVAL);
  EXPECT_FAILS(mknod("reg", S_IFREG | 0640, 0), EEXIST);
}

TEST_P(File, OpenAndChangesAcrossFork) {
  Put("f", "0123456789");
  const int fd = open("f", O_RDONLY);
  Passes(InChild([&] {
    char c = 0;
    IN_CHILD(read(fd, &c, 1) == 1 && c == '0');
    close(fd);
    return 0;
  }));
  char c = 0;
  EXPECT_EQ(read(fd, &c, 1), 1);
  EXPECT_EQ(c, '1');
  close(fd);
}

TEST_P(File, RunningProgramIsBusy) {
  const std::string copy = path + "/prog";
  ASSERT_EQ(system(("cp /bin/sleep " + copy).c_str()), 0);
  const pid_t child = fork();
  if (child == 0) {
    execl(copy.c_str(), "sleep", "30", nullptr);
    _exit(127);
  }
  std::string link = "/proc/" + std::to_string(child) + "/exe";
  for (int i = 0; i < 500; ++i) {
    char text[512] = {};
    if (readlink(link.c_str(), text, sizeof(text) - 1) > 0 && text == copy) break;
    usleep(10'000);
  }
  EXPECT_FAILS(open("prog", O_WRONLY), ETXTBSY);
  EXPECT_FAILS(truncate("prog", 0), ETXTBSY);
  EXPECT_WORKS(unlink("prog"));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  Put("script", "x", 0755);
  const int fd = open("script", O_WRONLY);
  EXPECT_FAILS(execl((path + "/script").c_str(), "script", nullptr), ETXTBSY);
  close(fd);
}

TEST_P(File, OnlyFilesAndDirectoriesAreSynced) {
  const int null = open("/dev/null", O_RDWR);
  EXPECT_FAILS(fsync(null), EINVAL);
  EXPECT_FAILS(fdatasync(null), EINVAL);
  EXPECT_FAILS(sync_file_range(null, 0, 1, SYNC_FILE_RANGE_WRITE), ESPIPE);
  EXPECT_FAILS(sync_file_range(-1, 0, 1, 8), EBADF);
  close(null);
  const int directory = open(".", O_RDONLY | O_DIRECTORY);
  EXPECT_WORKS(fsync(directory));
  close(directory);
}

}  // namespace
