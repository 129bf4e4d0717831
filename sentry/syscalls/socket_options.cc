// setsockopt(2), getsockopt(2): bytes in and out; what they mean is the socket's.
#include <algorithm>
#include <cstring>

#include "sentry/syscalls/socket.h"
#include "sentry/syscalls/socket_common.h"

namespace rampart::syscalls {

constexpr int32_t kMaxOption = 4096;  // no option that exists here is longer

Result<Word> SysSetsockopt(kernel::Task& task, Fd fd, int32_t level, int32_t name, UserBytes value, int32_t length) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  if (length < 0) return Errno::kEINVAL;
  std::string bytes(static_cast<size_t>(std::min(length, kMaxOption)), '\0');
  TRY(task.mm().CopyInBytes(value, std::as_writable_bytes(std::span(bytes))));
  TRY(socket->SetOption(task, level, name, bytes));
  return Word{0};
}

Result<Word> SysGetsockopt(kernel::Task& task, Fd fd, int32_t level, int32_t name, UserBytes value, UserInOut<int32_t> length) {
  const Ref<net::Socket> socket = TRY(GetSocket(task, fd));
  const int32_t room = TRY(task.CopyIn(UserIn<int32_t>(length)));
  if (room < 0) return Errno::kEINVAL;
  std::string bytes = TRY(socket->GetOption(task, level, name, static_cast<size_t>(room)));
  if (level == abi::kSolSocket && name == abi::kSoPeercred && bytes.size() == sizeof(abi::Ucred)) {
    abi::Ucred peer;
    std::memcpy(&peer, bytes.data(), sizeof(peer));
    peer.pid = task.ToOwn(peer.pid);
    std::memcpy(bytes.data(), &peer, sizeof(peer));
  }
  const size_t n = std::min(static_cast<size_t>(room), bytes.size());
  TRY(task.mm().CopyOutBytes(value, std::as_bytes(std::span(bytes)).first(n)));
  TRY(task.CopyOut(UserOut<int32_t>(length), static_cast<int32_t>(n)));
  return Word{0};
}

}  // namespace rampart::syscalls
