#include "runner/runsc/spec_check.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runner/runsc/pod.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

absl::Status Refuse(const std::string& path, const std::string& why) { return UsageError(absl::StrCat(path, ": ", why)); }

// `in_pod`: the sandbox that it joins has those of the paths.
absl::Status CheckNamespaces(const oci::LinuxConfig& config, bool in_pod) {
  static constexpr const char* kKnown[] = {"pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"};
  std::vector<std::string> seen;
  for (size_t i = 0; i < config.namespaces.size(); ++i) {
    const oci::Namespace& ns = config.namespaces[i];
    const std::string path = absl::StrCat("$.linux.namespaces[", i, "]");
    if (std::find(std::begin(kKnown), std::end(kKnown), ns.type) == std::end(kKnown)) {
      return Refuse(path + ".type", absl::StrCat("'", ns.type, "' is not a namespace (pid, network, mount, ipc, uts, user, cgroup, time are)"));
    }
    if (std::find(seen.begin(), seen.end(), ns.type) != seen.end()) return Refuse(path + ".type", absl::StrCat("'", ns.type, "' is there twice"));
    seen.push_back(ns.type);
    const bool shares = !in_pod && !ns.path.empty() && (ns.type == "user" || ns.type == "time");
    if (shares) return Refuse(path + ".path", absl::StrCat("a sandbox cannot join another ", ns.type, " namespace yet: leave the path out for one of its own"));
  }
  return absl::OkStatus();
}

// Nothing outside of the sandbox sees its mounts, and nothing inside those that come later: any known word is satisfied.
absl::Status CheckPropagation(const std::string& word) {
  static constexpr const char* kKnown[] = {"", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"};
  if (std::find(std::begin(kKnown), std::end(kKnown), word) != std::end(kKnown)) return absl::OkStatus();
  return Refuse("$.linux.rootfsPropagation", absl::StrCat("'", word, "' is not a propagation (private, slave, shared, unbindable are, and with an r before them)"));
}

}  // namespace

absl::Status CheckSpec(const oci::Spec& spec) {
  if (!spec.process.has_value()) return Refuse("$.process", "is required and missing");
  if (!spec.root.has_value()) return Refuse("$.root", "is required and missing");
  const bool in_pod = !TRY_STATUS(SandboxToJoin(spec)).empty();
  TRY_STATUS(CheckNamespaces(spec.linux_config, in_pod));
  TRY_STATUS(CheckPropagation(spec.linux_config.rootfs_propagation));
  if (!spec.hooks.start_container.empty()) return Refuse("$.hooks.startContainer", "hooks inside the container are not there yet");
  if (spec.linux_config.has_time_offsets) return Refuse("$.linux.timeOffsets", "clocks of its own are not there yet");
  if (spec.linux_config.has_intel_rdt) return Refuse("$.linux.intelRdt", "is not there yet");
  if (!spec.linux_config.personality.empty() && spec.linux_config.personality != "LINUX") {
    return Refuse("$.linux.personality.domain", "only LINUX is there");
  }
  if (spec.process->has_scheduler) return Refuse("$.process.scheduler", "is not there yet");
  if (spec.process->has_io_priority) return Refuse("$.process.ioPriority", "is not there yet");
  for (size_t i = 0; i < spec.mounts.size(); ++i) {
    if (spec.mounts[i].has_id_mappings) return Refuse(absl::StrCat("$.mounts[", i, "].uidMappings"), "idmapped mounts are not there yet");
  }
  if (spec.linux_config.uid_mappings.empty() != spec.linux_config.gid_mappings.empty()) {
    return Refuse(spec.linux_config.uid_mappings.empty() ? "$.linux.uidMappings" : "$.linux.gidMappings", "users and groups must be mapped both or neither");
  }
  const auto oom = spec.process->oom_score_adj;
  if (oom.has_value() && (*oom < -1000 || *oom > 1000)) return Refuse("$.process.oomScoreAdj", "must be between -1000 and 1000");
  return absl::OkStatus();
}

}  // namespace rampart::runner
