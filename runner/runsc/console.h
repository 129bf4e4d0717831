// Terminals for containers: a pseudo-terminal of the host, whose master goes to whoever listens on --console-socket.
// Thread safety: none.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "runner/oci/spec.h"

namespace rampart::runner {

// Makes one, of the wanted size, sends the master to the socket at `path`, and returns the slave.
absl::StatusOr<UniqueFd> MakeConsole(const std::string& path, const std::optional<oci::ConsoleSize>& size);

// In a new process: begins a session, makes `slave` its terminal, and standard input, output and error.
absl::Status TakeConsole(int slave);

}  // namespace rampart::runner
