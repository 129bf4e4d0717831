// eventfd(2), signalfd(2).
#pragma once

#include "abi/signal.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysEventfd(kernel::Task& task, uint32_t initial);
Result<Word> SysEventfd2(kernel::Task& task, uint32_t initial, uint32_t flags);

Result<Word> SysSignalfd(kernel::Task& task, Fd fd, UserIn<abi::SigSet> mask, uint64_t size);
Result<Word> SysSignalfd4(kernel::Task& task, Fd fd, UserIn<abi::SigSet> mask, uint64_t size, uint32_t flags);

}  // namespace rampart::syscalls
