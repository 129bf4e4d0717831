// Timers: setitimer(2), alarm(2), timer_create(2) and its family, timerfd_create(2) and its family.
#pragma once

#include "abi/time.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysGetitimer(kernel::Task& task, int32_t which, UserOut<abi::Itimerval> out);
Result<Word> SysSetitimer(kernel::Task& task, int32_t which, UserIn<abi::Itimerval> value, UserOut<abi::Itimerval> old);
Result<Word> SysAlarm(kernel::Task& task, uint32_t seconds);
Result<Word> SysTimerCreate(kernel::Task& task, int32_t clock, UserIn<abi::SigEvent> event, UserOut<int32_t> id);
Result<Word> SysTimerSettime(kernel::Task& task, int32_t id, int32_t flags, UserIn<abi::Itimerspec> value, UserOut<abi::Itimerspec> old);
Result<Word> SysTimerGettime(kernel::Task& task, int32_t id, UserOut<abi::Itimerspec> out);
Result<Word> SysTimerGetoverrun(kernel::Task& task, int32_t id);
Result<Word> SysTimerDelete(kernel::Task& task, int32_t id);
Result<Word> SysTimerfdCreate(kernel::Task& task, int32_t clock, int32_t flags);
Result<Word> SysTimerfdSettime(kernel::Task& task, Fd fd, int32_t flags, UserIn<abi::Itimerspec> value, UserOut<abi::Itimerspec> old);
Result<Word> SysTimerfdGettime(kernel::Task& task, Fd fd, UserOut<abi::Itimerspec> out);

}  // namespace rampart::syscalls
