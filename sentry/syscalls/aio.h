// Asynchronous I/O: io_setup(2), io_destroy(2), io_submit(2), io_getevents(2), io_pgetevents(2), io_cancel(2).
#pragma once

#include "abi/aio.h"
#include "abi/types.h"
#include "sentry/kernel/task.h"
#include "sentry/syscalls/poll.h"

namespace rampart::syscalls {

Result<Word> SysIoSetup(kernel::Task& task, uint32_t count, UserInOut<uint64_t> context);
Result<Word> SysIoDestroy(kernel::Task& task, UserAddr context);
Result<Word> SysIoSubmit(kernel::Task& task, UserAddr context, int64_t count, UserIn<uint64_t> requests);
Result<Word> SysIoGetevents(kernel::Task& task, UserAddr context, int64_t least, int64_t most, UserOut<abi::IoEvent> events,
                            UserIn<abi::Timespec> timeout);
Result<Word> SysIoPgetevents(kernel::Task& task, UserAddr context, int64_t least, int64_t most, UserOut<abi::IoEvent> events,
                             UserIn<abi::Timespec> timeout, UserIn<SigSetArgument> mask);
Result<Word> SysIoCancel(kernel::Task& task, UserAddr context, UserAddr request, UserOut<abi::IoEvent> result);

}  // namespace rampart::syscalls
