#include "sentry/boot/control_channel.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "base/log.h"

namespace rampart::sentry::boot {

bool ControlChannel::Send(ControlType type, uint32_t value, uint32_t detail, std::string_view text) {
  ControlMessage message{.type = type, .value = value, .detail = detail};
  message.text_length = static_cast<uint32_t>(std::min<size_t>(text.size(), kControlTextBytes));
  std::copy_n(text.begin(), message.text_length, message.text);
  iovec segment{&message, sizeof(message)};
  msghdr header{};
  header.msg_iov = &segment;
  header.msg_iovlen = 1;
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(fd_, &header, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(sizeof(message));
}

namespace {

UniqueFd TakeFd(msghdr& header) {
  const cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (rights == nullptr || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS || rights->cmsg_len < CMSG_LEN(sizeof(int))) return {};
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
  return UniqueFd(fd);
}

bool Dispatch(const ControlMessage& message, UniqueFd fd, const ControlChannel::Handlers& handlers) {
  if (message.type == ControlType::kConnection && handlers.connection && fd.valid()) {
    handlers.connection(std::move(fd));
    return true;
  }
  if (message.type == ControlType::kStart && handlers.start) {
    handlers.start();
    return true;
  }
  if (message.type == ControlType::kSignal) {
    if (message.value < 1 || message.value > 64 || message.detail > static_cast<uint32_t>(SignalTarget::kForeground)) return false;
    handlers.signal(static_cast<int>(message.value), static_cast<SignalTarget>(message.detail));
    return true;
  }
  if (message.type == ControlType::kTerminalAnswer) {
    if (message.value > static_cast<uint32_t>(TerminalPlace::kOrphaned)) return false;
    handlers.terminal(static_cast<TerminalPlace>(message.value));
    return true;
  }
  return false;
}

}  // namespace

void ControlChannel::StartReader(Handlers handlers) {
  std::thread([fd = fd_, handlers = std::move(handlers)] {
    while (true) {
      ControlMessage message;
      iovec segment{&message, sizeof(message)};
      msghdr header{};
      header.msg_iov = &segment;
      header.msg_iovlen = 1;
      alignas(cmsghdr) char rights[CMSG_SPACE(sizeof(int))] = {};
      if (handlers.connection) {
        header.msg_control = rights;
        header.msg_controllen = sizeof(rights);
      }
      const ssize_t n = ::recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      if (n != static_cast<ssize_t>(sizeof(message)) || !Dispatch(message, TakeFd(header), handlers)) {
        Log(LogLevel::kWarning, "control: a malformed message was dropped");
      }
    }
    handlers.gone();
  }).detach();
}

}  // namespace rampart::sentry::boot
