// Making, replacing and ending processes; their ids, groups and sessions; descriptors that mean processes.
#pragma once

#include "abi/process.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysClone(kernel::Task& task, uint64_t flags, uint64_t stack, uint64_t parent_tid, uint64_t child_tid, uint64_t tls);
Result<Word> SysClone3(kernel::Task& task, uint64_t args, uint64_t size);
Result<Word> SysFork(kernel::Task& task);
Result<Word> SysVfork(kernel::Task& task);
Result<Word> SysExecve(kernel::Task& task, UserPath path, UserIn<uint64_t> argv, UserIn<uint64_t> envp);
Result<Word> SysExecveat(kernel::Task& task, Fd directory, UserPath path, UserIn<uint64_t> argv, UserIn<uint64_t> envp, int32_t flags);
Result<Word> SysExit(kernel::Task& task, int32_t code);
Result<Word> SysExitGroup(kernel::Task& task, int32_t code);
Result<Word> SysUnshare(kernel::Task& task, uint64_t flags);
Result<Word> SysPidfdOpen(kernel::Task& task, abi::Pid pid, uint32_t flags);
Result<Word> SysPidfdGetfd(kernel::Task& task, Fd pidfd, Fd target, uint32_t flags);
Result<Word> SysKcmp(kernel::Task& task, abi::Pid pid1, abi::Pid pid2, int32_t type, uint64_t index1, uint64_t index2);

}  // namespace rampart::syscalls
