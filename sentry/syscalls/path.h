// Names: open(2) and its kin, and the calls that make, remove and move names; chdir(2), chroot(2), getcwd(2), umask(2).
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysOpen(kernel::Task& task, UserPath path, uint32_t flags, uint32_t mode);
Result<Word> SysOpenat(kernel::Task& task, Fd dirfd, UserPath path, uint32_t flags, uint32_t mode);
Result<Word> SysOpenat2(kernel::Task& task, Fd dirfd, UserPath path, UserAddr how, uint64_t size);
Result<Word> SysCreat(kernel::Task& task, UserPath path, uint32_t mode);
Result<Word> SysMkdir(kernel::Task& task, UserPath path, uint32_t mode);
Result<Word> SysMkdirat(kernel::Task& task, Fd dirfd, UserPath path, uint32_t mode);
Result<Word> SysRmdir(kernel::Task& task, UserPath path);
Result<Word> SysUnlink(kernel::Task& task, UserPath path);
Result<Word> SysUnlinkat(kernel::Task& task, Fd dirfd, UserPath path, uint32_t flags);
Result<Word> SysRename(kernel::Task& task, UserPath from, UserPath to);
Result<Word> SysRenameat(kernel::Task& task, Fd from_dir, UserPath from, Fd to_dir, UserPath to);
Result<Word> SysRenameat2(kernel::Task& task, Fd from_dir, UserPath from, Fd to_dir, UserPath to, uint32_t flags);
Result<Word> SysLink(kernel::Task& task, UserPath from, UserPath to);
Result<Word> SysLinkat(kernel::Task& task, Fd from_dir, UserPath from, Fd to_dir, UserPath to, uint32_t flags);
Result<Word> SysSymlink(kernel::Task& task, UserPath target, UserPath path);
Result<Word> SysSymlinkat(kernel::Task& task, UserPath target, Fd dirfd, UserPath path);
Result<Word> SysReadlink(kernel::Task& task, UserPath path, UserAddr buffer, int32_t size);
Result<Word> SysReadlinkat(kernel::Task& task, Fd dirfd, UserPath path, UserAddr buffer, int32_t size);
Result<Word> SysMknod(kernel::Task& task, UserPath path, uint32_t mode, uint32_t device);
Result<Word> SysMknodat(kernel::Task& task, Fd dirfd, UserPath path, uint32_t mode, uint32_t device);
Result<Word> SysGetcwd(kernel::Task& task, UserAddr buffer, uint64_t size);
Result<Word> SysChdir(kernel::Task& task, UserPath path);
Result<Word> SysFchdir(kernel::Task& task, Fd fd);
Result<Word> SysChroot(kernel::Task& task, UserPath path);
Result<Word> SysUmask(kernel::Task& task, uint32_t mask);
Result<Word> SysMemfdSecret(kernel::Task& task, uint32_t flags);
Result<Word> SysMemfdCreate(kernel::Task& task, UserPath name, uint32_t flags);

}  // namespace rampart::syscalls
