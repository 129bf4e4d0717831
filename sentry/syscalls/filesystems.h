// What is asked of kinds of filesystems and of whole ones: sysfs(2), quotactl(2), quotactl_fd(2); and cachestat(2).
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

// cachestat(2)'s range and answer.
struct CachestatRange {
  uint64_t offset, length;
};
struct Cachestat {
  uint64_t cache, dirty, writeback, evicted, recently_evicted;
};

Result<Word> SysSysfs(kernel::Task& task, int option, uint64_t first, UserAddr second);
Result<Word> SysQuotactl(kernel::Task& task, uint32_t command, UserPath special, uint32_t id, UserAddr data);
Result<Word> SysQuotactlFd(kernel::Task& task, Fd fd, uint32_t command, uint32_t id, UserAddr data);
Result<Word> SysCachestat(kernel::Task& task, Fd fd, UserIn<CachestatRange> range, UserOut<Cachestat> out, uint32_t flags);

}  // namespace rampart::syscalls
