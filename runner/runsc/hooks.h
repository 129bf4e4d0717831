// OCI hooks: programs of the engine's that run on the host at certain moments of a container's life.
// Thread safety: none.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runner/oci/spec.h"

namespace rampart::runner {

// Runs them in order, each with `state` (the container's, as `state` prints it) on its standard input. The first that fails, or takes longer than its
// time-out, ends it: the error names it, and what it wrote to standard error. REQUIRES: one thread.
absl::Status RunHooks(const std::vector<oci::Hook>& hooks, const char* kind, const std::string& state);

}  // namespace rampart::runner
