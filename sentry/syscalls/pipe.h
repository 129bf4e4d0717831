// pipe(2), pipe2(2).
#pragma once

#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysPipe(kernel::Task& task, UserOut<int32_t> fds);
Result<Word> SysPipe2(kernel::Task& task, UserOut<int32_t> fds, uint32_t flags);

}  // namespace rampart::syscalls
