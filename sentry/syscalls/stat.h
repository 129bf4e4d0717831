// Attributes: stat(2) and its kin, statfs(2), access(2), chmod(2), chown(2), utimensat(2); getdents(2).
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

// struct stat of x86-64.
struct UserStat {
  uint64_t dev, ino, nlink;
  uint32_t mode, uid, gid, pad0;
  uint64_t rdev;
  int64_t size, blksize, blocks;
  abi::Timespec atime, mtime, ctime;
  int64_t unused[3];
};
static_assert(sizeof(UserStat) == 144);
struct UserStatxTime {
  int64_t sec;
  uint32_t nsec;
  int32_t pad;
};
struct UserStatx {
  uint32_t mask, blksize;
  uint64_t attributes;
  uint32_t nlink, uid, gid;
  uint16_t mode, pad0;
  uint64_t ino, size, blocks, attributes_mask;
  UserStatxTime atime, btime, ctime, mtime;
  uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
  uint64_t mnt_id;
  uint64_t spare[13];
};
static_assert(sizeof(UserStatx) == 256);
struct UserStatfs {
  int64_t type, bsize;
  uint64_t blocks, bfree, bavail, files, ffree;
  uint64_t fsid;
  int64_t namelen, frsize, flags;
  int64_t spare[4];
};
static_assert(sizeof(UserStatfs) == 120);
struct UserUstat {
  int32_t free_blocks;
  uint32_t pad;
  uint64_t free_inodes;
  char name[6], pack[6];
  uint32_t pad2;
};
static_assert(sizeof(UserUstat) == 32);

Result<Word> SysStat(kernel::Task& task, UserPath path, UserOut<UserStat> out);
Result<Word> SysLstat(kernel::Task& task, UserPath path, UserOut<UserStat> out);
Result<Word> SysFstat(kernel::Task& task, Fd fd, UserOut<UserStat> out);
Result<Word> SysNewfstatat(kernel::Task& task, Fd dirfd, UserPath path, UserOut<UserStat> out, uint32_t flags);
Result<Word> SysStatx(kernel::Task& task, Fd dirfd, UserPath path, uint32_t flags, uint32_t mask, UserOut<UserStatx> out);
Result<Word> SysStatfs(kernel::Task& task, UserPath path, UserOut<UserStatfs> out);
Result<Word> SysFstatfs(kernel::Task& task, Fd fd, UserOut<UserStatfs> out);
Result<Word> SysAccess(kernel::Task& task, UserPath path, uint32_t mode);
Result<Word> SysFaccessat(kernel::Task& task, Fd dirfd, UserPath path, uint32_t mode);
Result<Word> SysFaccessat2(kernel::Task& task, Fd dirfd, UserPath path, uint32_t mode, uint32_t flags);
Result<Word> SysChmod(kernel::Task& task, UserPath path, uint32_t mode);
Result<Word> SysFchmod(kernel::Task& task, Fd fd, uint32_t mode);
Result<Word> SysFchmodat(kernel::Task& task, Fd dirfd, UserPath path, uint32_t mode);
Result<Word> SysFchmodat2(kernel::Task& task, Fd dirfd, UserPath path, uint32_t mode, uint32_t flags);
Result<Word> SysChown(kernel::Task& task, UserPath path, uint32_t uid, uint32_t gid);
Result<Word> SysLchown(kernel::Task& task, UserPath path, uint32_t uid, uint32_t gid);
Result<Word> SysFchown(kernel::Task& task, Fd fd, uint32_t uid, uint32_t gid);
Result<Word> SysFchownat(kernel::Task& task, Fd dirfd, UserPath path, uint32_t uid, uint32_t gid, uint32_t flags);
Result<Word> SysUtimensat(kernel::Task& task, Fd dirfd, UserPath path, UserIn<abi::Timespec> times, uint32_t flags);
Result<Word> SysUtime(kernel::Task& task, UserPath path, UserIn<int64_t> times);
Result<Word> SysUtimes(kernel::Task& task, UserPath path, UserIn<abi::Timeval> times);
Result<Word> SysFutimesat(kernel::Task& task, Fd dirfd, UserPath path, UserIn<abi::Timeval> times);
Result<Word> SysUstat(kernel::Task& task, uint32_t device, UserOut<UserUstat> out);
Result<Word> SysGetdents(kernel::Task& task, Fd fd, UserAddr buffer, uint32_t size);
Result<Word> SysGetdents64(kernel::Task& task, Fd fd, UserAddr buffer, uint32_t size);

}  // namespace rampart::syscalls
