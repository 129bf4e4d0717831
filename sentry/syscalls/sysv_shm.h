// shmget(2), shmop(2), shmctl(2).
#pragma once

#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysShmget(kernel::Task& task, int32_t key, uint64_t size, uint32_t flags);
Result<Word> SysShmat(kernel::Task& task, int32_t id, UserAddr address, uint32_t flags);
Result<Word> SysShmdt(kernel::Task& task, UserAddr address);
Result<Word> SysShmctl(kernel::Task& task, int32_t id, int32_t command, UserAddr buffer);

}  // namespace rampart::syscalls
