// What this process has from its caller, and what a program run directly would have inherited.
#pragma once

#include <string>
#include <vector>

#include "sentry/boot/boot.h"

namespace rampart::runner {

struct Caller {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;
  uint32_t umask = 022;
  std::vector<sentry::boot::Rlimit> rlimits;
  std::string cwd;                 // "" when it cannot be named (removed, or outside of our root)
  std::string hostname;
  std::vector<std::string> environment;
  bool standard_open[3] = {true, true, true};  // whether descriptors 0, 1, 2 were open
  bool has_terminal = false;       // one of them is a terminal

  bool IsRoot() const { return uid == 0; }
};

// Fills descriptors 0, 1 and 2 with /dev/null where they are closed, so that nothing else of ours gets these numbers, and reads the rest.
// Call first in main.
Caller InspectCaller();

// Whether the host itself keeps time by the processor's counter, which it watches and gives up when processors disagree: programs
// inside may then read the clock without a system call.
bool HostClockIsTsc();

}  // namespace rampart::runner
