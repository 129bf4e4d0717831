// Starts one of the two confined processes: in its own namespaces, with exactly the descriptors that it is given, as a new image of this
// binary.
#pragma once

#include <sys/types.h>

#include <vector>

#include "absl/status/statusor.h"
#include "runner/namespaces/clone.h"
#include "runner/namespaces/id_map.h"

namespace rampart::runner {

// Descriptor `source` of ours becomes `target` in the child.
struct Donation {
  int source = -1;
  int target = -1;
};

// Starts `name` and leaves it waiting for one byte on descriptor kReportFd, without a mapped user. `donations` must name kConfigFd and kReportFd;
// the child has these descriptors and no other. It leads a session of its own, without a terminal. REQUIRES: one thread.
absl::StatusOr<Child> Spawn(const char* name, const std::vector<Donation>& donations);

// Maps the child's users and lets it run. `report_fd` is our end of its report socket.
absl::Status Release(const Child& child, const IdMaps& maps, bool privileged, int report_fd);

}  // namespace rampart::runner
