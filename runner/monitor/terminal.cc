#include "runner/monitor/terminal.h"

#include <unistd.h>

#include <cstring>

namespace rampart::runner {

Terminal::Terminal() {
  for (int fd = 0; fd <= 2; ++fd) {
    termios settings{};
    if (::tcgetattr(fd, &settings) != 0) continue;
    fd_ = fd;
    saved_ = settings;
    return;
  }
}

void Terminal::Restore() const {
  if (!saved_.has_value()) return;
  termios now{};
  if (::tcgetattr(fd_, &now) == 0 && std::memcmp(&now, &*saved_, sizeof(now)) != 0) ::tcsetattr(fd_, TCSADRAIN, &*saved_);
}

}  // namespace rampart::runner
