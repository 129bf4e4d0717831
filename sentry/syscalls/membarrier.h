// membarrier(2).
#pragma once

#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysMembarrier(kernel::Task& task, int command, uint32_t flags, int cpu);

}  // namespace rampart::syscalls
