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

Json ToJson(const Scheduler& scheduler) {
  Json out{{"policy", scheduler.policy}};
  PutUnlessDefault(out, "nice", scheduler.nice);
  PutUnlessDefault(out, "priority", scheduler.priority);
  PutUnlessDefault(out, "flags", scheduler.flags);
  PutUnlessDefault(out, "runtime", scheduler.runtime);
  PutUnlessDefault(out, "deadline", scheduler.deadline);
  PutUnlessDefault(out, "period", scheduler.period);
  return out;
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
  PutUnlessDefault(out, "apparmorProfile", process.apparmor_profile);
  PutUnlessDefault(out, "selinuxLabel", process.selinux_label);
  if (process.io_priority.has_value()) out["ioPriority"] = Json{{"class", process.io_priority->io_class}, {"priority", process.io_priority->priority}};
  if (process.scheduler.has_value()) out["scheduler"] = ToJson(*process.scheduler);
  return out;
}

Json ToJson(const std::vector<Hook>& hooks) {
  Json out = Json::array();
  for (const Hook& hook : hooks) {
    Json& one = out.emplace_back(Json{{"path", hook.path}});
    PutUnlessDefault(one, "args", hook.args);
    PutUnlessDefault(one, "env", hook.env);
    PutOptional(one, "timeout", hook.timeout);
  }
  return out;
}

Json ToJson(const Hooks& hooks) {
  Json out = Json::object();
  const auto put = [&](const char* name, const std::vector<Hook>& list) {
    if (!list.empty()) out[name] = ToJson(list);
  };
  put("prestart", hooks.prestart);
  put("createRuntime", hooks.create_runtime);
  put("createContainer", hooks.create_container);
  put("startContainer", hooks.start_container);
  put("poststart", hooks.poststart);
  put("poststop", hooks.poststop);
  return out;
}

Json ToJson(const Device& device) {
  Json out{{"type", device.type}, {"path", device.path}, {"major", device.major}, {"minor", device.minor}};
  PutOptional(out, "fileMode", device.file_mode);
  PutOptional(out, "uid", device.uid);
  PutOptional(out, "gid", device.gid);
  return out;
}

Json ToJson(const Seccomp& seccomp) {
  Json out{{"defaultAction", seccomp.default_action}};
  PutOptional(out, "defaultErrnoRet", seccomp.default_errno_ret);
  PutUnlessDefault(out, "architectures", seccomp.architectures);
  PutUnlessDefault(out, "flags", seccomp.flags);
  PutUnlessDefault(out, "listenerPath", seccomp.listener_path);
  for (const SeccompSyscall& call : seccomp.syscalls) {
    Json one{{"names", call.names}, {"action", call.action}};
    PutOptional(one, "errnoRet", call.errno_ret);
    for (const SeccompArg& arg : call.args) {
      one["args"].push_back(Json{{"index", arg.index}, {"value", arg.value}, {"valueTwo", arg.value_two}, {"op", arg.op}});
    }
    out["syscalls"].push_back(one);
  }
  return out;
}

Json ToJson(const std::vector<ThrottleDevice>& devices) {
  Json out = Json::array();
  for (const ThrottleDevice& device : devices) out.push_back(Json{{"major", device.major}, {"minor", device.minor}, {"rate", device.rate}});
  return out;
}

Json ToJson(const BlockIo& io) {
  Json out = Json::object();
  PutOptional(out, "weight", io.weight);
  for (const WeightDevice& device : io.weight_devices) {
    Json one{{"major", device.major}, {"minor", device.minor}};
    PutOptional(one, "weight", device.weight);
    out["weightDevice"].push_back(one);
  }
  const auto put = [&](const char* name, const std::vector<ThrottleDevice>& list) {
    if (!list.empty()) out[name] = ToJson(list);
  };
  put("throttleReadBpsDevice", io.read_bps);
  put("throttleWriteBpsDevice", io.write_bps);
  put("throttleReadIOPSDevice", io.read_iops);
  put("throttleWriteIOPSDevice", io.write_iops);
  return out;
}

Json ToJson(const std::vector<IdMapping>& mappings) {
  Json out = Json::array();
  for (const IdMapping& mapping : mappings) {
    out.push_back(Json{{"containerID", mapping.container_id}, {"hostID", mapping.host_id}, {"size", mapping.size}});
  }
  return out;
}

Json ToJson(const Mount& mount) {
  Json out{{"destination", mount.destination}};
  PutUnlessDefault(out, "type", mount.type);
  PutUnlessDefault(out, "source", mount.source);
  PutUnlessDefault(out, "options", mount.options);
  if (!mount.uid_mappings.empty()) out["uidMappings"] = ToJson(mount.uid_mappings);
  if (!mount.gid_mappings.empty()) out["gidMappings"] = ToJson(mount.gid_mappings);
  return out;
}

Json ToJson(const Resources& resources) {
  Json out = Json::object();
  if (resources.memory.has_value()) {
    Json& memory = out["memory"] = Json::object();
    PutOptional(memory, "limit", resources.memory->limit);
    PutOptional(memory, "reservation", resources.memory->reservation);
    PutOptional(memory, "swap", resources.memory->swap);
    PutOptional(memory, "disableOOMKiller", resources.memory->disable_oom_killer);
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
  if (resources.block_io.has_value()) out["blockIO"] = ToJson(*resources.block_io);
  for (const HugepageLimit& limit : resources.hugepages) {
    out["hugepageLimits"].push_back(Json{{"pageSize", limit.page_size}, {"limit", limit.limit}});
  }
  PutUnlessDefault(out, "unified", resources.unified);
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
  for (const Device& device : config.devices) out["devices"].push_back(ToJson(device));
  if (config.seccomp.has_value()) out["seccomp"] = ToJson(*config.seccomp);
  PutUnlessDefault(out, "rootfsPropagation", config.rootfs_propagation);
  PutUnlessDefault(out, "mountLabel", config.mount_label);
  if (config.personality.has_value()) {
    out["personality"] = Json{{"domain", config.personality->domain}};
    PutUnlessDefault(out["personality"], "flags", config.personality->flags);
  }
  for (const auto& [clock, offset] : config.time_offsets) out["timeOffsets"][clock] = Json{{"secs", offset.secs}, {"nanosecs", offset.nanosecs}};
  if (config.intel_rdt.has_value()) {
    Json& rdt = out["intelRdt"] = Json::object();
    PutOptional(rdt, "closID", config.intel_rdt->clos_id);
    PutUnlessDefault(rdt, "l3CacheSchema", config.intel_rdt->l3_cache_schema);
    PutUnlessDefault(rdt, "memBwSchema", config.intel_rdt->mem_bw_schema);
    PutUnlessDefault(rdt, "enableCMT", config.intel_rdt->enable_cmt);
    PutUnlessDefault(rdt, "enableMBM", config.intel_rdt->enable_mbm);
  }
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
  if (Json hooks = ToJson(spec.hooks); !hooks.empty()) out["hooks"] = hooks;
  PutUnlessDefault(out, "annotations", spec.annotations);
  if (Json config = ToJson(spec.linux_config); !config.empty()) out["linux"] = config;
  return out.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace rampart::oci
