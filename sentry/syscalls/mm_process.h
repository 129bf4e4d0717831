// Memory of other processes, and advice about it: process_vm_readv(2), process_vm_writev(2), process_madvise(2), process_mrelease(2).
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysProcessVmReadv(kernel::Task& task, abi::Pid pid, UserIn<abi::Iovec> local, uint64_t local_count, UserIn<abi::Iovec> remote,
                               uint64_t remote_count, uint64_t flags);
Result<Word> SysProcessVmWritev(kernel::Task& task, abi::Pid pid, UserIn<abi::Iovec> local, uint64_t local_count, UserIn<abi::Iovec> remote,
                                uint64_t remote_count, uint64_t flags);
Result<Word> SysProcessMadvise(kernel::Task& task, Fd pidfd, UserIn<abi::Iovec> vec, uint64_t count, int advice, uint32_t flags);
Result<Word> SysProcessMrelease(kernel::Task& task, Fd pidfd, uint32_t flags);

}  // namespace rampart::syscalls
