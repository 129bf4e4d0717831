// --network=sandbox: the container is to have what its network namespace on the host has. As long as there is no network stack for that, this holds only of namespaces
// that have nothing but a loopback, of which every container has one of its own; with others it is refused.
// Thread safety: all of it.
#pragma once

#include <sys/types.h>

#include "absl/status/status.h"
#include "runner/oci/spec.h"

namespace rampart::runner {

// Before anything is made: whether the container has a namespace of its own. Errors name the JSON path.
absl::Status CheckNetworkOfSpec(const oci::Spec& spec);

// When engines have put into the namespace of process `pid` what they put there.
absl::Status CheckNetworkOfProcess(pid_t pid);

}  // namespace rampart::runner
