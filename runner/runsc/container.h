// Makes containers: from a bundle to a monitor process with a sandbox that waits for its start.
// Thread safety: none; REQUIRES: one thread.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runner/cgroup/container_cgroup.h"
#include "runner/cgroup/resctrl.h"
#include "runner/monitor/supervisor.h"
#include "runner/namespaces/join.h"
#include "runner/oci/spec.h"
#include "runner/runsc/command.h"
#include "runner/sandbox/launcher.h"
#include "runner/sandbox/plan.h"

namespace rampart::control {
class ExecRequest;
}  // namespace rampart::control

namespace rampart::runner {

struct CreateRequest {
  std::string id;
  std::string bundle;
  std::string console_socket;
  std::string pid_file;
  int64_t preserve_fds = 0;
  std::vector<std::string> pass_fds;
};

// All that is decided before anything is made.
struct Preparation {
  CreateRequest request;
  oci::Spec spec;
  std::string spec_text;
  Plan plan;
  SandboxOptions options;
  bool network_of_namespace = false;  // --network=sandbox
  std::vector<ContainerGroup> groups;
  std::optional<ResctrlGroup> rdt;
  IdMaps id_maps;
  std::vector<ForeignNamespace> namespaces;  // to be joined by the container's process on the host
  std::string sandbox;  // another container, whose sandbox it joins (pod.h); "": its own
  bool cgroups_required = false;  // a limit is asked for that only they can hold
};
// Reads and checks the bundle. Errors name the place in config.json.
absl::StatusOr<Preparation> PrepareContainer(const Invocation& invocation, CreateRequest request, const char* command);

// Makes the directory and its first state, and the socket. The container is locked.
struct Begun {
  ContainerDirectory directory;
  ContainerState state;
  UniqueFd listener;
};
absl::StatusOr<Begun> BeginContainer(const Invocation& invocation, const Preparation& preparation);

// In the process that is to be the monitor: joins the cgroups, then runs the container to its end.
absl::StatusOr<Outcome> MonitorContainer(const Invocation& invocation, Preparation& preparation, ContainerSetting setting);

// Everything that `create` does; the container's monitor is left behind.
absl::Status CreateContainer(Invocation& invocation, CreateRequest request, const char* command);
// What `start` does. Errors: why the program could not be started.
absl::Status StartContainer(const Invocation& invocation, const std::string& id);

// A program as the control protocol has it, without descriptors.
void FillProgram(const sentry::boot::Program& program, control::ExecRequest& out);

// Whole or not at all.
absl::Status WritePidFile(const std::string& path, pid_t pid);

}  // namespace rampart::runner
