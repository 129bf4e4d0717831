// What the handlers of sockets share.
#pragma once

#include <string>

#include "sentry/kernel/task.h"
#include "sentry/net/socket/socket.h"

namespace rampart::syscalls {

// EBADF, ENOTSOCK.
Result<Ref<net::Socket>> GetSocket(kernel::Task& task, Fd fd);
abi::Ucred OwnerOf(kernel::Task& task);
// A sockaddr of the application. EINVAL: longer than sockaddr_storage; EFAULT.
Result<std::string> ReadAddress(kernel::Task& task, UserAddr address, int64_t length);
// Writes as much as fits, and the true length. A null address is not asked for.
Result<void> WriteAddress(kernel::Task& task, UserAddr address, UserInOut<int32_t> length, const std::string& name);
Deadline SocketDeadline(const net::Socket& socket, Nanos timeout, uint32_t message_flags);
// A time-out of SO_RCVTIMEO makes an interrupted call EINTR, without restart.
template <class T>
Result<T> NoRestart(Result<T> result, Nanos timeout) {
  if (!result.ok() && timeout != 0 && result.error() == Errno::kERESTARTSYS) return Errno::kEINTR;
  return result;
}

}  // namespace rampart::syscalls
