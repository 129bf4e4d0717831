// The host's cgroups of a container, where linux.cgroupsPath puts them and with what linux.resources asks for.
//
// Model. One group in each v1 hierarchy that there is, or one in the v2 hierarchy. A path that begins with '/' counts from the hierarchy's top;
// another one from the caller's own group; "SLICE:PREFIX:NAME" (systemd's form) becomes the path that systemd would give it, without asking systemd.
// The container's processes are the monitor, the sentry with its stubs, and the gofer. The kernel inside enforces memory and tasks exactly; the
// limits here are wider by what those processes need themselves (cgroup.h).
// Thread safety: none.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runner/oci/spec.h"

namespace rampart::runner {

struct ContainerGroup {
  bool v2 = false;
  std::string controller;  // v1: "memory"; v2: ""
  std::string mount;       // of the hierarchy
  std::string directory;
};

// Which groups the container will have; makes nothing. Empty: this host has no cgroups mounted. kInvalidArgument: the path.
absl::StatusOr<std::vector<ContainerGroup>> LocateContainerGroups(const std::string& cgroups_path, const std::string& id);

// Makes them, those above included. v2: switches the controllers on above them.
absl::Status MakeContainerGroups(const std::vector<ContainerGroup>& groups);

// Writes the limits of `resources`. kInvalidArgument: a value; kUnavailable: no controller for it; else what the host said.
absl::Status ApplyResources(const std::vector<ContainerGroup>& groups, const oci::Resources& resources);

// Moves a process into all of them.
absl::Status JoinGroups(const std::vector<ContainerGroup>& groups, pid_t pid);

// "system.slice:docker:abc" → "/system.slice/docker-abc.scope"; others as they are. kInvalidArgument.
absl::StatusOr<std::string> ExpandSystemdPath(const std::string& path);

}  // namespace rampart::runner
