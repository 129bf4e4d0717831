// mount(2), umount2(2), pivot_root(2), and the mount API of descriptors: open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr,
// statmount, listmount.
#pragma once

#include "abi/mount.h"
#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysMount(kernel::Task& task, UserPath source, UserPath target, UserPath type, uint64_t flags, UserPath data);
Result<Word> SysUmount2(kernel::Task& task, UserPath target, uint32_t flags);
Result<Word> SysPivotRoot(kernel::Task& task, UserPath new_root, UserPath put_old);

Result<Word> SysOpenTree(kernel::Task& task, Fd directory, UserPath path, uint32_t flags);
Result<Word> SysMoveMount(kernel::Task& task, Fd from_directory, UserPath from, Fd to_directory, UserPath to, uint32_t flags);
Result<Word> SysMountSetattr(kernel::Task& task, Fd directory, UserPath path, uint32_t flags, UserAddr attributes, uint64_t size);
Result<Word> SysFsopen(kernel::Task& task, UserPath type, uint32_t flags);
Result<Word> SysFspick(kernel::Task& task, Fd directory, UserPath path, uint32_t flags);
Result<Word> SysFsconfig(kernel::Task& task, Fd fd, uint32_t command, UserPath key, UserAddr value, int32_t auxiliary);
Result<Word> SysFsmount(kernel::Task& task, Fd fd, uint32_t flags, uint32_t attributes);

Result<Word> SysStatmount(kernel::Task& task, UserAddr request, UserAddr buffer, uint64_t size, uint32_t flags);
Result<Word> SysListmount(kernel::Task& task, UserAddr request, UserAddr ids, uint64_t count, uint32_t flags);

}  // namespace rampart::syscalls
