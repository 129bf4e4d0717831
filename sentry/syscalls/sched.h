// Scheduling and limits: policies, priorities and masks are remembered and reported, not acted upon: the host schedules.
#pragma once

#include "abi/resource.h"
#include "abi/sched.h"
#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysGetrlimit(kernel::Task& task, int32_t resource, UserOut<abi::Rlimit> out);
Result<Word> SysSetrlimit(kernel::Task& task, int32_t resource, UserIn<abi::Rlimit> limit);
Result<Word> SysPrlimit64(kernel::Task& task, abi::Pid pid, int32_t resource, UserIn<abi::Rlimit> limit, UserOut<abi::Rlimit> old);
Result<Word> SysGetpriority(kernel::Task& task, int32_t which, int32_t who);
Result<Word> SysSetpriority(kernel::Task& task, int32_t which, int32_t who, int32_t nice);
Result<Word> SysSchedYield(kernel::Task& task);
Result<Word> SysSchedGetparam(kernel::Task& task, abi::Pid pid, UserOut<abi::SchedParam> out);
Result<Word> SysSchedSetparam(kernel::Task& task, abi::Pid pid, UserIn<abi::SchedParam> param);
Result<Word> SysSchedGetscheduler(kernel::Task& task, abi::Pid pid);
Result<Word> SysSchedSetscheduler(kernel::Task& task, abi::Pid pid, int32_t policy, UserIn<abi::SchedParam> param);
Result<Word> SysSchedGetPriorityMax(kernel::Task& task, int32_t policy);
Result<Word> SysSchedGetPriorityMin(kernel::Task& task, int32_t policy);
Result<Word> SysSchedRrGetInterval(kernel::Task& task, abi::Pid pid, UserOut<abi::Timespec> out);
Result<Word> SysSchedGetaffinity(kernel::Task& task, abi::Pid pid, uint32_t size, UserOut<uint64_t> mask);
Result<Word> SysSchedSetaffinity(kernel::Task& task, abi::Pid pid, uint32_t size, uint64_t mask);
Result<Word> SysSchedSetattr(kernel::Task& task, abi::Pid pid, UserInOut<abi::SchedAttr> attr, uint32_t flags);
Result<Word> SysSchedGetattr(kernel::Task& task, abi::Pid pid, UserOut<abi::SchedAttr> out, uint32_t size, uint32_t flags);
Result<Word> SysIoprioGet(kernel::Task& task, int32_t which, int32_t who);
Result<Word> SysIoprioSet(kernel::Task& task, int32_t which, int32_t who, int32_t priority);

}  // namespace rampart::syscalls
