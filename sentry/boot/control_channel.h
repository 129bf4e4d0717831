// The Sentry's end of the control socket: messages to the runner, and a thread that carries out the runner's.
// Thread safety: Send from any thread (one packet each).
#pragma once

#include <functional>
#include <string_view>

#include "sentry/boot/control.h"

namespace rampart::sentry::boot {

class ControlChannel {
 public:
  explicit ControlChannel(int fd) : fd_(fd) {}

  // False: the runner is gone.
  bool Send(ControlType type, uint32_t value = 0, uint32_t detail = 0, std::string_view text = {});

  // Starts the thread that reads the runner's messages for the rest of the process's life: `on_signal` for each kSignal that is well formed;
  // `on_gone` once when the socket closes.
  void StartReader(std::function<void(int signo, SignalTarget target)> on_signal, std::function<void()> on_gone);

 private:
  const int fd_;
};

}  // namespace rampart::sentry::boot
