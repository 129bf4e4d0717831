// The system calls of sockets: socket(2), bind(2), connect(2), send(2), recv(2), getsockopt(2) and their kin.
#pragma once

#include "abi/socket.h"
#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

using UserBytes = UserAddr;

Result<Word> SysSocket(kernel::Task& task, int32_t family, uint32_t type, int32_t protocol);
Result<Word> SysSocketpair(kernel::Task& task, int32_t family, uint32_t type, int32_t protocol, UserOut<int32_t> fds);
Result<Word> SysBind(kernel::Task& task, Fd fd, UserBytes address, int32_t length);
Result<Word> SysListen(kernel::Task& task, Fd fd, int32_t backlog);
Result<Word> SysAccept(kernel::Task& task, Fd fd, UserBytes address, UserInOut<int32_t> length);
Result<Word> SysAccept4(kernel::Task& task, Fd fd, UserBytes address, UserInOut<int32_t> length, uint32_t flags);
Result<Word> SysConnect(kernel::Task& task, Fd fd, UserBytes address, int32_t length);
Result<Word> SysGetsockname(kernel::Task& task, Fd fd, UserBytes address, UserInOut<int32_t> length);
Result<Word> SysGetpeername(kernel::Task& task, Fd fd, UserBytes address, UserInOut<int32_t> length);
Result<Word> SysShutdown(kernel::Task& task, Fd fd, int32_t how);
Result<Word> SysSetsockopt(kernel::Task& task, Fd fd, int32_t level, int32_t name, UserBytes value, int32_t length);
Result<Word> SysGetsockopt(kernel::Task& task, Fd fd, int32_t level, int32_t name, UserBytes value, UserInOut<int32_t> length);
Result<Word> SysSendto(kernel::Task& task, Fd fd, UserBytes buffer, uint64_t size, uint32_t flags, UserBytes address, int32_t length);
Result<Word> SysRecvfrom(kernel::Task& task, Fd fd, UserBytes buffer, uint64_t size, uint32_t flags, UserBytes address,
                         UserInOut<int32_t> length);
Result<Word> SysSendmsg(kernel::Task& task, Fd fd, UserIn<abi::Msghdr> message, uint32_t flags);
Result<Word> SysRecvmsg(kernel::Task& task, Fd fd, UserInOut<abi::Msghdr> message, uint32_t flags);
Result<Word> SysSendmmsg(kernel::Task& task, Fd fd, UserInOut<abi::Mmsghdr> messages, uint32_t count, uint32_t flags);
Result<Word> SysRecvmmsg(kernel::Task& task, Fd fd, UserInOut<abi::Mmsghdr> messages, uint32_t count, uint32_t flags,
                         UserIn<abi::Timespec> timeout);

}  // namespace rampart::syscalls
