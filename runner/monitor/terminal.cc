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

bool Terminal::InForeground() const {
  if (fd_ < 0) return true;
  const pid_t foreground = ::tcgetpgrp(fd_);
  return foreground < 0 || foreground == ::getpgrp();
}

void Terminal::Restore() const {
  if (!saved_.has_value() || !InForeground()) return;
  termios now{};
  if (::tcgetattr(fd_, &now) == 0 && std::memcmp(&now, &*saved_, sizeof(now)) != 0) ::tcsetattr(fd_, TCSADRAIN, &*saved_);
}

}  // namespace rampart::runner
