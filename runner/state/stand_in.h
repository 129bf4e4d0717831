// The processes on the host that stand for those executed in a container (`runsc exec`): engines know an executed process by the number of its
// stand-in, as they know the container by its monitor's. Each is a file in the container's directory for as long as it lives.
// Thread safety: none needed; the file system keeps them apart.
#pragma once

#include <sys/types.h>

#include <vector>

#include "absl/status/status.h"
#include "runner/state/container_state.h"

namespace rampart::runner {

// Writes down, or takes back, that this process is one.
absl::Status AddStandIn(const ContainerDirectory& directory);
void RemoveStandIn(const ContainerDirectory& directory);
// Those that live, in the order of their numbers: whoever was killed took nothing back.
std::vector<pid_t> StandIns(const ContainerDirectory& directory);
// Forgets all of them.
absl::Status ForgetStandIns(int directory_fd);

}  // namespace rampart::runner
