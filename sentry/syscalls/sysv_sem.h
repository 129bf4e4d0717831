// semget(2), semop(2), semctl(2).
#pragma once

#include "abi/ipc.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysSemget(kernel::Task& task, int32_t key, int32_t count, uint32_t flags);
Result<Word> SysSemop(kernel::Task& task, int32_t id, UserIn<abi::SemBuf> ops, uint32_t count);
Result<Word> SysSemtimedop(kernel::Task& task, int32_t id, UserIn<abi::SemBuf> ops, uint32_t count, UserIn<abi::Timespec> timeout);
Result<Word> SysSemctl(kernel::Task& task, int32_t id, int32_t index, int32_t command, uint64_t argument);

}  // namespace rampart::syscalls
