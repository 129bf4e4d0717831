#include "runner/runsc/spec_check.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

absl::Status Refuse(const std::string& path, const std::string& why) { return UsageError(absl::StrCat(path, ": ", why)); }

absl::Status CheckNamespaces(const oci::LinuxConfig& config) {
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
    // Network: the sandbox has its own loopback in any case. Others would promise to share what another sandbox or the host has.
    const bool shares = !ns.path.empty() && ns.type != "network" && ns.type != "cgroup" && ns.type != "mount";
    if (shares) return Refuse(path + ".path", absl::StrCat("a sandbox cannot join another ", ns.type, " namespace yet: leave the path out for one of its own"));
  }
  return absl::OkStatus();
}

absl::Status CheckAnnotations(const oci::Spec& spec) {
  for (const char* key : {"io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"}) {
    const auto found = spec.annotations.find(key);
    if (found != spec.annotations.end() && found->second == "container") {
      return Refuse(absl::StrCat("$.annotations['", key, "']"), "several containers in one sandbox (pods) are not there yet");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSpec(const oci::Spec& spec) {
  if (!spec.process.has_value()) return Refuse("$.process", "is required and missing");
  if (!spec.root.has_value()) return Refuse("$.root", "is required and missing");
  TRY_STATUS(CheckNamespaces(spec.linux_config));
  TRY_STATUS(CheckAnnotations(spec));
  if (!spec.hooks.start_container.empty()) return Refuse("$.hooks.startContainer", "hooks inside the container are not there yet");
  for (const auto& [name, value] : spec.linux_config.sysctl) {
    // Of a network that a sandbox does not have yet; Docker always sets some.
    if (name.rfind("net.", 0) == 0) continue;
    return Refuse(absl::StrCat("$.linux.sysctl['", name, "']"), "settings of the kernel inside are not there yet");
  }
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
