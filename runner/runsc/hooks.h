// OCI hooks: programs of the engine's that run on the host at certain moments of a container's life.
// Thread safety: none.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "runner/namespaces/join.h"
#include "runner/oci/spec.h"

namespace rampart::runner {

// Runs them in order, each with `state` (the container's, as `state` prints it) on its standard input. The first that fails, or takes longer than its
// time-out, ends it: the error names it, and what it wrote to standard error. `home`: namespaces that hooks belong to and this process is no more in. REQUIRES: one thread.
absl::Status RunHooks(const std::vector<oci::Hook>& hooks, const char* kind, const std::string& state, absl::Span<const ForeignNamespace> home = {});

// The namespaces of this process that it is going to leave for the container's, if there are hooks, to which those matter.
absl::StatusOr<std::vector<ForeignNamespace>> HomeOfHooks(const oci::Spec& spec);

// Puts this process, which stands for the container on the host, into new namespaces as the configuration asks for them, if there are hooks that may look for them there:
// Docker puts a container's network interfaces where its process is. `may_lack`: who has no right to make them goes without.
absl::Status MakeNamespacesForHooks(const oci::Spec& spec, bool may_lack);

// Whether that process is in the container's network namespace: one that is named, or was made for hooks. Else nobody has put anything into it.
bool IsInNetworkOfContainer(const oci::Spec& spec);

}  // namespace rampart::runner
