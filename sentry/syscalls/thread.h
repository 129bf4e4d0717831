// Ids of threads and processes, process groups, sessions; what a thread keeps for itself.
#pragma once

#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysGetpid(kernel::Task& task);
Result<Word> SysGettid(kernel::Task& task);
Result<Word> SysGetppid(kernel::Task& task);
Result<Word> SysGetpgrp(kernel::Task& task);
Result<Word> SysGetpgid(kernel::Task& task, abi::Pid pid);
Result<Word> SysSetpgid(kernel::Task& task, abi::Pid pid, abi::Pid pgid);
Result<Word> SysGetsid(kernel::Task& task, abi::Pid pid);
Result<Word> SysSetsid(kernel::Task& task);
Result<Word> SysSetTidAddress(kernel::Task& task, uint64_t address);
Result<Word> SysArchPrctl(kernel::Task& task, int32_t code, uint64_t address);
Result<Word> SysPersonality(kernel::Task& task, uint32_t personality);

}  // namespace rampart::syscalls
