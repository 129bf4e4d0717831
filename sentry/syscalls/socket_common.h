// What the handlers of sockets share, and what read(2) and write(2) of a socket are.
#pragma once

#include <string>
#include <vector>

#include "sentry/kernel/task.h"
#include "sentry/net/socket/socket.h"

namespace rampart::syscalls {

// EBADF, ENOTSOCK.
Result<Ref<net::Socket>> GetSocket(kernel::Task& task, Fd fd);
// As SO_PEERCRED tells it.
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

// read(2), readv(2), write(2), writev(2): with the socket's time-outs, and SIGPIPE.
Result<Word> ReadSocket(kernel::Task& task, net::Socket& socket, std::vector<mm::AddrRange> ranges, bool nowait);
Result<Word> WriteSocket(kernel::Task& task, net::Socket& socket, std::vector<mm::AddrRange> ranges, bool nowait);

}  // namespace rampart::syscalls
