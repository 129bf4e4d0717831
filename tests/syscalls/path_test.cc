// Names: directories, links, renames, walking with its limits, and directory listings.
#include <dirent.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "scratch.h"

namespace {

using scratch::AsUser;
using scratch::InChild;
using scratch::Passes;

class PathTest : public scratch::Scratch {
 protected:
  static long Openat2(int dir, const char* name, uint64_t flags, uint64_t resolve, uint64_t mode = 0) {
    open_how how{flags, mode, resolve};
    return syscall(SYS_openat2, dir, name, &how, sizeof(how));
  }
  static int RenameAt2(const char* from, const char* to, unsigned flags) {
    return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags));
  }
  static std::set<std::string> List(const char* name) {
    std::set<std::string> names;
    DIR* dir = opendir(name);
    if (dir == nullptr) return {"<errno " + std::to_string(errno) + ">"};
    while (const dirent* entry = readdir(dir)) names.insert(entry->d_name);
    closedir(dir);
    names.erase(".");
    names.erase("..");
    return names;
  }
};
using Names = std::set<std::string>;
ON_ALL_PLACES(PathTest);

TEST_P(PathTest, MkdirAndRmdir) {
  ASSERT_WORKS(mkdir("d", 0777));
  EXPECT_EQ(Mode("d"), 0755u);
  ASSERT_WORKS(mkdir("slash/", 0700));
  EXPECT_FAILS(mkdir("d", 0777), EEXIST);
  EXPECT_FAILS(mkdir(".", 0777), EEXIST);
  EXPECT_FAILS(mkdir("/", 0777), EEXIST);
  EXPECT_FAILS(mkdir("", 0777), ENOENT);
  EXPECT_FAILS(mkdir("a/b", 0777), ENOENT);
  Put("f", "x");
  EXPECT_FAILS(mkdir("f", 0777), EEXIST);
  EXPECT_FAILS(mkdir("f/g", 0777), ENOTDIR);
  ASSERT_WORKS(symlink("nowhere", "dangling"));
  EXPECT_FAILS(mkdir("dangling", 0777), EEXIST);
  EXPECT_FAILS(mkdir(std::string(256, 'x').c_str(), 0777), ENAMETOOLONG);
  EXPECT_FAILS(syscall(SYS_mkdir, 1L, 0777), EFAULT);
  ASSERT_WORKS(mkdir("d/sub", 0777));
  EXPECT_FAILS(rmdir("d"), ENOTEMPTY);
  EXPECT_FAILS(rmdir("f"), ENOTDIR);
  EXPECT_FAILS(rmdir("d/."), EINVAL);
  EXPECT_FAILS(rmdir("d/.."), ENOTEMPTY);
  EXPECT_FAILS(rmdir("/"), EBUSY);
  EXPECT_FAILS(rmdir("none"), ENOENT);
  EXPECT_FAILS(rmdir("dangling"), ENOTDIR);
  EXPECT_FAILS(rmdir("dangling/"), ENOTDIR);
  EXPECT_WORKS(rmdir("d/sub/"));
  EXPECT_WORKS(rmdir("d"));
  EXPECT_FALSE(Exists("d"));
}

TEST_P(PathTest, UnlinkRules) {
  Put("f", "x");
  ASSERT_WORKS(mkdir("d", 0755));
  EXPECT_FAILS(unlink("d"), EISDIR);
  EXPECT_FAILS(unlink("none"), ENOENT);
  EXPECT_FAILS(unlink(""), ENOENT);
  EXPECT_FAILS(unlink("f/"), ENOTDIR);
  EXPECT_FAILS(unlink("f/x"), ENOTDIR);
  EXPECT_FAILS(unlink("."), EISDIR);
  EXPECT_FAILS(unlink("/"), EISDIR);
  EXPECT_FAILS(unlinkat(AT_FDCWD, "d", 0), EISDIR);
  EXPECT_FAILS(unlinkat(AT_FDCWD, "f", AT_REMOVEDIR), ENOTDIR);
  EXPECT_FAILS(unlinkat(AT_FDCWD, "f", 1), EINVAL);
  EXPECT_FAILS(unlinkat(999, "f", 0), EBADF);
  ASSERT_WORKS(symlink("f", "s"));
  EXPECT_WORKS(unlink("s"));
  EXPECT_TRUE(Exists("f"));
  EXPECT_WORKS(unlink("f"));
  EXPECT_WORKS(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
  EXPECT_EQ(List("."), Names{});
}

TEST_P(PathTest, LinksCount) {
  Put("f", "shared");
  ASSERT_WORKS(mkdir("d", 0755));
  ASSERT_WORKS(link("f", "d/g"));
  EXPECT_EQ(Stat("f").st_nlink, 2u);
  EXPECT_EQ(Get("d/g"), "shared");
  Put("d/g", "changed");
  EXPECT_EQ(Get("f"), "changed");
  EXPECT_EQ(Stat("f").st_ino, Stat("d/g").st_ino);
  EXPECT_FAILS(link("f", "d/g"), EEXIST);
  EXPECT_FAILS(link("none", "x"), ENOENT);
  EXPECT_FAILS(link("d", "x"), EPERM);
  EXPECT_FAILS(link("f", "none/x"), ENOENT);
  EXPECT_FAILS(link("f", "f/x"), ENOTDIR);
  EXPECT_FAILS(link("f", "x/"), ENOENT);
  EXPECT_FAILS(link("f", Elsewhere().c_str()), EXDEV);
  ASSERT_WORKS(symlink("f", "s"));
  ASSERT_WORKS(link("s", "hard"));  // names the link itself
  EXPECT_TRUE(S_ISLNK(Stat("hard").st_mode));
  ASSERT_WORKS(linkat(AT_FDCWD, "s", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
  EXPECT_EQ(Stat("followed").st_ino, Stat("f").st_ino);
  EXPECT_FAILS(linkat(AT_FDCWD, "f", AT_FDCWD, "y", 0x4), EINVAL);
  EXPECT_WORKS(unlink("f"));
  EXPECT_EQ(Stat("d/g").st_nlink, 2u);
  EXPECT_EQ(Get("d/g"), "changed");
  const int fd = open("d/g", O_RDONLY);
  ASSERT_WORKS(linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(fd)).c_str(), AT_FDCWD, "byproc", AT_SYMLINK_FOLLOW));
  EXPECT_EQ(Get("byproc"), "changed");
  close(fd);
}

TEST_P(PathTest, SymlinksAreFollowed) {
  ASSERT_WORKS(mkdir("d", 0755));
  Put("d/f", "deep");
  ASSERT_WORKS(symlink("d", "s"));
  ASSERT_WORKS(symlink(path.c_str(), "abs"));
  ASSERT_WORKS(symlink("s/../abs/s", "chain"));
  EXPECT_EQ(Get("s/f"), "deep");
  EXPECT_EQ(Get("abs/d/f"), "deep");
  EXPECT_EQ(Get("chain/f"), "deep");
  EXPECT_TRUE(S_ISDIR(Stat("s/").st_mode));
  EXPECT_TRUE(S_ISLNK(Stat("s").st_mode));
  char text[16] = {};
  EXPECT_EQ(readlink("s", text, sizeof(text)), 1);
  EXPECT_EQ(readlink("chain", text, 3), 3);
  EXPECT_EQ(std::string(text, 3), "s/.");
  EXPECT_FAILS(readlink("d", text, sizeof(text)), EINVAL);
  EXPECT_FAILS(readlink("none", text, sizeof(text)), ENOENT);
  EXPECT_FAILS(readlink("s", text, 0), EINVAL);
  EXPECT_FAILS(syscall(SYS_readlink, "s", 1L, 10L), EFAULT);
  EXPECT_FAILS(symlink("x", "s"), EEXIST);
  EXPECT_FAILS(symlink("", "e"), ENOENT);
  EXPECT_FAILS(symlink("x", ""), ENOENT);
  EXPECT_FAILS(symlink("x", "none/s"), ENOENT);
  EXPECT_FAILS(symlink("x", "new/"), ENOENT);
  const std::string longest(PATH_MAX - 1, 't');
  EXPECT_FAILS(symlink(std::string(PATH_MAX, 't').c_str(), "long"), ENAMETOOLONG);
  ASSERT_WORKS(symlink(longest.c_str(), "long"));
  EXPECT_EQ(Stat("long").st_size, PATH_MAX - 1);
}

TEST_P(PathTest, FortyLinksAndNoMore) {
  Put("f", "end");
  ASSERT_WORKS(symlink("f", "l1"));
  for (int i = 2; i <= 41; ++i) {
    ASSERT_WORKS(symlink(("l" + std::to_string(i - 1)).c_str(), ("l" + std::to_string(i)).c_str()));
  }
  EXPECT_EQ(Get("l40"), "end");
  EXPECT_FAILS(open("l41", O_RDONLY), ELOOP);
  ASSERT_WORKS(symlink("b", "a"));
  ASSERT_WORKS(symlink("a", "b"));
  EXPECT_FAILS(open("a", O_RDONLY), ELOOP);
  EXPECT_FAILS(open("a/x", O_RDONLY), ELOOP);
  EXPECT_FAILS(chdir("a"), ELOOP);
  EXPECT_FAILS(open("a", O_CREAT | O_RDWR, 0600), ELOOP);
}

TEST_P(PathTest, DotsAndSlashes) {
  ASSERT_WORKS(mkdir("d", 0755));
  Put("d/f", "x");
  Put("g", "y");
  EXPECT_EQ(Get("d/./f"), "x");
  EXPECT_EQ(Get("d//f"), "x");
  EXPECT_EQ(Get("d/../g"), "y");
  EXPECT_EQ(Get("./d/../d/./f"), "x");
  EXPECT_EQ(Get((path + "/../" + path.substr(path.rfind('/') + 1) + "/g").c_str()), "y");
  EXPECT_FAILS(open("d/none/../f", O_RDONLY), ENOENT);
  EXPECT_FAILS(open("g/../g", O_RDONLY), ENOTDIR);
  EXPECT_FAILS(open("g/.", O_RDONLY), ENOTDIR);
  struct stat root {}, above {};
  EXPECT_WORKS(stat("/", &root));
  EXPECT_WORKS(stat("/../..", &above));
  EXPECT_EQ(root.st_ino, above.st_ino);
}

TEST_P(PathTest, RenameRules) {
  Put("f", "f");
  Put("g", "g");
  ASSERT_WORKS(mkdir("d", 0755));
  ASSERT_WORKS(mkdir("e", 0755));
  ASSERT_WORKS(mkdir("d/sub", 0755));
  EXPECT_WORKS(rename("f", "g"));
  EXPECT_EQ(Get("g"), "f");
  EXPECT_FALSE(Exists("f"));
  EXPECT_FAILS(rename("none", "x"), ENOENT);
  EXPECT_FAILS(rename("g", "none/x"), ENOENT);
  EXPECT_FAILS(rename("g", "d"), EISDIR);
  EXPECT_FAILS(rename("d", "g"), ENOTDIR);
  EXPECT_FAILS(rename("e", "d"), ENOTEMPTY);
  EXPECT_FAILS(rename("d", "d/sub/x"), EINVAL);
  EXPECT_FAILS(rename("d", "d/sub"), EINVAL);
  EXPECT_FAILS(rename("d/sub", "d"), ENOTEMPTY);
  EXPECT_FAILS(rename("g", "x/"), ENOTDIR);
  EXPECT_FAILS(rename("g/", "x"), ENOTDIR);
  EXPECT_FAILS(rename(".", "x"), EBUSY);
  EXPECT_FAILS(rename("g", "."), EBUSY);
  EXPECT_FAILS(rename("d/..", "x"), EBUSY);
  EXPECT_FAILS(rename("g", Elsewhere().c_str()), EXDEV);
  EXPECT_FAILS(rename("", "x"), ENOENT);
  EXPECT_FAILS(rename("g", ""), ENOENT);
  EXPECT_WORKS(rename("d", "e"));
  EXPECT_EQ(List("e"), Names{"sub"});
  EXPECT_WORKS(rename("e/sub", "sub/"));
  EXPECT_WORKS(rename("g", "sub/g"));
  EXPECT_EQ(List("."), (Names{"e", "sub"}));
  ASSERT_WORKS(link("sub/g", "other"));
  EXPECT_WORKS(rename("sub/g", "other"));
  EXPECT_TRUE(Exists("sub/g")) << "two names of one file: nothing happens";
  EXPECT_WORKS(rename("other", "other"));
}

TEST_P(PathTest, RenameOverOpenFileKeepsIt) {
  Put("old", "old");
  Put("new", "new");
  const int fd = open("old", O_RDONLY);
  EXPECT_WORKS(rename("new", "old"));
  char text[8] = {};
  EXPECT_EQ(read(fd, text, 8), 3);
  EXPECT_STREQ(text, "old");
  struct stat st {};
  EXPECT_WORKS(fstat(fd, &st));
  EXPECT_EQ(st.st_nlink, 0u);
  EXPECT_EQ(Get("old"), "new");
  close(fd);
}

TEST_P(PathTest, RenameFlags) {
  Put("f", "f");
  Put("g", "g");
  ASSERT_WORKS(mkdir("d", 0755));
  Put("d/in", "in");
  EXPECT_FAILS(RenameAt2("f", "g", RENAME_NOREPLACE), EEXIST);
  EXPECT_WORKS(RenameAt2("f", "h", RENAME_NOREPLACE));
  EXPECT_WORKS(RenameAt2("h", "f", RENAME_NOREPLACE));
  EXPECT_WORKS(RenameAt2("f", "g", RENAME_EXCHANGE));
  EXPECT_EQ(Get("f"), "g");
  EXPECT_EQ(Get("g"), "f");
  EXPECT_WORKS(RenameAt2("f", "d", RENAME_EXCHANGE));
  EXPECT_EQ(Get("f/in"), "in");
  EXPECT_EQ(Get("d"), "g");
  EXPECT_WORKS(RenameAt2("f", "d", RENAME_EXCHANGE));
  EXPECT_FAILS(RenameAt2("f", "none", RENAME_EXCHANGE), ENOENT);
  EXPECT_FAILS(RenameAt2("d", "d/in", RENAME_EXCHANGE), EINVAL);
  EXPECT_FAILS(RenameAt2("d/in", "d", RENAME_EXCHANGE), EINVAL);
  EXPECT_FAILS(RenameAt2("f", "g", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
  EXPECT_FAILS(RenameAt2("f", "g", 0x100), EINVAL);
}

TEST_P(PathTest, RenameLeavesAWhiteout) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  Put("f", "f");
  const int result = RenameAt2("f", "g", RENAME_WHITEOUT);
  // Linux's overlayfs, and a directory under one, say EINVAL.
  if (result != 0 && errno == EINVAL) GTEST_SKIP() << "no whiteouts on this filesystem";
  ASSERT_EQ(result, 0);
  const struct stat st = Stat("f");
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(st.st_rdev, makedev(0, 0));
  EXPECT_EQ(Get("g"), "f");
}

TEST_P(PathTest, AtCallsStartAtDescriptors) {
  ASSERT_WORKS(mkdir("d", 0755));
  const int dir = open("d", O_RDONLY | O_DIRECTORY), place = open("d", O_PATH);
  ASSERT_GE(dir, 0);
  ASSERT_GE(place, 0);
  const int fd = openat(dir, "f", O_CREAT | O_RDWR, 0600);
  ASSERT_GE(fd, 0);
  EXPECT_WORKS(mkdirat(place, "sub", 0755));
  EXPECT_WORKS(symlinkat("f", dir, "s"));
  EXPECT_WORKS(linkat(dir, "f", place, "sub/l", 0));
  EXPECT_WORKS(mknodat(dir, "fifo", S_IFIFO | 0600, 0));
  EXPECT_WORKS(renameat(dir, "f", place, "g"));
  EXPECT_WORKS(fchmodat(dir, "g", 0640, 0));
  EXPECT_WORKS(faccessat(dir, "g", R_OK, 0));
  struct stat st {};
  EXPECT_WORKS(fstatat(dir, "g", &st, 0));
  EXPECT_EQ(st.st_nlink, 2u);
  char text[8];
  EXPECT_EQ(readlinkat(dir, "s", text, sizeof(text)), 1);
  EXPECT_WORKS(rename("d", "moved"));  // descriptors follow the directory
  EXPECT_WORKS(fstatat(dir, "../moved/g", &st, 0));
  EXPECT_WORKS(fchdir(place));
  EXPECT_TRUE(Exists("g"));
  char cwd[PATH_MAX];
  ASSERT_NE(getcwd(cwd, sizeof(cwd)), nullptr);
  EXPECT_EQ(cwd, path + "/moved");
  EXPECT_FAILS(mkdirat(fd, "x", 0755), ENOTDIR);
  EXPECT_FAILS(fchdir(fd), ENOTDIR);
  EXPECT_FAILS(unlinkat(999, "x", 0), EBADF);
  close(fd);
  close(dir);
  close(place);
}

TEST_P(PathTest, WorkingDirectoryRemoved) {
  ASSERT_WORKS(mkdir("d", 0755));
  ASSERT_WORKS(chdir("d"));
  EXPECT_WORKS(rmdir("../d"));
  char cwd[PATH_MAX];
  EXPECT_EQ(getcwd(cwd, sizeof(cwd)), nullptr);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_FAILS(open("f", O_CREAT | O_RDWR, 0600), ENOENT);
  EXPECT_FAILS(mkdir("x", 0755), ENOENT);
  struct stat st {};
  EXPECT_WORKS(stat(".", &st));
  EXPECT_EQ(st.st_nlink, 0u);
  EXPECT_FAILS(stat("f", &st), ENOENT);
  EXPECT_WORKS(chdir(".."));
  EXPECT_EQ(syscall(SYS_getcwd, cwd, 2L), -1);
  EXPECT_EQ(errno, ERANGE);
}

TEST_P(PathTest, DeepTrees) {
  constexpr int kDepth = 300;
  const std::string name(40, 'd');
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_WORKS(mkdir(name.c_str(), 0755));
    ASSERT_WORKS(chdir(name.c_str()));
  }
  char cwd[PATH_MAX * 4];
  EXPECT_EQ(syscall(SYS_getcwd, cwd, sizeof(cwd)), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_WORKS(chdir(".."));
    ASSERT_WORKS(rmdir(name.c_str()));
  }
}

TEST_P(PathTest, Openat2Checks) {
  Put("f", "x");
  const long fd = Openat2(AT_FDCWD, "f", O_RDONLY, 0);
  EXPECT_GE(fd, 0);
  close(static_cast<int>(fd));
  EXPECT_FAILS(Openat2(AT_FDCWD, "f", O_RDONLY | (uint64_t{1} << 40), 0), EINVAL);
  EXPECT_FAILS(Openat2(AT_FDCWD, "f", O_RDONLY, 1 << 20), EINVAL);
  EXPECT_FAILS(Openat2(AT_FDCWD, "f", O_RDONLY, 0, 0600), EINVAL);
  EXPECT_FAILS(Openat2(AT_FDCWD, "g", O_CREAT | O_RDWR, 0, 010000), EINVAL);
  EXPECT_FAILS(Openat2(AT_FDCWD, "f", O_RDONLY, RESOLVE_BENEATH | RESOLVE_IN_ROOT), EINVAL);
  EXPECT_FAILS(Openat2(AT_FDCWD, "f", O_PATH | O_RDWR, 0), EINVAL);
  struct {
    open_how how{O_RDONLY, 0, 0};
    uint64_t more = 0;
  } big;
  const long tolerated = syscall(SYS_openat2, AT_FDCWD, "f", &big, sizeof(big));
  EXPECT_GE(tolerated, 0);
  close(static_cast<int>(tolerated));
  big.more = 1;
  EXPECT_FAILS(syscall(SYS_openat2, AT_FDCWD, "f", &big, sizeof(big)), E2BIG);
  EXPECT_FAILS(syscall(SYS_openat2, AT_FDCWD, "f", &big, 8L), EINVAL);
}

TEST_P(PathTest, ResolveKeepsInside) {
  ASSERT_WORKS(mkdir("root", 0755));
  ASSERT_WORKS(mkdir("root/d", 0755));
  Put("root/f", "inside");
  Put("f", "outside");
  ASSERT_WORKS(symlink("../f", "root/up"));
  ASSERT_WORKS(symlink("/f", "root/abs"));
  ASSERT_WORKS(symlink("d/../f", "root/fine"));
  const int root = open("root", O_PATH);
  const auto opens = [&](const char* name, uint64_t resolve) -> std::string {
    const long fd = Openat2(root, name, O_RDONLY, resolve);
    if (fd < 0) return strerrorname_np(errno);
    char text[16] = {};
    EXPECT_GE(read(static_cast<int>(fd), text, sizeof(text)), 0);
    close(static_cast<int>(fd));
    return text;
  };
  EXPECT_EQ(opens("up", 0), "outside");
  EXPECT_EQ(opens("up", RESOLVE_BENEATH), "EXDEV");
  EXPECT_EQ(opens("../f", RESOLVE_BENEATH), "EXDEV");
  EXPECT_EQ(opens("abs", RESOLVE_BENEATH), "EXDEV");
  EXPECT_EQ(opens("/f", RESOLVE_BENEATH), "EXDEV");
  EXPECT_EQ(opens("fine", RESOLVE_BENEATH), "inside");
  EXPECT_EQ(opens("d/../f", RESOLVE_BENEATH), "inside");
  EXPECT_EQ(opens("d/../../f", RESOLVE_BENEATH), "EXDEV");
  EXPECT_EQ(opens("up", RESOLVE_IN_ROOT), "inside");
  EXPECT_EQ(opens("abs", RESOLVE_IN_ROOT), "inside");
  EXPECT_EQ(opens("/../../f", RESOLVE_IN_ROOT), "inside");
  EXPECT_EQ(opens("fine", RESOLVE_NO_SYMLINKS), "ELOOP");
  EXPECT_EQ(opens("f", RESOLVE_NO_SYMLINKS), "inside");
  EXPECT_EQ(opens("/proc/self/cwd/f", RESOLVE_NO_MAGICLINKS), "ELOOP");
  EXPECT_EQ(opens("/proc/self/cwd/f", 0), "outside");
  EXPECT_EQ(opens("f", RESOLVE_NO_XDEV), "inside");
  EXPECT_EQ(opens("/proc/version", RESOLVE_NO_XDEV), "EXDEV");
  const long link = Openat2(root, "fine", O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
  EXPECT_GE(link, 0) << "the link itself may be named";
  close(static_cast<int>(link));
  EXPECT_FAILS(Openat2(root, "new", O_CREAT | O_RDWR, RESOLVE_CACHED, 0600), EAGAIN);
  EXPECT_EQ(opens("f", RESOLVE_CACHED), "inside");
  close(root);
}

TEST_P(PathTest, ListingsAreComplete) {
  Names made;
  for (int i = 0; i < 1000; ++i) {
    const std::string name = "entry-" + std::to_string(i);
    Put(name.c_str(), "");
    made.insert(name);
  }
  EXPECT_EQ(List("."), made);
  const int fd = open(".", O_RDONLY);
  alignas(8) char buffer[512];
  Names seen;
  std::map<std::string, int64_t> offsets;
  long n = 0;
  while ((n = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0) {
    for (long at = 0; at < n;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
      EXPECT_TRUE(seen.insert(entry->d_name).second) << entry->d_name << " twice";
      offsets[entry->d_name] = entry->d_off;
      EXPECT_TRUE(entry->d_type == DT_REG || entry->d_type == DT_DIR);
      at += entry->d_reclen;
    }
  }
  EXPECT_EQ(n, 0);
  EXPECT_EQ(seen.size(), made.size() + 2);
  EXPECT_EQ(seen.count("."), 1u);
  EXPECT_EQ(seen.count(".."), 1u);
  ASSERT_EQ(lseek(fd, 0, SEEK_SET), 0);
  ASSERT_GT(syscall(SYS_getdents64, fd, buffer, sizeof(buffer)), 0);
  EXPECT_STREQ(reinterpret_cast<const dirent64*>(buffer)->d_name, ".");
  EXPECT_FAILS(syscall(SYS_getdents64, fd, buffer, 4L), EINVAL);
  EXPECT_FAILS(syscall(SYS_getdents64, 999, buffer, sizeof(buffer)), EBADF);
  EXPECT_FAILS(syscall(SYS_getdents64, fd, 1L, sizeof(buffer)), EFAULT);
  char c = 0;
  EXPECT_FAILS(read(fd, &c, 1), EISDIR);
  EXPECT_FAILS(write(fd, &c, 1), EBADF);
  close(fd);
  const int file = open("entry-0", O_RDONLY);
  EXPECT_FAILS(syscall(SYS_getdents64, file, buffer, sizeof(buffer)), ENOTDIR);
  close(file);
}

TEST_P(PathTest, ListingGoesOnAfterChanges) {
  for (int i = 0; i < 100; ++i) Put(("e" + std::to_string(i)).c_str(), "");
  DIR* dir = opendir(".");
  ASSERT_NE(dir, nullptr);
  int seen = 0;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != 'e') continue;
    ++seen;
    EXPECT_WORKS(unlink(entry->d_name));  // as rm -r does
  }
  EXPECT_EQ(seen, 100);
  Put("late", "");
  rewinddir(dir);
  Names names;
  while (const dirent* entry = readdir(dir)) names.insert(entry->d_name);
  EXPECT_EQ(names, (Names{".", "..", "late"}));
  closedir(dir);
  EXPECT_EQ(List("."), Names{"late"});
}

TEST_P(PathTest, ListingShowsTypesAndNumbers) {
  Put("f", "");
  ASSERT_WORKS(mkdir("d", 0755));
  ASSERT_WORKS(symlink("f", "s"));
  ASSERT_WORKS(mkfifo("p", 0600));
  std::map<std::string, std::pair<int, ino_t>> found;
  DIR* dir = opendir(".");
  while (const dirent* entry = readdir(dir)) found[entry->d_name] = {entry->d_type, entry->d_ino};
  closedir(dir);
  EXPECT_EQ(found["f"].first, DT_REG);
  EXPECT_EQ(found["d"].first, DT_DIR);
  EXPECT_EQ(found["s"].first, DT_LNK);
  EXPECT_EQ(found["p"].first, DT_FIFO);
  for (const char* name : {"f", "d", "s", "p", "."}) EXPECT_EQ(found[name].second, Stat(name).st_ino) << name;
  EXPECT_EQ(found[".."].second, Stat("..").st_ino);
}

TEST_P(PathTest, RemovedDirectoryIsEmpty) {
  ASSERT_WORKS(mkdir("d", 0755));
  const int fd = open("d", O_RDONLY);
  ASSERT_WORKS(rmdir("d"));
  char buffer[512];
  EXPECT_FAILS(syscall(SYS_getdents64, fd, buffer, sizeof(buffer)), ENOENT);
  EXPECT_FAILS(openat(fd, "x", O_CREAT | O_RDWR, 0600), ENOENT);
  close(fd);
}

TEST_P(PathTest, ChangesFromTwoThreadsKeepTheTree) {
  ASSERT_WORKS(mkdir("a", 0755));
  ASSERT_WORKS(mkdir("b", 0755));
  Put("a/f", "kept");
  const auto juggle = [](const char* x, const char* y) {
    for (int i = 0; i < 300; ++i) {
      (void)!rename(x, y);
      (void)!rename(y, x);
    }
  };
  std::thread one(juggle, "a/f", "b/f"), two(juggle, "b/f", "a/f"), three(juggle, "a", "b/inner");
  one.join();
  two.join();
  three.join();
  int found = 0;
  for (const char* name : {"a/f", "b/f", "b/inner/f"}) found += Exists(name) ? 1 : 0;
  EXPECT_EQ(found, 1);
}

TEST_P(PathTest, ChrootHoldsDotDot) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_WORKS(mkdir("root", 0755));
  Put("root/f", "in");
  Put("f", "out");
  Passes(InChild([] {
    IN_CHILD(chroot("root") == 0);
    IN_CHILD(chdir("/") == 0);
    IN_CHILD(Get("/../../f") == "in");
    IN_CHILD(Get("/f") == "in");
    char cwd[64];
    IN_CHILD(getcwd(cwd, sizeof(cwd)) != nullptr && strcmp(cwd, "/") == 0);
    return 0;
  }));
}

TEST_P(PathTest, ReadOnlyMountRefusesChanges) {
  // /proc/sys is read-only or refuses in every variant; what matters is that no name can be made in /proc.
  EXPECT_EQ(mkdir("/proc/new", 0755), -1);
  EXPECT_TRUE(errno == ENOENT || errno == EROFS || errno == EACCES || errno == EPERM) << errno;
}

}  // namespace
