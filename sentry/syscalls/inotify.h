// inotify_init(2), inotify_add_watch(2), inotify_rm_watch(2).
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysInotifyInit(kernel::Task& task);
Result<Word> SysInotifyInit1(kernel::Task& task, uint32_t flags);
Result<Word> SysInotifyAddWatch(kernel::Task& task, Fd fd, UserPath path, uint32_t mask);
Result<Word> SysInotifyRmWatch(kernel::Task& task, Fd fd, int32_t wd);

}  // namespace rampart::syscalls
