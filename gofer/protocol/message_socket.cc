#include "gofer/protocol/message_socket.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

#include "gofer/protocol/types.h"

namespace rampart::gofer {
namespace {

// Room for the descriptors of one message, aligned as the kernel writes it.
struct ControlBuffer {
  alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(int) * FdList::kMax)];
};

// Takes ownership of every descriptor that arrived, also those too many for `fds`.
void CollectFds(msghdr& header, FdList& fds) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      // SAFETY: the kernel wrote `count` descriptors after the header, inside the control buffer.
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      fds.Add(UniqueFd(fd));  // when full, the temporary closes it
    }
  }
}

uint32_t SizeField(MutableBytes message) {
  uint32_t size = 0;
  std::memcpy(&size, message.data(), sizeof(size));
  return size;
}

}  // namespace

Result<size_t> MessageSocket::ReceiveSome(MutableBytes buffer, FdList* fds, int flags) const {
  iovec iov{buffer.data(), buffer.size()};
  ControlBuffer control;
  msghdr header{};
  header.msg_iov = &iov;
  header.msg_iovlen = 1;
  if (fds != nullptr) {
    header.msg_control = control.bytes;
    header.msg_controllen = sizeof(control.bytes);
  }  // without room for them the kernel drops what the peer sends
  for (;;) {
    const ssize_t n = ::recvmsg(fd_.get(), &header, MSG_CMSG_CLOEXEC | flags);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == ECONNRESET ? Errno::kEPIPE : ErrnoFromHost(errno);
    if (fds != nullptr) CollectFds(header, *fds);
    if (n == 0) return Errno::kEPIPE;
    if ((header.msg_flags & MSG_TRUNC) != 0) return Errno::kEBADMSG;
    return static_cast<size_t>(n);
  }
}

Result<void> MessageSocket::ReceiveAll(MutableBytes buffer, FdList* fds) const {
  while (!buffer.empty()) {
    const size_t n = TRY(ReceiveSome(buffer, fds));
    buffer = buffer.subspan(n);
  }
  return Ok();
}

Result<size_t> MessageSocket::Receive(MutableBytes buffer, FdList* fds) const {
  if (buffer.size() < kHeaderSize) return Errno::kEINVAL;
  if (kind_ == SocketKind::kSeqPacket) {
    const size_t n = TRY(ReceiveSome(buffer, fds));
    if (n < kHeaderSize || SizeField(buffer) != n) return Errno::kEBADMSG;
    return n;
  }
  TRY(ReceiveAll(buffer.first(kHeaderSize), fds));
  const size_t size = SizeField(buffer);
  if (size < kHeaderSize || size > buffer.size()) return Errno::kEBADMSG;
  TRY(ReceiveAll(buffer.subspan(kHeaderSize, size - kHeaderSize), fds));
  return size;
}

Result<void> MessageSocket::ReceiveFds(FdList& fds) const {
  std::byte beside{};
  const auto n = ReceiveSome(MutableBytes(&beside, 1), &fds, MSG_DONTWAIT);
  if (!n.ok() || fds.size() == 0) return Errno::kEBADMSG;
  return Ok();
}

Result<void> MessageSocket::Send(Bytes message, const FdList& fds) const {
  ControlBuffer control{};
  size_t with_fds = fds.size();
  while (!message.empty()) {
    // SAFETY: sendmsg only reads from the iovec's memory.
    iovec iov{const_cast<std::byte*>(message.data()), message.size()};
    msghdr header{};
    header.msg_iov = &iov;
    header.msg_iovlen = 1;
    if (with_fds > 0) {
      header.msg_control = control.bytes;
      header.msg_controllen = CMSG_SPACE(sizeof(int) * with_fds);
      cmsghdr* c = CMSG_FIRSTHDR(&header);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(sizeof(int) * with_fds);
      for (size_t i = 0; i < with_fds; ++i) {
        const int fd = fds[i].get();
        // SAFETY: CMSG_SPACE above reserved room for every one.
        std::memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
      }
    }
    const ssize_t n = ::sendmsg(fd_.get(), &header, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == ECONNRESET ? Errno::kEPIPE : ErrnoFromHost(errno);
    message = message.subspan(static_cast<size_t>(n));
    with_fds = 0;  // they went with the first part
  }
  return Ok();
}

Result<std::array<UniqueFd, 2>> MakeSocketPair(SocketKind kind) {
  int fds[2] = {-1, -1};
  const int type = kind == SocketKind::kSeqPacket ? SOCK_SEQPACKET : SOCK_STREAM;
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) != 0) return ErrnoFromHost(errno);
  return std::array<UniqueFd, 2>{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace rampart::gofer
