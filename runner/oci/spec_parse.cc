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
  if (out.args.empty()) in.Fail("args must name a program");
  RequireAbsolute(in, "cwd", out.cwd);
}

static void ReadMembers(const JsonReader& in, Root& out) {
  in.Required("path", out.path);
  in.Member("readonly", out.readonly);
}

static void ReadMembers(const JsonReader& in, Mount& out) {
  in.Required("destination", out.destination);
  in.Member("type", out.type);
  in.Member("source", out.source);
  in.Member("options", out.options);
  RequireAbsolute(in, "destination", out.destination);
}

static void ReadMembers(const JsonReader& in, Namespace& out) {
  in.Required("type", out.type);
  in.Member("path", out.path);
  if (!out.path.empty()) RequireAbsolute(in, "path", out.path);
}

static void ReadMembers(const JsonReader& in, IdMapping& out) {
  in.Required("containerID", out.container_id);
  in.Required("hostID", out.host_id);
  in.Required("size", out.size);
}

static void ReadMembers(const JsonReader& in, MemoryResources& out) {
  in.Member("limit", out.limit);
  in.Member("reservation", out.reservation);
  in.Member("swap", out.swap);
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
}

static void ReadMembers(const JsonReader& in, Spec& out) {
  in.Required("ociVersion", out.oci_version);
  in.Member("process", out.process);
  in.Member("root", out.root);
  in.Member("hostname", out.hostname);
  in.Member("domainname", out.domainname);
  in.Member("mounts", out.mounts);
  in.Member("annotations", out.annotations);
  in.Member("linux", out.linux_config);
  if (!out.oci_version.starts_with("1.")) {
    in.Fail(absl::StrCat("ociVersion is '", out.oci_version, "'; this runtime understands 1.x"));
  }
}

absl::StatusOr<Spec> ParseSpec(std::string_view text) {
  if (text.size() > kMaxBytes) return absl::InvalidArgumentError("the document is longer than 16 MiB");
  nlohmann::json document;
  try {  // the library reports where the text is malformed only by an exception
    document = nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("not valid JSON: ", error.what()));
  }
  absl::Status status;
  Spec spec;
  JsonReader(document, "$", status).Read(spec);
  if (!status.ok()) return status;
  return spec;
}

}  // namespace rampart::oci
