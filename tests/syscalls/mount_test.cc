// mount(2), umount2(2), pivot_root(2), chroot(2) and mount namespaces.
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include <atomic>
#include <thread>

#include "mount_support.h"

namespace {

using mounts::InChild;
using mounts::LineOf;
using mounts::Passes;
using mounts::Table;
using Mount = mounts::Mounts;

int PivotRoot(const char* to, const char* old) { return static_cast<int>(syscall(SYS_pivot_root, to, old)); }

TEST_F(Mount, TmpfsCoversAndUncovers) {
  Directory("d");
  Put("d/below");
  ASSERT_WORKS(mount("src", "d", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=711"));
  EXPECT_FALSE(Exists("d/below"));
  EXPECT_NE(Device("d"), Device("."));
  struct stat st {};
  ASSERT_WORKS(stat("d", &st));
  EXPECT_EQ(st.st_mode & 07777, 0711u);
  const mounts::Line line = LineOf(At("d"));
  EXPECT_EQ(line.type, "tmpfs");
  EXPECT_EQ(line.source, "src");
  EXPECT_EQ(line.root, "/");
  EXPECT_EQ(line.options, "rw,nosuid,nodev,relatime");
  EXPECT_EQ(line.parent, LineOf(path).id);
  Put("d/f");
  ASSERT_WORKS(umount("d"));
  EXPECT_TRUE(Exists("d/below"));
  EXPECT_FALSE(Exists("d/f"));
  EXPECT_EQ(LineOf(At("d")).id, 0);
}

TEST_F(Mount, StacksOnOnePlace) {
  Tmpfs("d");
  Put("d/1");
  ASSERT_WORKS(mount("t", "d", "tmpfs", 0, nullptr));
  Put("d/2");
  EXPECT_FALSE(Exists("d/1"));
  ASSERT_WORKS(umount("d"));
  EXPECT_TRUE(Exists("d/1"));
  ASSERT_WORKS(umount("d"));
  EXPECT_FAILS(umount("d"), EINVAL);
}

TEST_F(Mount, Errors) {
  Directory("d");
  Put("f");
  ASSERT_WORKS(symlink("d", "link"));
  const std::string too_long(5000, 'x');
  const struct {
    const char *source, *target, *type;
    unsigned long flags;
    const char* data;
    int error;
  } rows[] = {
      {"s", "d", "no-such-type", 0, nullptr, ENODEV},
      {"s", "d", nullptr, 0, nullptr, EINVAL},
      {"s", "none", "tmpfs", 0, nullptr, ENOENT},
      {"s", "f", "tmpfs", 0, nullptr, ENOTDIR},
      {"s", "f/x", "tmpfs", 0, nullptr, ENOTDIR},
      {"s", "", "tmpfs", 0, nullptr, ENOENT},
      {"s", too_long.c_str(), "tmpfs", 0, nullptr, ENAMETOOLONG},
      {"s", "d", "tmpfs", 0, "size=banana", EINVAL},
      {"s", "d", "tmpfs", 0, "frobnicate", EINVAL},
      {nullptr, "d", nullptr, MS_BIND, nullptr, EINVAL},
      {"none", "d", nullptr, MS_BIND, nullptr, ENOENT},
      {"f", "d", nullptr, MS_BIND, nullptr, ENOTDIR},
      {"d", "f", nullptr, MS_BIND, nullptr, ENOTDIR},
      {"d", "d", nullptr, MS_MOVE, nullptr, EINVAL},
      {nullptr, "d", nullptr, MS_REMOUNT, nullptr, EINVAL},
      {nullptr, "d", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr, EINVAL},
      {nullptr, "d", nullptr, MS_SHARED, nullptr, EINVAL},
      {nullptr, ".", nullptr, MS_SHARED | MS_PRIVATE, nullptr, EINVAL},
      {nullptr, ".", nullptr, MS_SHARED | MS_NOSUID, nullptr, EINVAL},
  };
  for (const auto& row : rows) {
    errno = 0;
    EXPECT_EQ(mount(row.source, row.target, row.type, row.flags, row.data), -1) << row.target << " " << row.flags;
    EXPECT_EQ(errno, row.error) << (row.source ? row.source : "-") << " " << row.target << " " << (row.type ? row.type : "-") << " " << row.flags;
  }
  EXPECT_FAILS(syscall(SYS_mount, "s", 1L, "tmpfs", 0L, 0L), EFAULT);
  EXPECT_FAILS(syscall(SYS_mount, "s", "d", 1L, 0L, 0L), EFAULT);
  EXPECT_FAILS(syscall(SYS_mount, "s", "d", "tmpfs", 0L, 1L), EFAULT);
  EXPECT_FAILS(umount2("d", 0), EINVAL);
  EXPECT_FAILS(umount2("none", 0), ENOENT);
  EXPECT_FAILS(umount2("f", 0), EINVAL);
  EXPECT_FAILS(umount2(".", 0x100), EINVAL);
  EXPECT_FAILS(umount2(".", MNT_EXPIRE | MNT_DETACH), EINVAL);
  EXPECT_FAILS(umount2(".", MNT_EXPIRE | MNT_FORCE), EINVAL);
  EXPECT_FAILS(syscall(SYS_umount2, 1L, 0L), EFAULT);
}

TEST_F(Mount, NeedsTheCapability) {
  Tmpfs("d");
  Passes(scratch::AsUser(1234, [] {
    IN_CHILD_FAILS(mount("s", "d", "tmpfs", 0, nullptr), EPERM);
    IN_CHILD_FAILS(mount("d", "d", nullptr, MS_BIND, nullptr), EPERM);
    IN_CHILD_FAILS(umount("d"), EPERM);
    IN_CHILD_FAILS(umount("none"), ENOENT);
    IN_CHILD_FAILS(PivotRoot("d", "d"), EPERM);
    IN_CHILD_FAILS(unshare(CLONE_NEWNS), EPERM);
    IN_CHILD_FAILS(unshare(CLONE_NEWUTS), EPERM);
    IN_CHILD_FAILS(chroot("d"), EPERM);
    return 0;
  }));
}

TEST_F(Mount, BusyWhileUsed) {
  Tmpfs("d");
  const int fd = open("d/f", O_CREAT | O_RDWR, 0644);
  ASSERT_GE(fd, 0);
  EXPECT_FAILS(umount("d"), EBUSY);
  close(fd);
  ASSERT_WORKS(chdir("d"));
  EXPECT_FAILS(umount(At("d").c_str()), EBUSY);
  ASSERT_WORKS(chdir(path.c_str()));
  Tmpfs("d/e");
  EXPECT_FAILS(umount("d"), EBUSY);
  ASSERT_WORKS(umount("d/e"));
  EXPECT_WORKS(umount("d"));
}

// Whoever has waited for a process finds nothing of it in use.
TEST_F(Mount, NotBusyOnceItsUserHasEnded) {
  for (int i = 0; i < 30; ++i) {
    Tmpfs("d");
    ASSERT_EQ(InChild([] {
                const int fd = open("d/f", O_CREAT | O_RDWR, 0644);
                if (ftruncate(fd, 4096) != 0) return 1;
                return mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? 2 : 0;
              }),
              0);
    ASSERT_WORKS(umount("d")) << i;
    ASSERT_WORKS(rmdir("d"));
  }
}

TEST_F(Mount, DetachedLivesWhileUsed) {
  Tmpfs("d");
  Tmpfs("d/e");
  Put("d/e/f", "text");
  const int fd = open("d/e/f", O_RDONLY), directory = open("d", O_RDONLY | O_DIRECTORY);
  ASSERT_GE(fd, 0);
  ASSERT_GE(directory, 0);
  ASSERT_WORKS(umount2("d", MNT_DETACH));
  EXPECT_FALSE(Exists("d/e"));
  char text[5] = {};
  EXPECT_EQ(read(fd, text, 4), 4);
  EXPECT_STREQ(text, "text");
  struct stat st {};
  EXPECT_WORKS(fstatat(directory, "e", &st, 0));
  EXPECT_FAILS(fstatat(directory, "e/f", &st, 0), ENOENT);  // what was mounted below has gone too
  close(fd);
  close(directory);
}

TEST_F(Mount, ExpiresWhenNobodyCame) {
  Tmpfs("d");
  EXPECT_FAILS(umount2("d", MNT_EXPIRE), EAGAIN);
  EXPECT_WORKS(umount2("d", MNT_EXPIRE));
  ASSERT_WORKS(mount("t", "d", "tmpfs", 0, nullptr));
  EXPECT_FAILS(umount2("d", MNT_EXPIRE), EAGAIN);
  Put("d/f");
  EXPECT_FAILS(umount2("d", MNT_EXPIRE), EAGAIN);
  const int fd = open("d/f", O_RDONLY);
  EXPECT_FAILS(umount2("d", MNT_EXPIRE), EBUSY);
  close(fd);
  EXPECT_WORKS(umount("d"));
}

TEST_F(Mount, NofollowUnmountsNoLinksTarget) {
  Tmpfs("d");
  ASSERT_WORKS(symlink("d", "link"));
  EXPECT_FAILS(umount2("link", UMOUNT_NOFOLLOW), EINVAL);
  EXPECT_WORKS(umount2("link", 0));
}

TEST_F(Mount, BindShowsTheSame) {
  Directory("a");
  Directory("a/sub");
  Directory("b");
  Put("a/sub/f");
  Put("file", "1");
  Put("place", "2");
  ASSERT_WORKS(mount("a/sub", "b", nullptr, MS_BIND, nullptr));
  EXPECT_TRUE(Exists("b/f"));
  Put("b/g");
  EXPECT_TRUE(Exists("a/sub/g"));
  EXPECT_EQ(LineOf(At("b")).root, "/a/sub");
  EXPECT_FAILS(rename("a/sub/f", "b/h"), EXDEV);
  EXPECT_FAILS(link("a/sub/f", "b/h"), EXDEV);
  ASSERT_WORKS(mount("file", "place", nullptr, MS_BIND, nullptr));
  struct stat one {}, two {};
  ASSERT_WORKS(stat("file", &one));
  ASSERT_WORKS(stat("place", &two));
  EXPECT_EQ(one.st_ino, two.st_ino);
  EXPECT_WORKS(umount("place"));
  EXPECT_WORKS(umount("b"));
}

TEST_F(Mount, BindTakesWhatIsBelowOnlyIfAsked) {
  Directory("a");
  Tmpfs("a/in");
  Put("a/in/f");
  Directory("b");
  ASSERT_WORKS(mount("a", "b", nullptr, MS_BIND, nullptr));
  EXPECT_FALSE(Exists("b/in/f"));
  ASSERT_WORKS(umount("b"));
  ASSERT_WORKS(mount("a", "b", nullptr, MS_BIND | MS_REC, nullptr));
  EXPECT_TRUE(Exists("b/in/f"));
  EXPECT_FAILS(umount("b"), EBUSY);
  EXPECT_WORKS(umount2("b", MNT_DETACH));
  EXPECT_TRUE(Exists("a/in/f"));
}

TEST_F(Mount, ReadOnlyPerMount) {
  Directory("a");
  Directory("b");
  Put("a/f");
  ASSERT_WORKS(mount("a", "b", nullptr, MS_BIND, nullptr));
  ASSERT_WORKS(mount(nullptr, "b", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr));
  EXPECT_FAILS(open("b/f", O_WRONLY), EROFS);
  EXPECT_FAILS(open("b/new", O_CREAT | O_WRONLY, 0644), EROFS);
  EXPECT_FAILS(mkdir("b/d", 0755), EROFS);
  EXPECT_FAILS(unlink("b/f"), EROFS);
  EXPECT_FAILS(chmod("b/f", 0600), EROFS);
  EXPECT_FAILS(access("b/f", W_OK), EROFS);
  EXPECT_EQ(LineOf(At("b")).options.substr(0, 2), "ro");
  EXPECT_EQ(LineOf(At("b")).super.substr(0, 2), "rw");
  Put("a/g");
  // A bind of it is read-only as well; then each has its own.
  Directory("c");
  ASSERT_WORKS(mount("b", "c", nullptr, MS_BIND, nullptr));
  EXPECT_FAILS(open("c/f", O_WRONLY), EROFS);
  ASSERT_WORKS(mount(nullptr, "b", nullptr, MS_REMOUNT | MS_BIND, nullptr));
  Put("b/h");
  EXPECT_FAILS(open("c/f", O_WRONLY), EROFS);
}

TEST_F(Mount, ReadOnlyOnlyWithoutWriters) {
  Tmpfs("d");
  const int fd = open("d/f", O_CREAT | O_WRONLY, 0644);
  ASSERT_GE(fd, 0);
  EXPECT_FAILS(mount(nullptr, "d", nullptr, MS_REMOUNT | MS_RDONLY, nullptr), EBUSY);
  EXPECT_FAILS(mount(nullptr, "d", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr), EBUSY);
  EXPECT_EQ(write(fd, "x", 1), 1);
  close(fd);
  const int reader = open("d/f", O_RDONLY);
  ASSERT_WORKS(mount(nullptr, "d", nullptr, MS_REMOUNT | MS_RDONLY, nullptr));
  close(reader);
  EXPECT_EQ(LineOf(At("d")).super.substr(0, 2), "ro");
  EXPECT_FAILS(open("d/f", O_WRONLY), EROFS);
  struct statvfs vfs {};
  ASSERT_WORKS(statvfs("d", &vfs));
  EXPECT_NE(vfs.f_flag & ST_RDONLY, 0u);
  ASSERT_WORKS(mount(nullptr, "d", nullptr, MS_REMOUNT, nullptr));
  Put("d/f");
}

TEST_F(Mount, FlagsAreObeyed) {
  Tmpfs("d");
  ASSERT_EQ(system("cp /bin/true d/prog"), 0);
  ASSERT_WORKS(symlink("prog", "d/link"));
  ASSERT_WORKS(mknod("d/null", S_IFCHR | 0666, makedev(1, 3)));
  ASSERT_WORKS(mount(nullptr, "d", nullptr, MS_REMOUNT | MS_BIND | MS_NOEXEC | MS_NODEV, nullptr));
  EXPECT_FAILS(execl("d/prog", "prog", nullptr), EACCES);
  EXPECT_FAILS(open("d/null", O_RDONLY), EACCES);
  ASSERT_WORKS(mount(nullptr, "d", nullptr, MS_REMOUNT | MS_BIND | 256 /* MS_NOSYMFOLLOW */, nullptr));
  EXPECT_FAILS(open("d/link", O_RDONLY), ELOOP);
  char text[8];
  EXPECT_EQ(readlink("d/link", text, sizeof(text)), 4);
  const int fd = open("d/null", O_RDONLY);
  EXPECT_GE(fd, 0);
  close(fd);
}

TEST_F(Mount, MovesWithAllBelow) {
  Tmpfs("a");
  Tmpfs("a/in");
  Put("a/in/f");
  Directory("b");
  ASSERT_WORKS(mount("a", "b", nullptr, MS_MOVE, nullptr));
  EXPECT_TRUE(Exists("b/in/f"));
  EXPECT_FALSE(Exists("a/in"));
  EXPECT_FAILS(mount("b", "b/in", nullptr, MS_MOVE, nullptr), ELOOP);
  Put("file");
  EXPECT_FAILS(mount("b", "file", nullptr, MS_MOVE, nullptr), EINVAL);
  EXPECT_FAILS(mount("a", "b", nullptr, MS_MOVE, nullptr), EINVAL);
}

TEST_F(Mount, NamesThatCarryMountsStay) {
  Tmpfs("d");
  Put("f");
  Put("g");
  ASSERT_WORKS(mount("g", "f", nullptr, MS_BIND, nullptr));
  EXPECT_FAILS(rmdir("d"), EBUSY);
  EXPECT_FAILS(rename("d", "e"), EBUSY);
  EXPECT_FAILS(unlink("f"), EBUSY);
  EXPECT_FAILS(rename("g", "f"), EBUSY);
  // Its directory may move.
  Directory("up");
  ASSERT_WORKS(umount("d"));
  Tmpfs("up/in");
  Put("up/in/f");
  ASSERT_WORKS(rename("up", "down"));
  EXPECT_TRUE(Exists("down/in/f"));
  EXPECT_EQ(LineOf(At("down/in")).type, "tmpfs");
}

TEST_F(Mount, OtherNamespacesMountsDoNotHoldAName) {
  Directory("d");
  int told[2], done[2];
  ASSERT_WORKS(pipe(told));
  ASSERT_WORKS(pipe(done));
  const pid_t child = fork();
  if (child == 0) {
    char c = 'x';
    const bool mounted = unshare(CLONE_NEWNS) == 0 && mount("t", "d", "tmpfs", 0, nullptr) == 0 && mkdir("d/in", 0755) == 0;
    (void)!write(told[1], &c, 1);
    (void)!read(done[0], &c, 1);
    struct stat st {};
    _exit(mounted && lstat("d", &st) == -1 && errno == ENOENT ? 0 : 1);
  }
  char c = 0;
  EXPECT_EQ(read(told[0], &c, 1), 1);
  EXPECT_FALSE(Exists("d/in"));
  EXPECT_WORKS(rmdir("d"));
  EXPECT_EQ(write(done[1], &c, 1), 1);
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(Mount, SharedPeersSeeOneAnother) {
  Tmpfs("a");
  Directory("a/in");
  ASSERT_WORKS(mount(nullptr, "a", nullptr, MS_SHARED, nullptr));
  Directory("b");
  ASSERT_WORKS(mount("a", "b", nullptr, MS_BIND, nullptr));
  EXPECT_EQ(LineOf(At("a")).propagation.substr(0, 7), "shared:");
  EXPECT_EQ(LineOf(At("a")).propagation, LineOf(At("b")).propagation);
  ASSERT_WORKS(mount("t", "a/in", "tmpfs", 0, nullptr));
  Put("a/in/f");
  EXPECT_TRUE(Exists("b/in/f"));
  EXPECT_EQ(LineOf(At("b/in")).propagation, LineOf(At("a/in")).propagation);
  ASSERT_WORKS(umount("b/in"));
  EXPECT_FALSE(Exists("a/in/f"));
  EXPECT_EQ(LineOf(At("a/in")).id, 0);
  // A use below the peer keeps it.
  ASSERT_WORKS(mount("t", "a/in", "tmpfs", 0, nullptr));
  Put("b/in/f");
  const int fd = open("b/in/f", O_RDONLY);
  EXPECT_FAILS(umount("a/in"), EBUSY);
  close(fd);
  EXPECT_WORKS(umount("a/in"));
  EXPECT_FALSE(Exists("b/in/f"));
}

TEST_F(Mount, SlavesReceiveAndDoNotSend) {
  Tmpfs("a");
  Directory("a/x");
  Directory("a/y");
  ASSERT_WORKS(mount(nullptr, "a", nullptr, MS_SHARED, nullptr));
  Directory("b");
  ASSERT_WORKS(mount("a", "b", nullptr, MS_BIND, nullptr));
  ASSERT_WORKS(mount(nullptr, "b", nullptr, MS_SLAVE, nullptr));
  const std::string shared = LineOf(At("a")).propagation;
  EXPECT_EQ(LineOf(At("b")).propagation, "master:" + shared.substr(7));
  ASSERT_WORKS(mount("t", "a/x", "tmpfs", 0, nullptr));
  Put("a/x/f");
  EXPECT_TRUE(Exists("b/x/f"));
  ASSERT_WORKS(mount("t", "b/y", "tmpfs", 0, nullptr));
  Put("b/y/f");
  EXPECT_FALSE(Exists("a/y/f"));
  EXPECT_EQ(LineOf(At("b/x")).propagation, "master:" + LineOf(At("a/x")).propagation.substr(7));
  // A slave that is shared itself sends to its own peers.
  ASSERT_WORKS(mount(nullptr, "b", nullptr, MS_SHARED, nullptr));
  Directory("c");
  ASSERT_WORKS(mount("b", "c", nullptr, MS_BIND, nullptr));
  Directory("a/z");
  ASSERT_WORKS(mount("t", "a/z", "tmpfs", 0, nullptr));
  Put("a/z/f");
  EXPECT_TRUE(Exists("b/z/f"));
  EXPECT_TRUE(Exists("c/z/f"));
  EXPECT_EQ(LineOf(At("c/z")).propagation, LineOf(At("b/z")).propagation);
  ASSERT_WORKS(umount("a/z"));
  EXPECT_FALSE(Exists("c/z/f"));
}

TEST_F(Mount, PrivateAndUnbindable) {
  Tmpfs("a");
  Directory("a/in");
  Directory("b");
  ASSERT_WORKS(mount("a", "b", nullptr, MS_BIND, nullptr));
  ASSERT_WORKS(mount("t", "a/in", "tmpfs", 0, nullptr));
  Put("a/in/f");
  EXPECT_FALSE(Exists("b/in/f"));
  ASSERT_WORKS(mount(nullptr, "a/in", nullptr, MS_UNBINDABLE, nullptr));
  EXPECT_EQ(LineOf(At("a/in")).propagation, "unbindable");
  Directory("c");
  EXPECT_FAILS(mount("a/in", "c", nullptr, MS_BIND, nullptr), EINVAL);
  ASSERT_WORKS(mount("a", "c", nullptr, MS_BIND | MS_REC, nullptr));
  EXPECT_FALSE(Exists("c/in/f"));
  // Neither may it be moved where it would have to be copied.
  Tmpfs("s");
  Directory("s/in");
  ASSERT_WORKS(mount(nullptr, "s", nullptr, MS_SHARED, nullptr));
  EXPECT_FAILS(mount("a/in", "s/in", nullptr, MS_MOVE, nullptr), EINVAL);
  Tmpfs("s/in2");
  EXPECT_FAILS(mount("s/in2", "c", nullptr, MS_MOVE, nullptr), EINVAL);  // its parent is shared
}

TEST_F(Mount, NamespacesAreApartAndPropagate) {
  Directory("d");
  Tmpfs("s");
  Directory("s/in");
  ASSERT_WORKS(mount(nullptr, "s", nullptr, MS_SHARED, nullptr));
  Passes(InChild([] {
    IN_CHILD(unshare(CLONE_NEWNS) == 0);
    IN_CHILD(mount("t", "d", "tmpfs", 0, nullptr) == 0);
    IN_CHILD(mkdir("d/in", 0755) == 0);
    IN_CHILD(mount("t", "s/in", "tmpfs", 0, nullptr) == 0);
    IN_CHILD(mkdir("s/in/made", 0755) == 0);
    return 0;
  }));
  EXPECT_FALSE(Exists("d/in"));
  EXPECT_TRUE(Exists("s/in/made"));
}

TEST_F(Mount, CloneAndSetns) {
  Tmpfs("d");
  const int before = open("/proc/self/ns/mnt", O_RDONLY);
  ASSERT_GE(before, 0);
  struct stat one {}, two {};
  ASSERT_WORKS(fstat(before, &one));
  ASSERT_WORKS(unshare(CLONE_NEWNS));
  ASSERT_WORKS(stat("/proc/self/ns/mnt", &two));
  EXPECT_NE(one.st_ino, two.st_ino);
  ASSERT_WORKS(umount("d"));
  EXPECT_FAILS(setns(before, CLONE_NEWUTS), EINVAL);
  EXPECT_FAILS(setns(-1, 0), EBADF);
  const int file = open("/proc/self/mounts", O_RDONLY);
  EXPECT_FAILS(setns(file, 0), EINVAL);
  close(file);
  ASSERT_WORKS(setns(before, CLONE_NEWNS));
  char text[PATH_MAX];
  EXPECT_STREQ(getcwd(text, sizeof(text)), "/");
  EXPECT_EQ(LineOf(At("d")).type, "tmpfs");
  ASSERT_WORKS(chdir(path.c_str()));
  close(before);
}

TEST_F(Mount, PivotRoot) {
  Directory("root");
  Tmpfs("root/new");
  for (const char* name : {"root/new/old", "root/new/proc", "root/new/deep"}) Directory(name);
  Put("root/new/here");
  Directory("plain");
  EXPECT_FAILS(PivotRoot("plain", "plain"), EINVAL);              // no mount
  EXPECT_FAILS(PivotRoot("root/new", "plain"), EINVAL);           // not below the new root
  EXPECT_FAILS(PivotRoot("none", "none"), ENOENT);
  EXPECT_FAILS(PivotRoot("root/new/here", "root/new"), ENOTDIR);
  EXPECT_FAILS(PivotRoot("/", "/"), EBUSY);
  Passes(InChild([this] {
    IN_CHILD(unshare(CLONE_NEWNS) == 0);
    IN_CHILD(PivotRoot("root/new", "root/new/old") == 0);
    char text[PATH_MAX];
    struct stat st {};
    IN_CHILD(lstat("/here", &st) == 0);
    IN_CHILD(lstat(("/old" + path + "/plain").c_str(), &st) == 0);
    IN_CHILD(chdir("/") == 0 && getcwd(text, sizeof(text)) != nullptr && std::string(text) == "/");
    IN_CHILD(umount2("/old", MNT_DETACH) == 0);
    IN_CHILD(lstat("/old/tmp", &st) == -1 && errno == ENOENT);
    IN_CHILD(lstat("/../../here", &st) == 0);
    IN_CHILD(mount("proc", "/proc", "proc", 0, nullptr) == 0);
    IN_CHILD(lstat("/proc/self/status", &st) == 0);
    return 0;
  }));
}

TEST_F(Mount, PivotRootOntoItself) {
  Tmpfs("new");
  Put("new/here");
  Passes(InChild([] {
    IN_CHILD(unshare(CLONE_NEWNS) == 0);
    IN_CHILD(chdir("new") == 0);
    IN_CHILD(PivotRoot(".", ".") == 0);
    IN_CHILD(umount2(".", MNT_DETACH) == 0);
    IN_CHILD(chdir("/") == 0);
    struct stat st {};
    IN_CHILD(lstat("/here", &st) == 0);
    return 0;
  }));
}

TEST_F(Mount, ChrootHidesWhatIsAbove) {
  Tmpfs("d");
  Directory("d/proc");
  Directory("plain");
  Directory("plain/proc");
  Passes(InChild([] {
    IN_CHILD(chroot("d") == 0 && chdir("/") == 0);
    IN_CHILD(mount("proc", "/proc", "proc", 0, nullptr) == 0);
    const std::vector<mounts::Line> table = Table();
    IN_CHILD(table.size() == 2 && table[0].point == "/" && table[1].point == "/proc");
    return 0;
  }));
  Passes(InChild([] {
    IN_CHILD(chroot("plain") == 0 && chdir("/") == 0);
    IN_CHILD(mount("proc", "/proc", "proc", 0, nullptr) == 0);
    const std::vector<mounts::Line> table = Table();
    IN_CHILD(table.size() == 1 && table[0].point == "/proc");
    IN_CHILD_FAILS(PivotRoot("/proc", "/proc"), EINVAL);  // its root is no mount
    return 0;
  }));
}

TEST_F(Mount, WatchesHearOfTheEnd) {
  Tmpfs("d");
  Put("d/f");
  const int fd = inotify_init1(IN_NONBLOCK);
  ASSERT_GE(fd, 0);
  const int wd = inotify_add_watch(fd, "d/f", IN_MODIFY);
  ASSERT_GE(wd, 0);
  ASSERT_WORKS(umount("d"));  // a watch is no use
  alignas(inotify_event) char buffer[1024];
  const ssize_t n = read(fd, buffer, sizeof(buffer));
  ASSERT_EQ(n, static_cast<ssize_t>(2 * sizeof(inotify_event)));
  const auto* events = reinterpret_cast<const inotify_event*>(buffer);
  EXPECT_EQ(events[0].wd, wd);
  EXPECT_EQ(events[0].mask, static_cast<uint32_t>(IN_UNMOUNT));
  EXPECT_EQ(events[1].mask, static_cast<uint32_t>(IN_IGNORED));
  close(fd);
}

TEST_F(Mount, KindsOfFilesystems) {
  const struct {
    const char *type, *file;
    long magic;
  } rows[] = {{"proc", "d/self/stat", 0x9fa0}, {"sysfs", "d/devices/system/cpu/online", 0x62656572}, {"devpts", "d/ptmx", 0x1cd1},
              {"mqueue", nullptr, 0x19800202}, {"tmpfs", nullptr, 0x01021994}};
  Directory("d");
  for (const auto& row : rows) {
    ASSERT_WORKS(mount("x", "d", row.type, 0, nullptr)) << row.type;
    struct statfs fs {};
    ASSERT_WORKS(statfs("d", &fs));
    EXPECT_EQ(fs.f_type, row.magic) << row.type;
    EXPECT_TRUE(row.file == nullptr || Exists(row.file)) << row.file;
    EXPECT_EQ(LineOf(At("d")).type, row.type);
    EXPECT_WORKS(umount("d"));
  }
}

TEST_F(Mount, RacesWithWalks) {
  Directory("d");
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> walkers;
  for (int i = 0; i < 2; ++i) {
    walkers.emplace_back([&] {
      while (!stop) {
        struct stat st {};
        // A walk that stands in what is unmounted this moment finds nothing there, natively too.
        if (stat("d/../d/.", &st) != 0 && errno != ENOENT) ++wrong;
        const int fd = open("d/f", O_CREAT | O_RDWR, 0644);
        if (fd < 0 && errno != ENOENT) ++wrong;
        if (fd >= 0) close(fd);
      }
    });
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_WORKS(mount("t", "d", "tmpfs", 0, nullptr));
    EXPECT_WORKS(umount2("d", MNT_DETACH));
  }
  stop = true;
  for (std::thread& walker : walkers) walker.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(Mount, NamesOfTheHostAreApart) {
  char before[65] = {}, after[65] = {};
  ASSERT_WORKS(gethostname(before, sizeof(before)));
  Passes(InChild([] {
    IN_CHILD(unshare(CLONE_NEWUTS) == 0);
    IN_CHILD(sethostname("inner", 5) == 0);
    char name[65] = {};
    IN_CHILD(gethostname(name, sizeof(name)) == 0 && std::string(name) == "inner");
    std::ifstream in("/proc/sys/kernel/hostname");
    std::string text;
    IN_CHILD(static_cast<bool>(in >> text) && text == "inner");
    return 0;
  }));
  ASSERT_WORKS(gethostname(after, sizeof(after)));
  EXPECT_STREQ(before, after);
}

TEST_F(Mount, SystemVObjectsAreApart) {
  const int id = static_cast<int>(syscall(SYS_msgget, 0x52414d50, 0600 | 01000));
  ASSERT_GE(id, 0);
  Passes(InChild([] {
    IN_CHILD(unshare(CLONE_NEWIPC) == 0);
    IN_CHILD_FAILS(syscall(SYS_msgget, 0x52414d50, 0600), ENOENT);
    const long own = syscall(SYS_msgget, 0x52414d51, 0600 | 01000);
    IN_CHILD(own >= 0);
    return 0;
  }));
  EXPECT_FAILS(syscall(SYS_msgget, 0x52414d51, 0600), ENOENT);
  EXPECT_WORKS(syscall(SYS_msgctl, id, 0 /* IPC_RMID */, nullptr));
}

}  // namespace
