// epoll_create(2), epoll_ctl(2), epoll_wait(2) and their kin.
#pragma once

#include "abi/epoll.h"
#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysEpollCreate(kernel::Task& task, int32_t size);
Result<Word> SysEpollCreate1(kernel::Task& task, uint32_t flags);
Result<Word> SysEpollCtl(kernel::Task& task, Fd epoll, int32_t operation, Fd fd, UserIn<abi::EpollEvent> event);
Result<Word> SysEpollWait(kernel::Task& task, Fd epoll, UserOut<abi::EpollEvent> events, int32_t max, int32_t timeout_ms);
Result<Word> SysEpollPwait(kernel::Task& task, Fd epoll, UserOut<abi::EpollEvent> events, int32_t max, int32_t timeout_ms,
                           UserIn<abi::SigSet> mask, uint64_t mask_size);
Result<Word> SysEpollPwait2(kernel::Task& task, Fd epoll, UserOut<abi::EpollEvent> events, int32_t max, UserIn<abi::Timespec> timeout,
                            UserIn<abi::SigSet> mask, uint64_t mask_size);

}  // namespace rampart::syscalls
