// From a specification to what the two processes are told: every decision about a sandbox that needs no process, and all validation.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runner/cgroup/cgroup.h"
#include "runner/oci/spec.h"
#include "runner/sandbox/caller.h"
#include "runner/sandbox/child_config.h"
#include "runner/sandbox/options.h"

namespace rampart::runner {

struct Plan {
  sentry::boot::BootConfig boot;       // without descriptors
  std::vector<GoferExport> exports;    // the root first
  CapabilitySet gofer_capabilities = 0;
  CgroupLimits cgroup;
  bool any_writable = false;           // the gofer may change something on the host
  SecurityLabels sentry_labels, gofer_labels;  // chosen by whoever knows that the host has them
};

// Errors (kInvalidArgument, kNotFound, …) are one line that names the thing. Looks at the host's files (sources of mounts), changes nothing.
absl::StatusOr<Plan> MakePlan(const oci::Spec& spec, const SandboxOptions& options, const Caller& caller);

// "4k", "64m", "1.5g", "0x" is an error; suffixes k, m, g, t are powers of 1024.
absl::StatusOr<uint64_t> ParseSize(const std::string& text);

// "/a/./b//c/../d" → "/a/b/d"; REQUIRES: absolute. ".." at the top stays at the top.
std::string CleanPath(const std::string& path);

}  // namespace rampart::runner
