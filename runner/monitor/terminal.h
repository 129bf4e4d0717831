// The caller's terminal, kept so that it can be put back: a sandbox that is killed in raw mode must not leave the user's shell without echo.
// Thread safety: none.
#pragma once

#include <termios.h>

#include <optional>

namespace rampart::runner {

class Terminal {
 public:
  // Remembers the settings of the first of descriptors 0, 1, 2 that is a terminal.
  Terminal();
  bool present() const { return fd_ >= 0; }
  // Whether our process group may use it: it is in the foreground, or the terminal does not control our session.
  bool InForeground() const;
  // Puts the settings back if they differ and it is in our hands: a background job leaves the foreground's settings alone.
  void Restore() const;

 private:
  int fd_ = -1;
  std::optional<termios> saved_;
};

}  // namespace rampart::runner
