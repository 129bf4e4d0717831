#include "runner/oci/json_reader.h"
#include "runner/oci/spec_json.h"

namespace rampart::oci {
namespace {

void RequireAbsolute(const JsonReader& in, const char* name, const std::string& path) {
  if (!path.empty() && path[0] == '/') return;
  in.Fail(absl::StrCat(name, " must be an absolute path, found '", path, "'"));
}

}  // namespace

// Found by JsonReader::Read through argument-dependent lookup, hence not in the unnamed namespace.
static void ReadMembers(const JsonReader& in, User& out) {
  in.Member("uid", out.uid);
  in.Member("gid", out.gid);
  in.Member("umask", out.umask);
  in.Member("additionalGids", out.additional_gids);
}

static void ReadMembers(const JsonReader& in, ConsoleSize& out) {
  in.Member("height", out.height);
  in.Member("width", out.width);
}

static void ReadMembers(const JsonReader& in, Rlimit& out) {
  in.Required("type", out.type);
  in.Required("soft", out.soft);
  in.Required("hard", out.hard);
  if (out.soft > out.hard) in.Fail("soft must not be greater than hard");
}

static void ReadMembers(const JsonReader& in, Capabilities& out) {
  in.Member("bounding", out.bounding);
  in.Member("effective", out.effective);
  in.Member("inheritable", out.inheritable);
  in.Member("permitted", out.permitted);
  in.Member("ambient", out.ambient);
}

static void ReadMembers(const JsonReader& in, Scheduler& out) {
  in.Required("policy", out.policy);
  in.Member("nice", out.nice);
  in.Member("priority", out.priority);
  in.Member("flags", out.flags);
  in.Member("runtime", out.runtime);
  in.Member("deadline", out.deadline);
  in.Member("period", out.period);
}

static void ReadMembers(const JsonReader& in, IoPriority& out) {
  in.Required("class", out.io_class);
  in.Required("priority", out.priority);
}

static void ReadMembers(const JsonReader& in, Process& out) {
  in.Member("terminal", out.terminal);
  in.Member("consoleSize", out.console_size);
  in.Member("user", out.user);
  in.Required("args", out.args);
  in.Member("env", out.env);
  in.Required("cwd", out.cwd);
  in.Member("capabilities", out.capabilities);
  in.Member("rlimits", out.rlimits);
  in.Member("noNewPrivileges", out.no_new_privileges);
  in.Member("oomScoreAdj", out.oom_score_adj);
  in.Member("apparmorProfile", out.apparmor_profile);
  in.Member("selinuxLabel", out.selinux_label);
  in.Member("ioPriority", out.io_priority);
  in.Member("scheduler", out.scheduler);
  if (out.args.empty()) in.Fail("args must name a program");
  for (size_t i = 0; i < out.rlimits.size(); ++i) {
    for (size_t k = 0; k < i; ++k) {
      if (out.rlimits[i].type == out.rlimits[k].type) in.Fail(absl::StrCat("rlimits: ", out.rlimits[i].type, " is there twice"));
    }
  }
  RequireAbsolute(in, "cwd", out.cwd);
}

static void ReadMembers(const JsonReader& in, Root& out) {
  in.Required("path", out.path);
  in.Member("readonly", out.readonly);
}

static void ReadMembers(const JsonReader& in, IdMapping& out) {
  in.Required("containerID", out.container_id);
  in.Required("hostID", out.host_id);
  in.Required("size", out.size);
}

static void ReadMembers(const JsonReader& in, Mount& out) {
  in.Required("destination", out.destination);
  in.Member("type", out.type);
  in.Member("source", out.source);
  in.Member("options", out.options);
  in.Member("uidMappings", out.uid_mappings);
  in.Member("gidMappings", out.gid_mappings);
  if (out.uid_mappings.empty() != out.gid_mappings.empty()) in.Fail("users and groups must be mapped both or neither");
  RequireAbsolute(in, "destination", out.destination);
}

static void ReadMembers(const JsonReader& in, Namespace& out) {
  in.Required("type", out.type);
  in.Member("path", out.path);
  if (!out.path.empty()) RequireAbsolute(in, "path", out.path);
}

static void ReadMembers(const JsonReader& in, Hook& out) {
  in.Required("path", out.path);
  in.Member("args", out.args);
  in.Member("env", out.env);
  in.Member("timeout", out.timeout);
  RequireAbsolute(in, "path", out.path);
  if (out.timeout.has_value() && *out.timeout <= 0) in.Fail("timeout must be greater than zero");
}

static void ReadMembers(const JsonReader& in, Hooks& out) {
  in.Member("prestart", out.prestart);
  in.Member("createRuntime", out.create_runtime);
  in.Member("createContainer", out.create_container);
  in.Member("startContainer", out.start_container);
  in.Member("poststart", out.poststart);
  in.Member("poststop", out.poststop);
}

static void ReadMembers(const JsonReader& in, Device& out) {
  in.Required("type", out.type);
  in.Required("path", out.path);
  in.Member("major", out.major);
  in.Member("minor", out.minor);
  in.Member("fileMode", out.file_mode);
  in.Member("uid", out.uid);
  in.Member("gid", out.gid);
  RequireAbsolute(in, "path", out.path);
}

static void ReadMembers(const JsonReader& in, SeccompArg& out) {
  in.Required("index", out.index);
  in.Required("value", out.value);
  in.Member("valueTwo", out.value_two);
  in.Required("op", out.op);
  if (out.index > 5) in.Fail("index must be between 0 and 5");
}

static void ReadMembers(const JsonReader& in, SeccompSyscall& out) {
  in.Required("names", out.names);
  in.Required("action", out.action);
  in.Member("errnoRet", out.errno_ret);
  in.Member("args", out.args);
}

static void ReadMembers(const JsonReader& in, Seccomp& out) {
  in.Required("defaultAction", out.default_action);
  in.Member("defaultErrnoRet", out.default_errno_ret);
  in.Member("architectures", out.architectures);
  in.Member("flags", out.flags);
  in.Member("listenerPath", out.listener_path);
  in.Member("syscalls", out.syscalls);
}

static void ReadMembers(const JsonReader& in, HugepageLimit& out) {
  in.Required("pageSize", out.page_size);
  in.Required("limit", out.limit);
}

static void ReadMembers(const JsonReader& in, WeightDevice& out) {
  in.Required("major", out.major);
  in.Required("minor", out.minor);
  in.Member("weight", out.weight);
}

static void ReadMembers(const JsonReader& in, ThrottleDevice& out) {
  in.Required("major", out.major);
  in.Required("minor", out.minor);
  in.Required("rate", out.rate);
}

static void ReadMembers(const JsonReader& in, BlockIo& out) {
  in.Member("weight", out.weight);
  in.Member("weightDevice", out.weight_devices);
  in.Member("throttleReadBpsDevice", out.read_bps);
  in.Member("throttleWriteBpsDevice", out.write_bps);
  in.Member("throttleReadIOPSDevice", out.read_iops);
  in.Member("throttleWriteIOPSDevice", out.write_iops);
}

static void ReadMembers(const JsonReader& in, Personality& out) {
  in.Required("domain", out.domain);
  in.Member("flags", out.flags);
}

static void ReadMembers(const JsonReader& in, TimeOffset& out) {
  in.Member("secs", out.secs);
  in.Member("nanosecs", out.nanosecs);
}

static void ReadMembers(const JsonReader& in, MemoryResources& out) {
  in.Member("limit", out.limit);
  in.Member("reservation", out.reservation);
  in.Member("swap", out.swap);
  in.Member("disableOOMKiller", out.disable_oom_killer);
}

static void ReadMembers(const JsonReader& in, CpuResources& out) {
  in.Member("shares", out.shares);
  in.Member("quota", out.quota);
  in.Member("period", out.period);
  in.Member("cpus", out.cpus);
  in.Member("mems", out.mems);
}

static void ReadMembers(const JsonReader& in, PidsResources& out) { in.Required("limit", out.limit); }

static void ReadMembers(const JsonReader& in, Resources& out) {
  in.Member("memory", out.memory);
  in.Member("cpu", out.cpu);
  in.Member("pids", out.pids);
  in.Member("blockIO", out.block_io);
  in.Member("hugepageLimits", out.hugepages);
  in.Member("unified", out.unified);
}

static void ReadMembers(const JsonReader& in, IntelRdt& out) {
  in.Member("closID", out.clos_id);
  in.Member("l3CacheSchema", out.l3_cache_schema);
  in.Member("memBwSchema", out.mem_bw_schema);
  in.Member("enableCMT", out.enable_cmt);
  in.Member("enableMBM", out.enable_mbm);
}

static void ReadMembers(const JsonReader& in, LinuxConfig& out) {
  in.Member("namespaces", out.namespaces);
  in.Member("uidMappings", out.uid_mappings);
  in.Member("gidMappings", out.gid_mappings);
  in.Member("resources", out.resources);
  in.Member("cgroupsPath", out.cgroups_path);
  in.Member("sysctl", out.sysctl);
  in.Member("maskedPaths", out.masked_paths);
  in.Member("readonlyPaths", out.readonly_paths);
  in.Member("devices", out.devices);
  in.Member("seccomp", out.seccomp);
  in.Member("rootfsPropagation", out.rootfs_propagation);
  in.Member("mountLabel", out.mount_label);
  in.Member("personality", out.personality);
  in.Member("timeOffsets", out.time_offsets);
  in.Member("intelRdt", out.intel_rdt);
}

static void ReadMembers(const JsonReader& in, Spec& out) {
  in.Required("ociVersion", out.oci_version);
  in.Member("process", out.process);
  in.Member("root", out.root);
  in.Member("hostname", out.hostname);
  in.Member("domainname", out.domainname);
  in.Member("mounts", out.mounts);
  in.Member("hooks", out.hooks);
  in.Member("annotations", out.annotations);
  in.Member("linux", out.linux_config);
  if (!out.oci_version.starts_with("1.")) {
    in.Fail(absl::StrCat("ociVersion is '", out.oci_version, "'; this runtime understands 1.x"));
  }
}

namespace {

template <class T>
absl::StatusOr<T> Parse(std::string_view text, const char* root) {
  if (text.size() > kMaxBytes) return absl::InvalidArgumentError("the document is longer than 16 MiB");
  nlohmann::json document;
  try {  // the library reports where the text is malformed only by an exception
    document = nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("not valid JSON: ", error.what()));
  }
  absl::Status status;
  T out;
  JsonReader(document, root, status).Read(out);
  if (!status.ok()) return status;
  return out;
}

}  // namespace

absl::StatusOr<Spec> ParseSpec(std::string_view text) { return Parse<Spec>(text, "$"); }
absl::StatusOr<Process> ParseProcess(std::string_view text) { return Parse<Process>(text, "$"); }
absl::StatusOr<Resources> ParseResources(std::string_view text) { return Parse<Resources>(text, "$"); }

}  // namespace rampart::oci
