// setns(2).
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysSetns(kernel::Task& task, Fd fd, int32_t type);

}  // namespace rampart::syscalls
