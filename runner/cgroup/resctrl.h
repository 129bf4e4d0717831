// Shares of a processor's caches and memory bandwidth (linux.intelRdt): groups of the host's resctrl filesystem.
//
// Model. A group of resctrl is a directory with a file `schemata` (what share) and a file `tasks` (who has it); what a process makes later belongs to the
// group, too. Without a closID the group is named after the container and goes with it; one that is named by closID is somebody else's to remove, whoever
// made it. Monitoring is a directory in the group's mon_groups, named after the container.
// Thread safety: none.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runner/oci/spec.h"

namespace rampart::runner {

// The directory where resctrl is mounted. kFailedPrecondition, with the remedy: nowhere.
absl::StatusOr<std::string> FindResctrl();
// The same, of a text as /proc/self/mountinfo has it.
absl::StatusOr<std::string> FindResctrlIn(const std::string& mountinfo);

struct ResctrlGroup {
  std::string directory;                // of the group
  std::string monitoring;               // directory in it; "": none is asked for
  std::vector<std::string> schemata;    // lines that are to be written, or to be there
  bool is_shared = false;               // named by closID
  std::vector<std::string> Removable() const;  // directories that go with the container, in the order of their removal
};

// What is to be done for a container `id`; makes nothing. `root`: where resctrl is mounted. Errors: one line that names the field of $.linux.intelRdt.
absl::StatusOr<ResctrlGroup> PlanResctrl(const std::string& root, const oci::IntelRdt& wanted, const std::string& id);

// Makes the group if it is not there (else it must have the schemata), and moves a process into it.
absl::Status EnterResctrl(const ResctrlGroup& group, pid_t pid);

}  // namespace rampart::runner
