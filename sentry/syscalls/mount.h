// mount(2), umount2(2), pivot_root(2).
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysMount(kernel::Task& task, UserPath source, UserPath target, UserPath type, uint64_t flags, UserPath data);
Result<Word> SysUmount2(kernel::Task& task, UserPath target, uint32_t flags);
Result<Word> SysPivotRoot(kernel::Task& task, UserPath new_root, UserPath put_old);

}  // namespace rampart::syscalls
