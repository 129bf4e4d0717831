#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "runner/state/container_state.h"

namespace rampart::runner {
namespace {

constexpr Status kAll[] = {Status::kCreating, Status::kCreated, Status::kRunning, Status::kPaused, Status::kStopped};

template <class T>
void Take(const nlohmann::json& in, const char* name, T& out) {
  if (const auto found = in.find(name); found != in.end()) out = found->get<T>();
}

}  // namespace

std::string EncodeState(const ContainerState& state) {
  nlohmann::ordered_json out{{"id", state.id},           {"ociVersion", state.oci_version}, {"status", StatusName(state.status)},
                             {"bundle", state.bundle},   {"rootfs", state.rootfs},          {"created", state.created},
                             {"owner", state.owner},     {"annotations", state.annotations}, {"pid", state.pid},
                             {"pidStart", state.pid_start}, {"cgroups", state.cgroups},      {"resctrl", state.resctrl}, {"sandbox", state.sandbox}, {"memoryLimit", state.memory_limit}};
  return out.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

absl::StatusOr<ContainerState> DecodeState(const std::string& text) {
  ContainerState state;
  try {  // the library reports what is malformed only by exceptions
    const nlohmann::json in = nlohmann::json::parse(text);
    Take(in, "id", state.id);
    Take(in, "ociVersion", state.oci_version);
    Take(in, "bundle", state.bundle);
    Take(in, "rootfs", state.rootfs);
    Take(in, "created", state.created);
    Take(in, "owner", state.owner);
    Take(in, "annotations", state.annotations);
    Take(in, "pid", state.pid);
    Take(in, "pidStart", state.pid_start);
    Take(in, "cgroups", state.cgroups);
    Take(in, "resctrl", state.resctrl);
    Take(in, "sandbox", state.sandbox);
    Take(in, "memoryLimit", state.memory_limit);
    std::string status;
    Take(in, "status", status);
    for (const Status one : kAll) {
      if (status == StatusName(one)) state.status = one;
    }
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(error.what());
  }
  return state;
}

}  // namespace rampart::runner
