// fanotify_init(2), fanotify_mark(2).
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysFanotifyInit(kernel::Task& task, uint32_t flags, uint32_t event_flags);
Result<Word> SysFanotifyMark(kernel::Task& task, Fd fanotify, uint32_t flags, uint64_t mask, Fd dirfd, UserPath path);

}  // namespace rampart::syscalls
