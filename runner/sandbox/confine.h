// The parts of confinement that both children share.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "runner/namespaces/privileges.h"

namespace rampart::runner {

// Drops to `keep`, limits resources, asks to die with the runner, and makes sure that the runner is still there: kReportFd is open at its end.
absl::Status Confine(CapabilitySet keep);

// Where both children begin: logging to standard error, configuration from kConfigFd, which is closed.
absl::StatusOr<std::string> ReceiveConfig(const char* log_name);

// The `rampart-boot` and `rampart-gofer` commands: the status of the process.
int BootMain();
int GoferMain();

}  // namespace rampart::runner
