// read(2), write(2) and their kin, lseek(2), sendfile(2), copy_file_range(2), and the calls that synchronise and size files.
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysRead(kernel::Task& task, Fd fd, UserAddr buffer, uint64_t count);
Result<Word> SysWrite(kernel::Task& task, Fd fd, UserAddr buffer, uint64_t count);
Result<Word> SysPread64(kernel::Task& task, Fd fd, UserAddr buffer, uint64_t count, int64_t offset);
Result<Word> SysPwrite64(kernel::Task& task, Fd fd, UserAddr buffer, uint64_t count, int64_t offset);
Result<Word> SysReadv(kernel::Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count);
Result<Word> SysWritev(kernel::Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count);
Result<Word> SysPreadv(kernel::Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count, int64_t offset);
Result<Word> SysPwritev(kernel::Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count, int64_t offset);
Result<Word> SysPreadv2(kernel::Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count, int64_t offset, int64_t high, uint32_t flags);
Result<Word> SysPwritev2(kernel::Task& task, Fd fd, UserIn<abi::Iovec> vec, uint64_t count, int64_t offset, int64_t high, uint32_t flags);
Result<Word> SysLseek(kernel::Task& task, Fd fd, int64_t offset, int32_t whence);
Result<Word> SysSendfile(kernel::Task& task, Fd out, Fd in, UserInOut<int64_t> offset, uint64_t count);
Result<Word> SysCopyFileRange(kernel::Task& task, Fd in, UserInOut<int64_t> in_offset, Fd out, UserInOut<int64_t> out_offset, uint64_t length,
                              uint32_t flags);
Result<Word> SysFsync(kernel::Task& task, Fd fd);
Result<Word> SysFdatasync(kernel::Task& task, Fd fd);
Result<Word> SysSyncfs(kernel::Task& task, Fd fd);
Result<Word> SysSync(kernel::Task& task);
Result<Word> SysSyncFileRange(kernel::Task& task, Fd fd, int64_t offset, int64_t length, uint32_t flags);
Result<Word> SysFadvise64(kernel::Task& task, Fd fd, int64_t offset, int64_t length, int32_t advice);
Result<Word> SysReadahead(kernel::Task& task, Fd fd, int64_t offset, uint64_t count);
Result<Word> SysTruncate(kernel::Task& task, UserPath path, int64_t length);
Result<Word> SysFtruncate(kernel::Task& task, Fd fd, int64_t length);
Result<Word> SysFallocate(kernel::Task& task, Fd fd, int32_t mode, int64_t offset, int64_t length);

}  // namespace rampart::syscalls
