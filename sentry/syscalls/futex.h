// futex(2) in all its operations, futex_waitv(2), futex_wait/wake/requeue(2), robust lists.
#pragma once

#include "abi/types.h"
#include "sentry/kernel/robust.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

// struct futex_waitv.
struct FutexWaitv {
  uint64_t value;
  uint64_t address;
  uint32_t flags;
  uint32_t reserved;
};

// `timeout` is a count for the requeue operations, as in Linux.
Result<Word> SysFutex(kernel::Task& task, uint64_t address, int32_t op, uint32_t value, uint64_t timeout, uint64_t address2, uint32_t value3);
Result<Word> SysFutexWaitv(kernel::Task& task, UserIn<FutexWaitv> waiters, uint32_t count, uint32_t flags, UserIn<abi::Timespec> timeout,
                           int32_t clock);
Result<Word> SysFutexWake(kernel::Task& task, uint64_t address, uint64_t mask, int32_t count, uint32_t flags);
Result<Word> SysFutexWait(kernel::Task& task, uint64_t address, uint64_t value, uint64_t mask, uint32_t flags, UserIn<abi::Timespec> timeout,
                          int32_t clock);
Result<Word> SysFutexRequeue(kernel::Task& task, UserIn<FutexWaitv> waiters, uint32_t flags, int32_t wake, int32_t requeue);
Result<Word> SysSetRobustList(kernel::Task& task, uint64_t head, uint64_t size);
Result<Word> SysGetRobustList(kernel::Task& task, abi::Pid tid, UserOut<uint64_t> head, UserOut<uint64_t> size);

}  // namespace rampart::syscalls
