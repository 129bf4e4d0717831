// prctl(2).
#pragma once

#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysPrctl(kernel::Task& task, int32_t option, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);

}  // namespace rampart::syscalls
