// Several containers in one sandbox: a Kubernetes pod.
//
// Model. A container whose annotations name a sandbox (io.kubernetes.cri.container-type "container" and sandbox-id, or CRI-O's) gets no sentry of its own: its
// monitor starts a gofer for its files, connects to that sandbox's control socket, and asks the sentry to make the container (control_api.proto). From then
// on that connection is the container: when the monitor ends, so do its processes. Clients of the container's own control socket are handed to the sentry
// through the connection. The sandbox's end is the end of all.
// Thread safety: none.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "runner/monitor/supervisor.h"
#include "runner/oci/spec.h"
#include "runner/runsc/container.h"

namespace rampart::runner {

// The sandbox that the container is to join; "": none, it has its own. Errors: kInvalidArgument, with the JSON path.
absl::StatusOr<std::string> SandboxToJoin(const oci::Spec& spec);

// Carries out dev.gvisor.spec.mount.NAME.{source,type,share,options} of the sandbox's annotations for the mounts of `spec`.
absl::Status ApplyMountHints(const std::map<std::string, std::string>& annotations, oci::Spec& spec);

// As RunContainer, in the sandbox `preparation.sandbox`.
absl::StatusOr<Outcome> RunPodContainer(const Invocation& invocation, Preparation& preparation, const ContainerSetting& setting);

}  // namespace rampart::runner
