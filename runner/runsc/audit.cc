// audit: the guide's security checklist, one line a layer, for a running sandbox from what the host's kernel says about its processes, or for a bundle from
// what would be in force.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runner/oci/spec_json.h"
#include "runner/runsc/command.h"
#include "runner/runsc/spec_check.h"
#include "runner/util/files.h"
#include "runner/util/status.h"
#include "sentry/boot/control_api.pb.h"

namespace rampart::runner {
namespace {

struct Layer {
  std::string name;
  bool in_force = false;
  std::string found;  // what was seen
};
using Layers = std::vector<Layer>;

// The sandbox's processes on the host.
struct Processes {
  pid_t sentry = 0;
  pid_t gofer = 0;
};

std::string ReadOf(pid_t pid, const char* file) {
  const auto text = ReadSmallFile(absl::StrCat("/proc/", pid, "/", file));
  return text.ok() ? *text : "";
}

// "Seccomp:\t2" of a status text; "" if it is not there.
std::string FieldOf(const std::string& status, absl::string_view name) {
  for (const absl::string_view line : absl::StrSplit(status, '\n')) {
    if (absl::StartsWith(line, absl::StrCat(name, ":\t"))) return std::string(line.substr(name.size() + 2));
  }
  return "";
}

std::string LinkOf(const std::string& path) {
  char text[256];
  const ssize_t n = ::readlink(path.c_str(), text, sizeof(text));
  return n > 0 ? std::string(text, static_cast<size_t>(n)) : "";
}

std::vector<std::string> EntriesOf(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return {"?"};
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  ::closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<Processes> FindProcesses(pid_t monitor) {
  Processes out;
  for (const absl::string_view word : absl::StrSplit(ReadOf(monitor, absl::StrCat("task/", monitor, "/children").c_str()), ' ', absl::SkipEmpty())) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(word, &pid)) continue;
    const std::string name = ReadOf(pid, "comm");
    if (name == "sentry\n") out.sentry = pid;
    if (name == "gofer\n") out.gofer = pid;
  }
  return out;
}

// A field of the status of every thread has this value.
bool AllThreads(pid_t pid, const char* field, const std::string& value) {
  const std::string tasks = absl::StrCat("/proc/", pid, "/task");
  bool any = false;
  for (const std::string& tid : EntriesOf(tasks)) {
    const auto status = ReadSmallFile(absl::StrCat(tasks, "/", tid, "/status"));
    if (!status.ok()) continue;  // it has ended
    any = true;
    if (FieldOf(*status, field) != value) return false;
  }
  return any;
}

void AuditConfinement(const Processes& processes, Layers& out) {
  struct Who {
    const char* name;
    pid_t pid;
  };
  for (const Who& who : {Who{"sentry", processes.sentry}, Who{"gofer", processes.gofer}}) {
    if (who.pid == 0) continue;
    const std::string status = ReadOf(who.pid, "status");
    const auto add = [&](const char* what, bool good, const std::string& found) { out.push_back({absl::StrCat(who.name, ": ", what), good, found}); };
    add("seccomp filter", AllThreads(who.pid, "Seccomp", "2"), absl::StrCat("mode ", FieldOf(status, "Seccomp"), ", ", FieldOf(status, "Seccomp_filters"), " filters, every thread looked at"));
    add("no_new_privs", AllThreads(who.pid, "NoNewPrivs", "1"), FieldOf(status, "NoNewPrivs"));
    uint64_t effective = ~uint64_t{0};
    const bool read = absl::SimpleHexAtoi(FieldOf(status, "CapEff"), &effective);
    // Reading and writing files of any owner is what a gofer is for: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID.
    const uint64_t allowed = who.pid == processes.gofer ? 0x1f : 0;
    add("capabilities dropped", read && (effective & ~allowed) == 0, absl::StrCat("CapEff ", FieldOf(status, "CapEff"), ", CapBnd ", FieldOf(status, "CapBnd")));
    std::vector<std::string> own;
    std::vector<std::string> shared;
    for (const char* ns : {"user", "pid", "mnt", "net", "ipc", "uts"}) {
      const std::string theirs = LinkOf(absl::StrCat("/proc/", who.pid, "/ns/", ns));
      (!theirs.empty() && theirs != LinkOf(absl::StrCat("/proc/self/ns/", ns)) ? own : shared).emplace_back(ns);
    }
    add("namespaces of its own", shared.empty(), absl::StrCat("own: ", absl::StrJoin(own, " "), shared.empty() ? "" : "; the host's: " + absl::StrJoin(shared, " ")));
    std::string label = ReadOf(who.pid, "attr/apparmor/current");
    if (label.empty()) label = ReadOf(who.pid, "attr/current");
    const std::string profile(label.substr(0, label.find_first_of(std::string("\n\0", 2))));
    add("AppArmor or SELinux", !profile.empty() && !absl::StartsWith(profile, "unconfined"), profile.empty() ? "none on this host" : profile);
  }
}

void AuditFiles(const Processes& processes, Layers& out) {
  if (processes.sentry != 0) {
    const std::vector<std::string> entries = EntriesOf(absl::StrCat("/proc/", processes.sentry, "/root"));
    out.push_back({"sentry: empty root directory", entries.empty(), entries.empty() ? "no entry" : absl::StrJoin(entries, " ")});
    const std::string uid = FieldOf(ReadOf(processes.sentry, "status"), "Uid");
    out.push_back({"sentry: not root on the host", !absl::StartsWith(uid, "0\t"), absl::StrCat("uid ", uid.substr(0, uid.find('\t')))});
    std::vector<std::string> devices;
    for (const absl::string_view line : absl::StrSplit(ReadOf(processes.sentry, "net/dev"), '\n')) {
      const size_t colon = line.find(':');
      if (colon != absl::string_view::npos) devices.emplace_back(absl::StripAsciiWhitespace(line.substr(0, colon)));
    }
    const bool none = devices.empty() || (devices.size() == 1 && devices[0] == "lo");
    out.push_back({"sentry: no network of the host", none, devices.empty() ? "no device" : absl::StrJoin(devices, " ")});
  }
  if (processes.gofer == 0) return;
  // The trees that it shows: "/0" is the root.
  bool found = false;
  bool readonly = false;
  for (const absl::string_view line : absl::StrSplit(ReadOf(processes.gofer, "mountinfo"), '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    if (words.size() < 6 || words[4] != "/0") continue;
    found = true;
    readonly = absl::StartsWith(words[5], "ro");
  }
  out.push_back({"read-only root file system", found && readonly, found ? (readonly ? "the host's tree cannot be written" : "writable by the gofer") : "not found"});
}

// "" when the file does not limit anything.
std::string LimitIn(const std::string& directory, std::initializer_list<const char*> files) {
  for (const char* file : files) {
    const auto text = ReadSmallFile(absl::StrCat(directory, "/", file));
    if (!text.ok()) continue;
    const std::string value(absl::StripAsciiWhitespace(*text));
    int64_t number = 0;
    const bool unlimited = absl::StartsWith(value, "max") || value == "-1" || (absl::SimpleAtoi(value, &number) && number > INT64_MAX / 2);
    if (!unlimited && !value.empty()) return absl::StrCat(file, " ", value);
  }
  return "";
}

void AuditLimits(const ContainerState& state, Layers& out) {
  struct Kind {
    const char* name;
    std::initializer_list<const char*> files;
  };
  for (const Kind& kind : {Kind{"memory", {"memory.max", "memory.limit_in_bytes"}}, Kind{"tasks", {"pids.max"}}, Kind{"processor time", {"cpu.max", "cpu.cfs_quota_us"}}}) {
    std::string found;
    for (const std::string& directory : state.cgroups) {
      if (found.empty()) found = LimitIn(directory, kind.files);
    }
    out.push_back({absl::StrCat("host limit: ", kind.name), !found.empty(), found.empty() ? "none" : found});
  }
}

// What the sandbox says about itself: its word is taken only for what is inside.
absl::Status AuditInside(const Found& found, Layers& out) {
  ControlClient client = TRY_STATUS(ConnectToRunning(found));
  client.LimitWaits(10);
  control::Request request;
  control::Response response;
  request.mutable_debug()->set_tasks(true);
  TRY_STATUS(client.Call(request, response));
  int tasks = 0;
  int filtered = 0;
  for (const absl::string_view line : absl::StrSplit(response.debug().text(), '\n', absl::SkipEmpty())) {
    ++tasks;
    if (absl::StrContains(line, "seccomp mode 2")) ++filtered;
  }
  out.push_back({"inside: seccomp profile", tasks > 0 && filtered == tasks, absl::StrCat(filtered, " of ", tasks, " tasks are filtered")});
  return absl::OkStatus();
}

absl::StatusOr<Layers> AuditContainer(const Found& found) {
  if (found.status != Status::kRunning && found.status != Status::kPaused && found.status != Status::kCreated) {
    return absl::FailedPreconditionError(absl::StrCat("container not running: '", found.state.id, "' is ", StatusName(found.status)));
  }
  const Processes processes = TRY_STATUS(FindProcesses(found.state.pid));
  Layers out;
  const bool own = processes.sentry != 0;
  const bool whole = processes.gofer != 0 && (own || !found.state.sandbox.empty());
  out.push_back({"a kernel of its own", whole, own ? absl::StrCat("sentry is process ", processes.sentry) : found.state.sandbox.empty() ? "no sentry was found" : absl::StrCat("that of sandbox ", found.state.sandbox)});
  AuditConfinement(processes, out);
  AuditFiles(processes, out);
  AuditLimits(found.state, out);
  if (found.status != Status::kCreated) TRY_STATUS(AuditInside(found, out));
  return out;
}

absl::StatusOr<Layers> AuditBundle(const Config& config, const std::string& bundle) {
  const std::string file = bundle + "/config.json";
  const std::string text = TRY_STATUS(ReadWholeFile(file, oci::kMaxBytes));
  auto parsed = oci::ParseSpec(text);
  absl::Status status = parsed.status();
  if (status.ok()) status = CheckSpec(*parsed);
  if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat(file, ": ", status.message()));
  const oci::Spec& spec = *parsed;
  const oci::Process& process = *spec.process;
  const oci::LinuxConfig& config_linux = spec.linux_config;
  Layers out;
  const auto add = [&](const char* name, bool good, const std::string& found) { out.push_back({name, good, found}); };
  add("a kernel of its own", true, "runsc");
  add("inside: seccomp profile", config_linux.seccomp.has_value() && config.oci_seccomp, config_linux.seccomp.has_value() ? "$.linux.seccomp" : "$.linux.seccomp is missing");
  add("AppArmor or SELinux", !process.apparmor_profile.empty() || !process.selinux_label.empty(), process.apparmor_profile.empty() ? process.selinux_label : process.apparmor_profile);
  const auto& capabilities = process.capabilities;
  const bool none = capabilities.has_value() && capabilities->bounding.empty() && capabilities->effective.empty() && capabilities->permitted.empty();
  add("all capabilities dropped", none, !capabilities.has_value() ? "$.process.capabilities is missing: all" : none ? "none" : absl::StrJoin(capabilities->bounding, " "));
  add("no_new_privs", process.no_new_privileges, process.no_new_privileges ? "true" : "$.process.noNewPrivileges is not true");
  add("user is not root", process.user.uid != 0, absl::StrCat("uid ", process.user.uid));
  const bool mapped = !config_linux.uid_mappings.empty() && std::none_of(config_linux.uid_mappings.begin(), config_linux.uid_mappings.end(), [](const oci::IdMapping& one) { return one.host_id == 0; });
  add("user namespace", mapped, mapped ? "the host's root is not mapped" : "$.linux.uidMappings does not keep the host's root out");
  add("read-only root file system", spec.root->readonly, spec.root->readonly ? "$.root.readonly" : "$.root.readonly is not true");
  const oci::Resources resources = config_linux.resources.value_or(oci::Resources{});
  add("limit: memory", resources.memory.has_value() && resources.memory->limit.value_or(-1) > 0, "$.linux.resources.memory.limit");
  add("limit: tasks", resources.pids.has_value() && resources.pids->limit > 0, "$.linux.resources.pids.limit");
  add("limit: processor time", resources.cpu.has_value() && resources.cpu->quota.value_or(-1) > 0, "$.linux.resources.cpu.quota");
  return out;
}

int PrintLayers(const Layers& layers, const std::string& format, const std::vector<std::string>& accepted) {
  bool missing = false;
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  std::string text;
  for (const Layer& layer : layers) {
    const bool waived = std::any_of(accepted.begin(), accepted.end(), [&](const std::string& part) { return !part.empty() && absl::StrContains(layer.name, part); });
    missing = missing || (!layer.in_force && !waived);
    const char* word = layer.in_force ? "ok" : waived ? "accepted" : "missing";
    json.push_back({{"layer", layer.name}, {"status", word}, {"found", layer.found}});
    absl::StrAppend(&text, absl::StrFormat("%-9s %-34s %s\n", word, layer.name, layer.found));
  }
  Print(format == "json" ? json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n" : text);
  return missing ? 1 : 0;
}

}  // namespace

CommandResult AuditCommand(Invocation& invocation) {
  std::string bundle;
  std::string format = "text";
  std::vector<std::string> accepted;
  Flags flags;
  flags.String("bundle", &bundle, "look at this bundle's config.json instead of a container");
  flags.Alias("b");
  flags.String("format", &format, "text or json");
  flags.Alias("f");
  flags.List("accept", &accepted, "a layer whose name has these words may be missing; may be repeated");
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "audit", flags));
  if (format != "text" && format != "json") return UsageError(absl::StrCat("--format=", format, ": text or json is expected"));
  if (!bundle.empty()) {
    if (!words.empty()) return UsageError("audit: a container or --bundle, not both");
    const Layers layers = TRY_STATUS(AuditBundle(invocation.config, bundle));
    return PrintLayers(layers, format, accepted);
  }
  const std::string id = TRY_STATUS(OnlyId(words, "audit"));
  const Found found = TRY_STATUS(FindContainer(invocation, id, /*lock=*/false));
  const Layers layers = TRY_STATUS(AuditContainer(found));
  return PrintLayers(layers, format, accepted);
}

}  // namespace rampart::runner
