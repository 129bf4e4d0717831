#include "sentry/boot/control_frame.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace rampart::sentry::boot {
namespace {

struct Header {
  uint32_t length = 0;
  uint32_t fds = 0;
};

constexpr size_t kControlBytes = CMSG_SPACE(sizeof(int) * kMaxFrameFds);

Result<size_t> SendSome(int socket, iovec* parts, size_t count, const std::vector<int>& fds) {
  alignas(cmsghdr) char control[kControlBytes] = {};
  msghdr header{};
  header.msg_iov = parts;
  header.msg_iovlen = count;
  if (!fds.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
  }
  ssize_t n = 0;
  do {
    n = ::sendmsg(socket, &header, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoFromHost(errno);
  return static_cast<size_t>(n);
}

// Takes what came with a message; false when some of it was cut off.
bool TakeFds(msghdr& header, std::vector<UniqueFd>& out) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      out.emplace_back(fd);
    }
  }
  return (header.msg_flags & MSG_CTRUNC) == 0;
}

// Reads `size` bytes. EPIPE: the end before the first; EPROTO: later.
Result<void> ReceiveAll(int socket, char* to, size_t size, std::vector<UniqueFd>* fds) {
  for (size_t done = 0; done < size;) {
    alignas(cmsghdr) char control[kControlBytes] = {};
    iovec part{to + done, size - done};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (fds != nullptr) {
      header.msg_control = control;
      header.msg_controllen = sizeof(control);
    }
    const ssize_t n = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoFromHost(errno);
    if (fds != nullptr && !TakeFds(header, *fds)) return Errno::kEPROTO;
    if (n == 0) return done == 0 ? Errno::kEPIPE : Errno::kEPROTO;
    done += static_cast<size_t>(n);
  }
  return Ok();
}

}  // namespace

Result<void> SendFrame(int socket, std::string_view message, const std::vector<int>& fds) {
  if (message.size() > kMaxFrame || fds.size() > kMaxFrameFds) return Errno::kEMSGSIZE;
  Header header{static_cast<uint32_t>(message.size()), static_cast<uint32_t>(fds.size())};
  iovec parts[2] = {{&header, sizeof(header)}, {const_cast<char*>(message.data()), message.size()}};
  size_t sent = TRY(SendSome(socket, parts, 2, fds));
  while (sent < sizeof(header) + message.size()) {
    // The descriptors went with the first byte.
    iovec* at = parts;
    size_t skip = sent;
    if (skip >= parts[0].iov_len) skip -= (at++)->iov_len;
    iovec rest[2] = {{static_cast<char*>(at->iov_base) + skip, at->iov_len - skip}, parts[1]};
    sent += TRY(SendSome(socket, rest, at == parts ? 2 : 1, {}));
  }
  return Ok();
}

Result<Frame> ReceiveFrame(int socket, bool take_fds) {
  Frame frame;
  Header header;
  // SAFETY: the bytes of a struct without padding or pointers, checked below.
  TRY(ReceiveAll(socket, reinterpret_cast<char*>(&header), sizeof(header), take_fds ? &frame.fds : nullptr));
  if (header.length > kMaxFrame || header.fds > kMaxFrameFds) return Errno::kEPROTO;
  frame.message.resize(header.length);
  const Result<void> rest = ReceiveAll(socket, frame.message.data(), header.length, nullptr);
  if (!rest.ok()) return rest.error() == Errno::kEPIPE ? Errno::kEPROTO : rest.error();
  if (take_fds && frame.fds.size() != header.fds) return Errno::kEPROTO;
  return frame;
}

}  // namespace rampart::sentry::boot
