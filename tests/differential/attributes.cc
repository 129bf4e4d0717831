// What is known of files beside their bytes: modes, owners, times, extended attributes, locks.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/differential/operations.h"

namespace differential {
namespace {

// Times that the program set are the same everywhere; those of the clock are not.
std::string Time(int64_t seconds, int64_t nanoseconds) {
  return seconds > 1'000'000'000 ? "now" : std::to_string(seconds) + "." + std::to_string(nanoseconds);
}

void NoteStat(World& w, const struct stat& st) {
  w.Note("%o links %ld %u:%u", st.st_mode, static_cast<long>(st.st_nlink), st.st_uid, st.st_gid);
  if (S_ISREG(st.st_mode)) w.Note("size %ld", static_cast<long>(st.st_size));
  w.Note("a %s m %s", S_ISDIR(st.st_mode) ? "?" : Time(st.st_atim.tv_sec, st.st_atim.tv_nsec).c_str(), Time(st.st_mtim.tv_sec, st.st_mtim.tv_nsec).c_str());
}

void Stat(World& w, Rng& r) {
  struct stat st {};
  if (r.OneIn(2)) {
    const int fd = w.Fd(r);
    const int result = fstat(fd, &st);
    w.Say(result, "fstat(%d)", fd);
    if (result == 0 && (w.KindOf(fd) & (kFile | kDirectory)) != 0) NoteStat(w, st);
    return;
  }
  const int dir = w.DirectoryFd(r);
  const Path path = w.PathOf(r);
  const int flags = r.Pick({0, 0, AT_SYMLINK_NOFOLLOW, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_NO_AUTOMOUNT, 0x1});
  const int result = fstatat(dir, path.text.c_str(), &st, flags);
  w.Say(result, "fstatat(%d, %s, %#x)", dir, path.name.c_str(), static_cast<unsigned>(flags));
  if (result == 0) NoteStat(w, st);
}

void Statx(World& w, Rng& r) {
  struct statx st {};
  const int dir = r.OneIn(3) ? w.Fd(r) : w.DirectoryFd(r);
  const Path path = r.OneIn(3) ? Path{"", "empty"} : w.PathOf(r);
  const int flags = r.Pick({0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_EMPTY_PATH, AT_STATX_FORCE_SYNC, AT_STATX_DONT_SYNC, 0x6000, 0x1});
  const unsigned mask = r.Pick<unsigned>({STATX_BASIC_STATS, STATX_BASIC_STATS, STATX_SIZE | STATX_MODE, 0, 0x80000000});
  const int result = statx(dir, path.text.c_str(), flags, mask, &st);
  w.Say(result, "statx(%d, %s, %#x, %#x)", dir, path.name.c_str(), static_cast<unsigned>(flags), mask);
  if (result != 0) return;
  w.Note("%o links %u %u:%u", st.stx_mode, st.stx_nlink, st.stx_uid, st.stx_gid);
  if (S_ISREG(st.stx_mode)) w.Note("size %llu", st.stx_size);
}

void Access(World& w, Rng& r) {
  const int dir = w.DirectoryFd(r);
  const Path path = w.PathOf(r);
  const int mode = static_cast<int>(r.Below(9)), flags = r.Pick({0, 0, AT_EACCESS, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, 0x1});
  w.Say(syscall(SYS_faccessat2, dir, path.text.c_str(), mode, flags), "faccessat2(%d, %s, %d, %#x)", dir, path.name.c_str(), mode,
        static_cast<unsigned>(flags));
}

void Chmod(World& w, Rng& r) {
  const mode_t mode = r.Pick<mode_t>({0644, 0600, 0755, 0777, 0, 0444, 04755, 02755, 02644, 01777, 06777, 0100644});
  if (r.OneIn(2)) {
    const int fd = w.Fd(r, kFile | kDirectory);
    if ((w.KindOf(fd) & (kFile | kDirectory)) == 0) return;  // anonymous files have no mode to change since Linux 6.16 only
    w.Say(fchmod(fd, mode), "fchmod(%d, %o)", fd, mode);
    return;
  }
  const int dir = w.DirectoryFd(r);
  const Path path = w.PathOf(r);
  const int flags = r.Pick({0, 0, 0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, 0x1});
  w.Say(syscall(452, dir, path.text.c_str(), mode, flags), "fchmodat2(%d, %s, %o, %#x)", dir, path.name.c_str(), mode, static_cast<unsigned>(flags));
}

void Chown(World& w, Rng& r) {
  static const uid_t kIds[] = {0, 1000, 1001, static_cast<uid_t>(-1), static_cast<uid_t>(-1)};
  const uid_t user = r.Pick(kIds), group = r.Pick(kIds);
  if (r.OneIn(3)) {
    const int fd = w.Fd(r, kFile | kDirectory);
    if ((w.KindOf(fd) & (kFile | kDirectory)) == 0) return;
    return w.Say(fchown(fd, user, group), "fchown(%d, %d, %d)", fd, static_cast<int>(user), static_cast<int>(group));
  }
  const int dir = w.DirectoryFd(r);
  const Path path = w.PathOf(r);
  const int flags = r.Pick({0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, 0x1});
  w.Say(fchownat(dir, path.text.c_str(), user, group, flags), "fchownat(%d, %s, %d, %d, %#x)", dir, path.name.c_str(), static_cast<int>(user),
        static_cast<int>(group), static_cast<unsigned>(flags));
}

void Utimensat(World& w, Rng& r) {
  timespec times[2];
  std::string shown;
  for (timespec& time : times) {
    time.tv_sec = static_cast<time_t>(r.Below(100000));
    time.tv_nsec = r.OneIn(4) ? r.Pick<long>({UTIME_NOW, UTIME_OMIT, 1'000'000'000, -1}) : static_cast<long>(r.Below(1'000'000'000));
    shown += " " + std::to_string(time.tv_sec) + "." + std::to_string(time.tv_nsec);
  }
  const timespec* given = r.OneIn(6) ? nullptr : times;
  if (r.OneIn(2)) {
    const int fd = w.Fd(r, kFile);
    if ((w.KindOf(fd) & (kFile | kDirectory)) == 0) return;  // anonymous files take no times since Linux 6.16 only
    return w.Say(syscall(SYS_utimensat, fd, nullptr, given, 0), "utimensat(%d, null,%s)", fd, given == nullptr ? "null" : shown.c_str());
  }
  const int dir = w.DirectoryFd(r);
  const Path path = w.PathOf(r);
  const int flags = r.Pick({0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, 0x1});
  w.Say(syscall(SYS_utimensat, dir, path.text.c_str(), given, flags), "utimensat(%d, %s,%s, %#x)", dir, path.name.c_str(),
        given == nullptr ? "null" : shown.c_str(), static_cast<unsigned>(flags));
}

void Xattr(World& w, Rng& r) {
  static const char* const kNames[] = {"user.a", "user.b", "user.", "nothing", "user.a", "trusted.t", "system.none", ""};
  const char* name = r.Pick(kNames);
  const bool by_fd = r.OneIn(2);
  const int fd = w.Fd(r, kFile | kDirectory);
  const Path path = w.PathOf(r);
  char value[300] = {};
  const size_t size = r.Pick<size_t>({0, 1, 10, 100, 300});
  switch (r.Below(4)) {
    case 0: {
      for (size_t i = 0; i < size; ++i) value[i] = static_cast<char>(r.Next());
      const int flags = r.Pick<int>({0, 0, XATTR_CREATE, XATTR_REPLACE, 3, 4});
      const int result = by_fd ? fsetxattr(fd, name, value, size, flags) : lsetxattr(path.text.c_str(), name, value, size, flags);
      return w.Say(result, "setxattr(%d %d %s, %s, %zu, %d)", by_fd, fd, path.name.c_str(), name, size, flags);
    }
    case 1: {
      const ssize_t n = by_fd ? fgetxattr(fd, name, value, size) : getxattr(path.text.c_str(), name, value, size);
      w.Say(n, "getxattr(%d %d %s, %s, %zu)", by_fd, fd, path.name.c_str(), name, size);
      return w.NoteBytes(value, size == 0 ? 0 : n);
    }
    case 2: {
      const ssize_t n = by_fd ? flistxattr(fd, value, size) : llistxattr(path.text.c_str(), value, size);
      w.Say(n, "listxattr(%d %d %s, %zu)", by_fd, fd, path.name.c_str(), size);
      std::vector<std::string> names;
      for (ssize_t at = 0; size != 0 && at < n; at += static_cast<ssize_t>(names.back().size()) + 1) names.emplace_back(value + at);
      std::sort(names.begin(), names.end());
      for (const std::string& one : names) w.Note("%s", one.c_str());
      return;
    }
    default: {
      const int result = by_fd ? fremovexattr(fd, name) : removexattr(path.text.c_str(), name);
      return w.Say(result, "removexattr(%d %d %s, %s)", by_fd, fd, path.name.c_str(), name);
    }
  }
}

void Flock(World& w, Rng& r) {
  const int fd = w.Fd(r, kFile | kDirectory);
  if ((w.KindOf(fd) & (kFile | kDirectory)) == 0 && w.KindOf(fd) != 0) return;  // all anonymous files have one inode, and one lock, on Linux
  const int operation = r.Pick({LOCK_SH, LOCK_EX, LOCK_UN, LOCK_EX, 0, 64}) | LOCK_NB;
  w.Say(flock(fd, operation), "flock(%d, %#x)", fd, static_cast<unsigned>(operation));
}

void RecordLock(World& w, Rng& r) {
  const int fd = w.Fd(r, kFile);
  const int command = r.Pick({F_SETLK, F_SETLK, F_GETLK, F_OFD_SETLK, F_OFD_SETLK, F_OFD_GETLK});
  struct flock lock {};
  lock.l_type = r.Pick<short>({F_RDLCK, F_WRLCK, F_WRLCK, F_UNLCK, 7});
  lock.l_whence = r.Pick<short>({SEEK_SET, SEEK_SET, SEEK_CUR, SEEK_END, 9});
  lock.l_start = r.Pick<long>({0, 0, 10, 20, 100, -10});
  lock.l_len = r.Pick<long>({0, 10, 20, 100, -10});
  lock.l_pid = (command == F_OFD_SETLK || command == F_OFD_GETLK) && r.OneIn(20) ? 1 : 0;
  const struct flock asked = lock;
  const int result = fcntl(fd, command, &lock);
  w.Say(result, "fcntl(%d, %d, {%d, %d, %ld, %ld, %d})", fd, command, asked.l_type, asked.l_whence, asked.l_start, asked.l_len, asked.l_pid);
  if (result == 0 && (command == F_GETLK || command == F_OFD_GETLK)) {
    w.Note("{%d %d", lock.l_type, lock.l_whence);
    if (lock.l_type != F_UNLCK) w.Note("%ld %ld %s", lock.l_start, lock.l_len, w.PidName(lock.l_pid).c_str());
    w.Note("}");
  }
}

void Lease(World& w, Rng& r) {
  const int fd = w.Fd(r, kFile);
  if (r.OneIn(2)) return w.Say(fcntl(fd, F_GETLEASE), "fcntl(%d, F_GETLEASE)", fd);
  const int kind = r.Pick({F_RDLCK, F_UNLCK});
  w.Say(fcntl(fd, F_SETLEASE, kind), "fcntl(%d, F_SETLEASE, %d)", fd, kind);
}

void Statfs(World& w, Rng& r) {
  struct statfs st {};
  const int fd = w.Fd(r, kAnything);
  const bool by_fd = r.OneIn(2);
  const Path path = w.PathOf(r);
  const int result = by_fd ? fstatfs(fd, &st) : statfs(path.text.c_str(), &st);
  w.Say(result, "statfs(%d %d %s)", by_fd, fd, path.name.c_str());
  if (result == 0) w.Note("namelen %ld", static_cast<long>(st.f_namelen));
}

void Umask(World& w, Rng& r) {
  const mode_t mask = r.Pick<mode_t>({022, 077, 0, 027, 07777});
  w.Say(static_cast<long>(umask(mask)), "umask(%o)", mask);
}

constexpr Operation kOperations[] = {
    {"stat", 20, Stat},   {"statx", 8, Statx}, {"access", 5, Access}, {"chmod", 7, Chmod},   {"chown", 6, Chown},   {"utimensat", 6, Utimensat},
    {"xattr", 8, Xattr},  {"flock", 6, Flock}, {"lock", 9, RecordLock}, {"lease", 0, Lease}, {"statfs", 2, Statfs}, {"umask", 2, Umask},
};

}  // namespace

std::span<const Operation> AttributeOperations() { return kOperations; }

}  // namespace differential
