// A real sandbox in its self-test mode: both processes are confined and filtered, and the sentry waits instead of running a kernel.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace rampart::security {

class SandboxProcess {
 public:
  // Starts `sentry-run OPTIONS --self-test hold true` with descriptors beyond the standard ones open, and waits until both children are filtered.
  explicit SandboxProcess(std::vector<std::string> options = {});
  SandboxProcess(const SandboxProcess&) = delete;
  SandboxProcess& operator=(const SandboxProcess&) = delete;
  // Kills whatever is left.
  ~SandboxProcess();

  bool ready() const { return sentry_ > 0 && gofer_ > 0; }
  pid_t runner() const { return runner_; }
  pid_t sentry() const { return sentry_; }
  pid_t gofer() const { return gofer_; }
  // Why it did not get ready: what it printed.
  std::string output() const;
  // Waits for the runner's end, at most 10 s; its wait status, or -1.
  int WaitForEnd();

 private:
  pid_t runner_ = -1;
  pid_t sentry_ = -1;
  pid_t gofer_ = -1;
  int output_ = -1;
};

// Runs `sentry-run ARGS` to its end. Output: both streams.
struct Finished {
  int status = -1;  // exit status
  std::string output;
};
Finished RunSentryRun(const std::vector<std::string>& args);

// The value of a line "Name:\tvalue" in /proc/PID/status; "" without one.
std::string StatusLine(pid_t pid, const std::string& name);
// Waits until the process is gone, zombies included; false after 5 s.
bool Vanishes(pid_t pid);

}  // namespace rampart::security
