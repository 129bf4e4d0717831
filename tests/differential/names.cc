// Names: links, directories, renames, and what watches them.
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "tests/differential/operations.h"

namespace differential {
namespace {

void Link(World& w, Rng& r) {
  const int from_dir = w.DirectoryFd(r), to_dir = w.DirectoryFd(r);
  Path from = w.PathOf(r);
  const Path to = w.PathOf(r);
  const int flags = r.Pick({0, 0, 0, AT_SYMLINK_FOLLOW, AT_SYMLINK_FOLLOW, 0x1});
  w.Say(linkat(from_dir, from.text.c_str(), to_dir, to.text.c_str(), flags), "linkat(%d, %s, %d, %s, %#x)", from_dir, from.name.c_str(), to_dir,
        to.name.c_str(), static_cast<unsigned>(flags));
}

void Rename(World& w, Rng& r) {
  const int from_dir = w.DirectoryFd(r), to_dir = w.DirectoryFd(r);
  const Path from = w.PathOf(r), to = w.PathOf(r);
  const unsigned flags = r.Pick<unsigned>({0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_NOREPLACE | RENAME_EXCHANGE, 8});
  w.Say(renameat2(from_dir, from.text.c_str(), to_dir, to.text.c_str(), flags), "renameat2(%d, %s, %d, %s, %u)", from_dir, from.name.c_str(), to_dir,
        to.name.c_str(), flags);
}

void Unlink(World& w, Rng& r) {
  const int dir = w.DirectoryFd(r);
  const Path path = w.PathOf(r);
  const int flags = r.Pick({0, 0, 0, AT_REMOVEDIR, 0x1});
  w.Say(unlinkat(dir, path.text.c_str(), flags), "unlinkat(%d, %s, %#x)", dir, path.name.c_str(), static_cast<unsigned>(flags));
}

void Rmdir(World& w, Rng& r) {
  const Path path = w.PathOf(r);
  w.Say(rmdir(path.text.c_str()), "rmdir(%s)", path.name.c_str());
}

void Mkdir(World& w, Rng& r) {
  static const char* const kDirectories[] = {"d0", "d1", "d0/d2", "d0/", "d1"};
  const int dir = w.DirectoryFd(r);
  const Path path = r.OneIn(3) ? w.PathOf(r) : Path{r.Pick(kDirectories), "directory"};
  const mode_t mode = r.Pick<mode_t>({0755, 0755, 0777, 0700, 02775, 01777, 0});
  w.Say(mkdirat(dir, path.text.c_str(), mode), "mkdirat(%d, %s %s, %o)", dir, path.name.c_str(), path.text.substr(0, 20).c_str(), mode);
}

void Symlink(World& w, Rng& r) {
  const Path target = w.PathOf(r), path = w.PathOf(r);
  const int dir = w.DirectoryFd(r);
  w.Say(symlinkat(target.text.c_str(), dir, path.text.c_str()), "symlinkat(%s, %d, %s)", target.name.c_str(), dir, path.name.c_str());
}

void Readlink(World& w, Rng& r) {
  const int dir = w.DirectoryFd(r);
  const Path path = w.PathOf(r);
  char text[4096] = {};
  const size_t size = r.Pick<size_t>({0, 1, 4095, 4095});
  const ssize_t n = readlinkat(dir, path.text.c_str(), text, size);
  const bool magic = path.text.starts_with("/proc");  // its length is that of the directory's name
  w.Say(magic && n > 0 ? 1 : n, "readlinkat(%d, %s, %zu)", dir, path.name.c_str(), size);
  if (n > 0) w.Note("%.60s", w.Shown(text).c_str());
}

void Mknod(World& w, Rng& r) {
  const int dir = w.DirectoryFd(r);
  const Path path = w.PathOf(r);
  const mode_t mode = r.Pick<mode_t>({S_IFIFO | 0644, S_IFIFO | 0600, S_IFREG | 0644, S_IFSOCK | 0644, 0644, S_IFCHR | 0600, S_IFDIR | 0755});
  w.Say(mknodat(dir, path.text.c_str(), mode, 0), "mknodat(%d, %s, %o)", dir, path.name.c_str(), mode);
}

void Chdir(World& w, Rng& r) {
  static const char* const kPlaces[] = {"d0", "d1", "d0/d2", "l0"};
  if (r.OneIn(2)) {
    const Path path{r.Pick(kPlaces), ""};
    w.Say(chdir(path.text.c_str()), "chdir(%s)", path.text.c_str());
  } else {
    const int fd = w.Fd(r, kDirectory);
    w.Say(fchdir(fd), "fchdir(%d)", fd);
  }
  char text[4096];
  const long n = syscall(SYS_getcwd, text, sizeof(text));
  w.Say(n < 0 ? n : 0, "getcwd()");
  if (n > 0) w.Note("%s", w.Shown(text).c_str());
}

struct Entry64 {
  uint64_t inode;
  int64_t offset;
  uint16_t length;
  uint8_t type;
  char name[1];
};

// All of a directory: the order is the filesystem's own, as is what it tells of names that came after its end was read.
void Getdents(World& w, Rng& r) {
  const int fd = w.Fd(r, kDirectory);
  (void)lseek(fd, 0, SEEK_SET);
  alignas(8) char buffer[4096];
  std::vector<std::string> names;
  long n = 0;
  while ((n = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0) {
    for (long at = 0; at < n;) {
      Entry64 entry;
      memcpy(&entry, buffer + at, offsetof(Entry64, name));
      names.push_back(std::string(buffer + at + offsetof(Entry64, name)) + ":" + std::to_string(entry.type));
      at += entry.length;
    }
  }
  w.Say(n, "getdents64(%d)", fd);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) w.Note("%.40s", name.c_str());
}

void InotifyInit(World& w, Rng& r) {
  w.MakeRoom(r);
  const int fd = inotify_init1(IN_NONBLOCK | (r.OneIn(2) ? IN_CLOEXEC : 0));
  w.Say(fd, "inotify_init1()");
  w.Keep(fd);
}

void InotifyAdd(World& w, Rng& r) {
  const int fd = w.Fd(r, kInotify);
  if ((w.KindOf(fd) & kInotify) == 0) return InotifyInit(w, r);
  const Path path = w.PathOf(r);
  if (path.text.starts_with("/proc")) return;  // files without names tell nobody since Linux 6.14 only
  uint32_t mask = r.OneIn(3) ? IN_ALL_EVENTS : static_cast<uint32_t>(r.Next()) & IN_ALL_EVENTS;
  if (r.OneIn(8)) mask |= r.Pick<uint32_t>({IN_ONESHOT, IN_ONLYDIR, IN_DONT_FOLLOW, IN_MASK_ADD, IN_MASK_CREATE, IN_EXCL_UNLINK});
  w.Say(inotify_add_watch(fd, path.text.c_str(), mask), "inotify_add_watch(%d, %s, %#x)", fd, path.name.c_str(), mask);
}

void InotifyRemove(World& w, Rng& r) {
  const int fd = w.Fd(r, kInotify), watch = static_cast<int>(r.Below(5));
  w.Say(inotify_rm_watch(fd, watch), "inotify_rm_watch(%d, %d)", fd, watch);
}

void InotifyRead(World& w, Rng& r) {
  const int fd = w.Fd(r, kInotify);
  if ((w.KindOf(fd) & kInotify) == 0) return;
  alignas(8) char buffer[16384];
  const size_t size = r.Pick<size_t>({sizeof(buffer), sizeof(buffer), 8, 16, 32});
  const ssize_t n = read(fd, buffer, size);
  w.Say(n, "read(inotify %d, %zu)", fd, size);
  uint32_t last_cookie = 0;
  for (ssize_t at = 0; at < n;) {
    inotify_event event;
    memcpy(&event, buffer + at, sizeof(event));
    const char* mark = event.cookie == 0 ? "" : event.cookie == last_cookie ? " as before" : " cookie";
    last_cookie = event.cookie;
    w.Note("(%d %#x %s%s)", event.wd, event.mask, event.len == 0 ? "" : buffer + at + sizeof(event), mark);
    at += static_cast<ssize_t>(sizeof(event)) + event.len;
  }
}

constexpr Operation kOperations[] = {
    {"link", 10, Link},         {"rename", 14, Rename},   {"unlink", 12, Unlink},    {"rmdir", 5, Rmdir},
    {"mkdir", 14, Mkdir},       {"symlink", 10, Symlink}, {"readlink", 5, Readlink}, {"mknod", 6, Mknod},
    {"chdir", 4, Chdir},        {"getdents", 8, Getdents}, {"inotify_init", 2, InotifyInit}, {"inotify_add", 9, InotifyAdd},
    {"inotify_rm", 3, InotifyRemove}, {"inotify_read", 7, InotifyRead},
};

}  // namespace

std::span<const Operation> NameOperations() { return kOperations; }

}  // namespace differential
