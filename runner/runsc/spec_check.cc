#include "runner/runsc/spec_check.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runner/runsc/pod.h"
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
  }
  return absl::OkStatus();
}

absl::Status CheckTimeOffsets(const oci::LinuxConfig& config, bool in_pod) {
  if (!config.time_offsets.empty() && in_pod) return Refuse("$.linux.timeOffsets", "the clocks of a pod are its sandbox's");
  const bool named = std::any_of(config.namespaces.begin(), config.namespaces.end(), [](const oci::Namespace& ns) { return ns.type == "time" && !ns.path.empty(); });
  if (!config.time_offsets.empty() && named) return Refuse("$.linux.timeOffsets", "the clocks of a time namespace that is there already cannot be moved: leave them or its path out");
  for (const auto& [clock, offset] : config.time_offsets) {
    const std::string path = absl::StrCat("$.linux.timeOffsets.", clock);
    if (clock != "monotonic" && clock != "boottime") return Refuse(path, "is not a clock that can be moved (monotonic, boottime are)");
    if (offset.nanosecs >= 1'000'000'000) return Refuse(path + ".nanosecs", "must be below 1000000000");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSpec(const oci::Spec& spec) {
  if (!spec.process.has_value()) return Refuse("$.process", "is required and missing");
  if (!spec.root.has_value()) return Refuse("$.root", "is required and missing");
  const bool in_pod = !TRY_STATUS(SandboxToJoin(spec)).empty();
  TRY_STATUS(CheckNamespaces(spec.linux_config));
  TRY_STATUS(CheckTimeOffsets(spec.linux_config, in_pod));
  if (spec.linux_config.uid_mappings.empty() != spec.linux_config.gid_mappings.empty()) {
    return Refuse(spec.linux_config.uid_mappings.empty() ? "$.linux.uidMappings" : "$.linux.gidMappings", "users and groups must be mapped both or neither");
  }
  const auto oom = spec.process->oom_score_adj;
  if (oom.has_value() && (*oom < -1000 || *oom > 1000)) return Refuse("$.process.oomScoreAdj", "must be between -1000 and 1000");
  return absl::OkStatus();
}

}  // namespace rampart::runner
