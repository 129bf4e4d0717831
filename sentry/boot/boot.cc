#include "sentry/boot/boot.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/log.h"
#include "sentry/boot/control.h"

namespace rampart::sentry::boot {

int RunSandbox(const BootConfig& config, const BootHooks& /*hooks*/) {
  constexpr std::string_view kText = "the kernel is not part of this build yet: RunSandbox has no implementation";
  ControlMessage message{.type = ControlType::kStartFailed, .value = static_cast<uint32_t>(StartFailure::kSandbox)};
  message.text_length = static_cast<uint32_t>(std::min<size_t>(kText.size(), kControlTextBytes));
  std::memcpy(message.text, kText.data(), message.text_length);
  if (::send(config.control_fd, &message, sizeof(message), MSG_NOSIGNAL) < 0) {
    Log(LogLevel::kError, "cannot tell the runner: %s", kText.data());
    return 1;
  }
  return 0;
}

}  // namespace rampart::sentry::boot
