// wait4(2) and waitid(2).
#pragma once

#include "abi/resource.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysWait4(kernel::Task& task, abi::Pid pid, UserOut<int32_t> status, uint32_t options, UserOut<abi::Rusage> usage);
Result<Word> SysWaitid(kernel::Task& task, int32_t type, int32_t id, UserOut<abi::SigInfo> info, uint32_t options,
                       UserOut<abi::Rusage> usage);

}  // namespace rampart::syscalls
