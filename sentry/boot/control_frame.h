// The framing of the control connection (control_api.proto): 8 bytes of header, the length of the message and the number of descriptors that come
// with the header, in host order, then the message. Both ends may be hostile: what is longer than the bound ends the connection.
// Thread safety: one sender and one receiver at a time for each socket.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace rampart::sentry::boot {

inline constexpr uint32_t kMaxFrame = 4 << 20;
inline constexpr uint32_t kMaxFrameFds = 64;  // fewer than the host's SCM_MAX_FD
inline constexpr uint32_t kControlProtocol = 1;

// Sends one message, whole. Errors: EPIPE and its like; EAGAIN when the socket has a time-out and the peer does not read; EMSGSIZE.
Result<void> SendFrame(int socket, std::string_view message, const std::vector<int>& fds = {});

struct Frame {
  std::string message;
  std::vector<UniqueFd> fds;
};
// Receives one message. With `take_fds` false, descriptors that come along are discarded by the host. EPIPE: the end, between two messages;
// EPROTO: malformed, too long, or cut off.
Result<Frame> ReceiveFrame(int socket, bool take_fds);

}  // namespace rampart::sentry::boot
