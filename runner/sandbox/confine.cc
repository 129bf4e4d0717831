#include "runner/sandbox/confine.h"

#include <poll.h>
#include <unistd.h>

#include "base/log.h"
#include "runner/sandbox/child_config.h"
#include "runner/util/status.h"

namespace rampart::runner {

absl::Status Confine(CapabilitySet keep) {
  TRY_STATUS(LimitResources());
  TRY_STATUS(DropCapabilities(keep));
  TRY_STATUS(DieWithParent());
  pollfd runner{kReportFd, 0, 0};
  if (::poll(&runner, 1, 0) < 0 || (runner.revents & POLLHUP) != 0) return absl::AbortedError("the runner has ended");
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReceiveConfig(const char* log_name) {
  SetLogging(2, LogLevel::kError, log_name);
  std::string bytes = TRY_STATUS(LoadConfig(kConfigFd));
  ::close(kConfigFd);
  return bytes;
}

}  // namespace rampart::runner
