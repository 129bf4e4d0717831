// Reading and writing of an open file for the calls that bring their own descriptors and positions (asynchronous I/O).
// Task thread only.
#pragma once

#include <optional>
#include <vector>

#include "abi/types.h"
#include "sentry/kernel/task.h"
#include "sentry/vfs/file_description.h"

namespace rampart::syscalls {

// The area of a read or write: one buffer, or `count` areas of an iovec. EINVAL, EFAULT.
Result<std::vector<mm::AddrRange>> BufferRanges(kernel::Task& task, UserAddr buffer, uint64_t count, bool vector);
// EOPNOTSUPP: flags (RWF_…) that are not known.
Result<void> CheckRwFlags(uint32_t rwf);
// As preadv2(2) and pwritev2(2); at `offset`, or, for streams, where they are. EBADF, EINVAL; kERESTARTSYS.
Result<Word> ReadFile(kernel::Task& task, vfs::FileDescription& file, std::vector<mm::AddrRange> ranges, std::optional<uint64_t> offset, uint32_t rwf);
Result<Word> WriteFile(kernel::Task& task, vfs::FileDescription& file, std::vector<mm::AddrRange> ranges, std::optional<uint64_t> offset, uint32_t rwf);

}  // namespace rampart::syscalls
