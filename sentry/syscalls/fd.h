// Descriptors: close(2), dup(2), fcntl(2), flock(2), ioctl(2).
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

// The file that a descriptor means, for all but the few calls that take descriptors of O_PATH as well (Linux: fdget). EBADF.
Result<Ref<vfs::FileDescription>> OpenedFile(kernel::Task& task, Fd fd);

Result<Word> SysClose(kernel::Task& task, Fd fd);
Result<Word> SysCloseRange(kernel::Task& task, uint32_t first, uint32_t last, uint32_t flags);
Result<Word> SysDup(kernel::Task& task, Fd fd);
Result<Word> SysDup2(kernel::Task& task, Fd from, Fd to);
Result<Word> SysDup3(kernel::Task& task, Fd from, Fd to, uint32_t flags);
Result<Word> SysFcntl(kernel::Task& task, Fd fd, uint32_t command, uint64_t argument);
Result<Word> SysFlock(kernel::Task& task, Fd fd, uint32_t operation);
Result<Word> SysIoctl(kernel::Task& task, Fd fd, uint32_t command, uint64_t argument);

}  // namespace rampart::syscalls
