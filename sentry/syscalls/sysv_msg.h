// msgget(2), msgop(2), msgctl(2).
#pragma once

#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysMsgget(kernel::Task& task, int32_t key, uint32_t flags);
Result<Word> SysMsgsnd(kernel::Task& task, int32_t id, UserAddr buffer, uint64_t size, uint32_t flags);
Result<Word> SysMsgrcv(kernel::Task& task, int32_t id, UserAddr buffer, uint64_t size, int64_t type, uint32_t flags);
Result<Word> SysMsgctl(kernel::Task& task, int32_t id, int32_t command, UserAddr buffer);

}  // namespace rampart::syscalls
