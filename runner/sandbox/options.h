// What a sandbox needs beyond its OCI specification: how to run it, rather than what it is.
#pragma once

#include <string>
#include <vector>

#include "base/time.h"

namespace rampart::runner {

// For tests of the confinement itself: the sentry process confines itself, installs its filter, and then, instead of a kernel, …
enum class SelfTest : uint8_t {
  kOff,
  kHold,     // … waits for a signal from the runner, and exits with its number
  kViolate,  // … makes a system call that is not allowed
};

// A descriptor of the caller's that the program gets.
struct PassedFd {
  int here = -1;
  int inside = -1;
};

struct SandboxOptions {
  std::string platform;            // "" = the best that works here
  bool overlay_root = true;        // the root is covered by an upper layer in memory
  bool strace = false;
  std::string strace_set;          // "" = all
  bool stats = false;
  std::string debug_log;           // path; "" = errors go to standard error
  bool overlay_binds = false;      // bind mounts too
  uint64_t overlay_size = 0;       // bytes that each upper layer may hold; 0 = as a tmpfs
  bool root_is_shared = false;     // somebody else may change the root while the container lives
  bool binds_are_exclusive = false;
  bool root_is_nosuid = false;
  bool devices_may_be_bound = false;  // those that the kernel inside has too, as podman without root asks for
  bool seccomp_profile = false;    // linux.seccomp is enforced
  bool drop_net_raw = false;       // CAP_NET_RAW is given to nobody
  bool quiet = false;              // without a debug log, nothing is logged: standard error is the container's
  Nanos timeout = 0;               // 0 = none
  double cpus = 0;                 // as asked for on the command line, for error messages; the limit is in the specification
  bool no_new_privs = false;
  std::vector<PassedFd> pass_fds;  // beyond 0, 1 and 2
  SelfTest self_test = SelfTest::kOff;
};

}  // namespace rampart::runner
