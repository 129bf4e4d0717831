// Signals: sending, actions, masks, waiting, alternate stacks.
#pragma once

#include "abi/signal.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysKill(kernel::Task& task, abi::Pid pid, int32_t signo);
Result<Word> SysTkill(kernel::Task& task, abi::Pid tid, int32_t signo);
Result<Word> SysTgkill(kernel::Task& task, abi::Pid pid, abi::Pid tid, int32_t signo);
Result<Word> SysRtSigqueueinfo(kernel::Task& task, abi::Pid pid, int32_t signo, UserIn<abi::SigInfo> info);
Result<Word> SysRtTgsigqueueinfo(kernel::Task& task, abi::Pid pid, abi::Pid tid, int32_t signo, UserIn<abi::SigInfo> info);
Result<Word> SysPidfdSendSignal(kernel::Task& task, Fd pidfd, int32_t signo, UserIn<abi::SigInfo> info, uint32_t flags);
Result<Word> SysRtSigaction(kernel::Task& task, int32_t signo, UserIn<abi::SigAction> action, UserOut<abi::SigAction> old, uint64_t size);
Result<Word> SysRtSigprocmask(kernel::Task& task, int32_t how, UserIn<abi::SigSet> set, UserOut<abi::SigSet> old, uint64_t size);
Result<Word> SysRtSigpending(kernel::Task& task, UserOut<abi::SigSet> set, uint64_t size);
Result<Word> SysRtSigtimedwait(kernel::Task& task, UserIn<abi::SigSet> set, UserOut<abi::SigInfo> info, UserIn<abi::Timespec> timeout,
                               uint64_t size);
Result<Word> SysRtSigsuspend(kernel::Task& task, UserIn<abi::SigSet> mask, uint64_t size);
Result<Word> SysSigaltstack(kernel::Task& task, UserIn<abi::SigStack> stack, UserOut<abi::SigStack> old);
Result<Word> SysRtSigreturn(kernel::Task& task);
Result<Word> SysPause(kernel::Task& task);
Result<Word> SysRestartSyscall(kernel::Task& task);

}  // namespace rampart::syscalls
