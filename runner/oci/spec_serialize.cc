#include <nlohmann/json.hpp>

#include "runner/oci/spec_json.h"

namespace rampart::oci {
namespace {

using Json = nlohmann::ordered_json;

template <class T>
void PutUnlessDefault(Json& out, const char* name, const T& value) {
  if (value != T{}) out[name] = value;
}
template <class T>
void PutOptional(Json& out, const char* name, const std::optional<T>& value) {
  if (value.has_value()) out[name] = *value;
}

Json ToJson(const User& user) {
  Json out{{"uid", user.uid}, {"gid", user.gid}};
  PutOptional(out, "umask", user.umask);
  PutUnlessDefault(out, "additionalGids", user.additional_gids);
  return out;
}

Json ToJson(const Capabilities& capabilities) {
  return Json{{"bounding", capabilities.bounding},
              {"effective", capabilities.effective},
              {"inheritable", capabilities.inheritable},
              {"permitted", capabilities.permitted},
              {"ambient", capabilities.ambient}};
}

Json ToJson(const Process& process) {
  Json out = Json::object();
  PutUnlessDefault(out, "terminal", process.terminal);
  if (process.console_size.has_value()) {
    out["consoleSize"] = Json{{"height", process.console_size->height}, {"width", process.console_size->width}};
  }
  out["user"] = ToJson(process.user);
  out["args"] = process.args;
  PutUnlessDefault(out, "env", process.env);
  out["cwd"] = process.cwd;
  if (process.capabilities.has_value()) out["capabilities"] = ToJson(*process.capabilities);
  for (const Rlimit& limit : process.rlimits) {
    out["rlimits"].push_back(Json{{"type", limit.type}, {"soft", limit.soft}, {"hard", limit.hard}});
  }
  PutUnlessDefault(out, "noNewPrivileges", process.no_new_privileges);
  PutOptional(out, "oomScoreAdj", process.oom_score_adj);
  return out;
}

Json ToJson(const Mount& mount) {
  Json out{{"destination", mount.destination}};
  PutUnlessDefault(out, "type", mount.type);
  PutUnlessDefault(out, "source", mount.source);
  PutUnlessDefault(out, "options", mount.options);
  return out;
}

Json ToJson(const Resources& resources) {
  Json out = Json::object();
  if (resources.memory.has_value()) {
    Json& memory = out["memory"] = Json::object();
    PutOptional(memory, "limit", resources.memory->limit);
    PutOptional(memory, "reservation", resources.memory->reservation);
    PutOptional(memory, "swap", resources.memory->swap);
  }
  if (resources.cpu.has_value()) {
    Json& cpu = out["cpu"] = Json::object();
    PutOptional(cpu, "shares", resources.cpu->shares);
    PutOptional(cpu, "quota", resources.cpu->quota);
    PutOptional(cpu, "period", resources.cpu->period);
    PutUnlessDefault(cpu, "cpus", resources.cpu->cpus);
    PutUnlessDefault(cpu, "mems", resources.cpu->mems);
  }
  if (resources.pids.has_value()) out["pids"] = Json{{"limit", resources.pids->limit}};
  return out;
}

Json ToJson(const std::vector<IdMapping>& mappings) {
  Json out = Json::array();
  for (const IdMapping& mapping : mappings) {
    out.push_back(Json{{"containerID", mapping.container_id}, {"hostID", mapping.host_id}, {"size", mapping.size}});
  }
  return out;
}

Json ToJson(const LinuxConfig& config) {
  Json out = Json::object();
  for (const Namespace& ns : config.namespaces) {
    Json entry{{"type", ns.type}};
    PutUnlessDefault(entry, "path", ns.path);
    out["namespaces"].push_back(entry);
  }
  if (!config.uid_mappings.empty()) out["uidMappings"] = ToJson(config.uid_mappings);
  if (!config.gid_mappings.empty()) out["gidMappings"] = ToJson(config.gid_mappings);
  if (config.resources.has_value()) out["resources"] = ToJson(*config.resources);
  PutUnlessDefault(out, "cgroupsPath", config.cgroups_path);
  PutUnlessDefault(out, "sysctl", config.sysctl);
  PutUnlessDefault(out, "maskedPaths", config.masked_paths);
  PutUnlessDefault(out, "readonlyPaths", config.readonly_paths);
  return out;
}

}  // namespace

std::string SerializeSpec(const Spec& spec) {
  Json out{{"ociVersion", spec.oci_version}};
  if (spec.process.has_value()) out["process"] = ToJson(*spec.process);
  if (spec.root.has_value()) {
    out["root"] = Json{{"path", spec.root->path}};
    PutUnlessDefault(out["root"], "readonly", spec.root->readonly);
  }
  PutUnlessDefault(out, "hostname", spec.hostname);
  PutUnlessDefault(out, "domainname", spec.domainname);
  for (const Mount& mount : spec.mounts) out["mounts"].push_back(ToJson(mount));
  PutUnlessDefault(out, "annotations", spec.annotations);
  if (Json config = ToJson(spec.linux_config); !config.empty()) out["linux"] = config;
  return out.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace rampart::oci
