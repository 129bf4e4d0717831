// Clocks and sleeping. Source: Linux kernel/time/time.c, posix-timers.c, hrtimer.c.
#pragma once

#include "abi/time.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysClockGettime(kernel::Task& task, int32_t clock, UserOut<abi::Timespec> out);
Result<Word> SysClockGetres(kernel::Task& task, int32_t clock, UserOut<abi::Timespec> out);
Result<Word> SysClockSettime(kernel::Task& task, int32_t clock, UserIn<abi::Timespec> time);
Result<Word> SysGettimeofday(kernel::Task& task, UserOut<abi::Timeval> time, UserOut<abi::Timezone> zone);
Result<Word> SysSettimeofday(kernel::Task& task, UserIn<abi::Timeval> time, UserIn<abi::Timezone> zone);
Result<Word> SysTime(kernel::Task& task, UserOut<int64_t> out);
Result<Word> SysNanosleep(kernel::Task& task, UserIn<abi::Timespec> request, UserOut<abi::Timespec> left);
Result<Word> SysClockNanosleep(kernel::Task& task, int32_t clock, int32_t flags, UserIn<abi::Timespec> request, UserOut<abi::Timespec> left);
Result<Word> SysAdjtimex(kernel::Task& task, UserInOut<abi::Timex> timex);
Result<Word> SysClockAdjtime(kernel::Task& task, int32_t clock, UserInOut<abi::Timex> timex);
Result<Word> SysTimes(kernel::Task& task, UserOut<abi::Tms> out);
Result<Word> SysGetrusage(kernel::Task& task, int32_t who, UserOut<abi::Rusage> out);

}  // namespace rampart::syscalls
