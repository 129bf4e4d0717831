// Extended attributes (xattr(7)).
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysSetxattr(kernel::Task& task, UserPath path, UserPath name, UserAddr value, uint64_t size, uint32_t flags);
Result<Word> SysLsetxattr(kernel::Task& task, UserPath path, UserPath name, UserAddr value, uint64_t size, uint32_t flags);
Result<Word> SysFsetxattr(kernel::Task& task, Fd fd, UserPath name, UserAddr value, uint64_t size, uint32_t flags);
Result<Word> SysGetxattr(kernel::Task& task, UserPath path, UserPath name, UserAddr value, uint64_t size);
Result<Word> SysLgetxattr(kernel::Task& task, UserPath path, UserPath name, UserAddr value, uint64_t size);
Result<Word> SysFgetxattr(kernel::Task& task, Fd fd, UserPath name, UserAddr value, uint64_t size);
Result<Word> SysListxattr(kernel::Task& task, UserPath path, UserAddr list, uint64_t size);
Result<Word> SysLlistxattr(kernel::Task& task, UserPath path, UserAddr list, uint64_t size);
Result<Word> SysFlistxattr(kernel::Task& task, Fd fd, UserAddr list, uint64_t size);
Result<Word> SysRemovexattr(kernel::Task& task, UserPath path, UserPath name);
Result<Word> SysLremovexattr(kernel::Task& task, UserPath path, UserPath name);
Result<Word> SysFremovexattr(kernel::Task& task, Fd fd, UserPath name);
// Linux 6.13. `args`: struct xattr_args.
Result<Word> SysSetxattrat(kernel::Task& task, Fd dirfd, UserPath path, uint32_t at_flags, UserPath name, UserAddr args, uint64_t size);
Result<Word> SysGetxattrat(kernel::Task& task, Fd dirfd, UserPath path, uint32_t at_flags, UserPath name, UserAddr args, uint64_t size);
Result<Word> SysListxattrat(kernel::Task& task, Fd dirfd, UserPath path, uint32_t at_flags, UserAddr list, uint64_t size);
Result<Word> SysRemovexattrat(kernel::Task& task, Fd dirfd, UserPath path, uint32_t at_flags, UserPath name);

}  // namespace rampart::syscalls
