// The Sentry's end of the control socket: messages to the runner, and a thread that carries out the runner's.
// Thread safety: Send from any thread (one packet each).
#pragma once

#include <functional>
#include <string_view>

#include "base/unique_fd.h"
#include "sentry/boot/control.h"

namespace rampart::sentry::boot {

class ControlChannel {
 public:
  explicit ControlChannel(int fd) : fd_(fd) {}

  // False: the runner is gone.
  bool Send(ControlType type, uint32_t value = 0, uint32_t detail = 0, std::string_view text = {});

  // What the runner's messages do, each only when it is well formed; `gone`: once, when the socket closes.
  struct Handlers {
    std::function<void(int signo, SignalTarget target)> signal;
    std::function<void(TerminalPlace place)> terminal;
    std::function<void(UniqueFd connection)> connection;  // null: none is expected
    std::function<void()> start;                          // likewise
    std::function<void()> gone;
  };
  // Starts the thread that reads them for the rest of the process's life.
  void StartReader(Handlers handlers);

 private:
  const int fd_;
};

}  // namespace rampart::sentry::boot
