// state, list, ps, events, usage, debug, spec, features.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/time.h"
#include "runner/oci/spec_json.h"
#include "runner/runsc/command.h"
#include "runner/state/stand_in.h"
#include "runner/util/files.h"
#include "runner/util/status.h"
#include "sentry/boot/control_api.pb.h"

namespace rampart::runner {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json, int indent = -1) { return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n"; }

// Columns as wide as they need to be.
std::string Table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      out += row[i];
      if (i + 1 < row.size()) out.append(widths[i] - row[i].size() + 3, ' ');
    }
    out += "\n";
  }
  return out;
}

// What programs inside chose goes to a terminal.
std::string Printable(const std::string& text) {
  std::string out;
  for (const char c : text) out.push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c);
  return out;
}

absl::StatusOr<control::Response> Ask(const Invocation& invocation, const std::string& id, control::Request request) {
  const Found found = TRY_STATUS(FindContainer(invocation, id, /*lock=*/false));
  ControlClient client = TRY_STATUS(ConnectToRunning(found));
  client.LimitWaits(10);
  control::Response response;
  TRY_STATUS(client.Call(request, response));
  return response;
}

absl::Status CheckFormat(const std::string& format) {
  if (format == "table" || format == "json") return absl::OkStatus();
  return UsageError(absl::StrCat("--format=", format, ": table or json is expected"));
}

std::string Clock(int64_t nanos) {
  const int64_t seconds = std::max<int64_t>(nanos, 0) / 1'000'000'000;
  return absl::StrCat(absl::Dec(seconds / 3600, absl::kZeroPad2), ":", absl::Dec(seconds / 60 % 60, absl::kZeroPad2), ":", absl::Dec(seconds % 60, absl::kZeroPad2));
}

std::string StartClock(int64_t nanos_ago) {
  const time_t begun = std::time(nullptr) - nanos_ago / 1'000'000'000;
  tm parts{};
  ::localtime_r(&begun, &parts);
  char text[16];
  std::strftime(text, sizeof(text), "%H:%M", &parts);
  return text;
}

Json StatsOf(const std::string& id, const control::StatsResponse& stats) {
  const uint64_t cpu = stats.user_nanos() + stats.system_nanos();
  Json data{{"cpu", {{"usage", {{"total", cpu}, {"kernel", stats.system_nanos()}, {"user", stats.user_nanos()}}}}},
            {"memory", {{"usage", {{"usage", stats.memory_bytes()}, {"max", stats.memory_peak()}, {"limit", stats.memory_limit()}, {"failcnt", stats.memory_kills()}}}}},
            {"pids", {{"current", stats.tasks()}, {"limit", stats.tasks_limit()}}}};
  return Json{{"type", "stats"}, {"id", id}, {"data", data}};
}

// What engines ask for: they look the numbers up on the host (docker top), where those inside would be of strangers.
CommandResult PrintStandIns(const Invocation& invocation, const std::string& id) {
  const Found found = TRY_STATUS(FindContainer(invocation, id, /*lock=*/false));
  TRY_STATUS(ConnectToRunning(found).status());
  Json pids = Json::array({found.state.pid});
  for (const pid_t pid : StandIns(found.directory)) pids.push_back(pid);
  Print(Dump(pids));
  return 0;
}

}  // namespace

CommandResult StateCommand(Invocation& invocation) {
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "state", Flags()));
  const std::string id = TRY_STATUS(OnlyId(words, "state"));
  const Found found = TRY_STATUS(FindContainer(invocation, id, /*lock=*/false));
  Print(StateJson(found.state, found.status) + "\n");
  return 0;
}

CommandResult ListCommand(Invocation& invocation) {
  std::string format = "table";
  bool quiet = false;
  bool sandboxes = false;
  Flags flags;
  flags.String("format", &format, "table or json");
  flags.Alias("f");
  flags.Bool("quiet", &quiet, "names only");
  flags.Alias("q");
  flags.Bool("sandbox", &sandboxes, "sandboxes only: no further containers of pods");
  TRY_STATUS(ParseWords(invocation, "list", flags).status());
  TRY_STATUS(CheckFormat(format));
  std::vector<std::vector<std::string>> rows = {{"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"}};
  Json all = Json::array();
  const std::vector<std::string> names = TRY_STATUS(ListContainers(invocation.root));
  for (const std::string& id : names) {
    if (quiet && !sandboxes) {
      Print(id + "\n");
      continue;
    }
    const auto found = FindContainer(invocation, id, /*lock=*/false);
    if (!found.ok()) {
      // Being made or removed this moment is no news; damage is.
      if (!absl::IsNotFound(found.status())) WriteAll(2, absl::StrCat("runsc: ", found.status().message(), "\n"));
      continue;
    }
    const ContainerState& state = found->state;
    if (sandboxes && !state.sandbox.empty()) continue;
    if (quiet) {
      Print(id + "\n");
      continue;
    }
    rows.push_back({id, absl::StrCat(found->status == Status::kStopped ? 0 : state.pid), StatusName(found->status), Printable(state.bundle), state.created, state.owner});
    all.push_back(Json::parse(StateJson(state, found->status)));
  }
  if (quiet) return 0;
  Print(format == "json" ? Dump(all) : Table(rows));
  return 0;
}

CommandResult PsCommand(Invocation& invocation) {
  std::string format = "table";
  Flags flags;
  flags.String("format", &format, "table; or json: the numbers of the host's processes that stand for the container and for what was executed in it");
  flags.Alias("f");
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "ps", flags));
  TRY_STATUS(CheckFormat(format));
  if (words.empty()) return UsageError("ps: a container is expected (see runsc help ps)");
  if (format == "json") return PrintStandIns(invocation, words[0]);
  control::Request request;
  request.mutable_processes();
  const control::Response response = TRY_STATUS(Ask(invocation, words[0], std::move(request)));
  std::vector<std::vector<std::string>> rows = {{"UID", "PID", "PPID", "C", "TTY", "STIME", "TIME", "CMD"}};
  for (const control::Process& process : response.processes().processes()) {
    const int64_t share = process.start_nanos() > 0 ? process.cpu_nanos() * 100 / process.start_nanos() : 0;
    rows.push_back({absl::StrCat(process.uid()), absl::StrCat(process.pid()), absl::StrCat(process.parent()), absl::StrCat(std::clamp<int64_t>(share, 0, 9999)),
                    Printable(process.tty()), StartClock(process.start_nanos()), Clock(process.cpu_nanos()), Printable(process.command())});
  }
  Print(Table(rows));
  return 0;
}

CommandResult EventsCommand(Invocation& invocation) {
  bool once = false;
  std::string interval = "5s";
  Flags flags;
  flags.Bool("stats", &once, "print once and end");
  flags.String("interval", &interval, "seconds between, or as 500ms, 5s");
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "events", flags));
  const std::string id = TRY_STATUS(OnlyId(words, "events"));
  double seconds = 0;
  std::string number = interval;
  const double factor = number.size() > 2 && number.substr(number.size() - 2) == "ms" ? 0.001 : 1;
  while (!number.empty() && (number.back() == 's' || number.back() == 'm')) number.pop_back();
  if (!absl::SimpleAtod(number, &seconds) || seconds * factor < 0.001) return UsageError(absl::StrCat("--interval=", interval, ": write seconds, or 500ms, 5s"));
  const auto period = static_cast<Nanos>(seconds * factor * 1e9);
  const Nanos step = std::min(period, kNanosPerSecond);  // of memory that ran out people want to hear soon
  const timespec pause{step / kNanosPerSecond, step % kNanosPerSecond};
  uint64_t kills = 0;
  for (Nanos next = 0, turn = 0;; ++turn) {
    control::Request request;
    request.mutable_stats();
    const auto response = Ask(invocation, id, std::move(request));
    if (!response.ok()) return response.status();
    if (turn > 0 && response->stats().memory_kills() > kills) Print(Dump(Json{{"type", "oom"}, {"id", id}}));
    kills = response->stats().memory_kills();
    if (MonotonicNow() >= next) {
      Print(Dump(StatsOf(id, response->stats())));
      next = MonotonicNow() + period;
    }
    if (once) return 0;
    ::nanosleep(&pause, nullptr);
  }
}

CommandResult UsageCommand(Invocation& invocation) {
  bool full = false;
  Flags flags;
  flags.Bool("full", &full, "all numbers");
  flags.Ignored("fd", true, "memory is not shared with readers");
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "usage", flags));
  const std::string id = TRY_STATUS(OnlyId(words, "usage"));
  control::Request request;
  request.mutable_stats();
  const control::Response response = TRY_STATUS(Ask(invocation, id, std::move(request)));
  const control::StatsResponse& stats = response.stats();
  Json out{{"Total", stats.memory_bytes()}};
  if (full) {
    out["Peak"] = stats.memory_peak();
    out["Limit"] = stats.memory_limit();
    out["Tasks"] = stats.tasks();
    out["Processes"] = stats.processes();
  }
  Print(Dump(out, 2));
  return 0;
}

CommandResult DebugCommand(Invocation& invocation) {
  bool stacks = false;
  bool ps = false;
  std::string level;
  std::string traced;
  Flags flags;
  flags.Bool("stacks", &stacks, "what each task inside is doing");
  flags.Bool("ps", &ps, "the processes, as ps");
  flags.String("log-level", &level, "of --debug-log from now on: debug, info, warning, error");
  flags.String("strace", &traced, "system calls to log from now on, to --debug-log: all, off, or names and %classes, comma-separated");
  flags.Ignored("profile-cpu", false, "use perf(1) on the sentry");
  flags.Ignored("profile-heap", false, "use perf(1) on the sentry");
  flags.Ignored("profile-block", false, "use perf(1) on the sentry");
  flags.Ignored("profile-mutex", false, "use perf(1) on the sentry");
  flags.Ignored("trace", false, "use perf(1) on the sentry");
  flags.Ignored("duration", false, "belongs to the profiles");
  flags.Ignored("delay", false, "belongs to the profiles");
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "debug", flags));
  const std::string id = TRY_STATUS(OnlyId(words, "debug"));
  if (ps) {
    invocation.words = {id};
    return PsCommand(invocation);
  }
  control::Request request;
  request.mutable_debug()->set_tasks(stacks);
  if (!level.empty()) {
    static constexpr const char* kLevels[] = {"debug", "info", "warning", "error"};
    const auto found = std::find(std::begin(kLevels), std::end(kLevels), level);
    if (found == std::end(kLevels)) return UsageError(absl::StrCat("--log-level=", level, ": debug, info, warning or error is expected"));
    request.mutable_debug()->set_log_level(static_cast<int>(found - std::begin(kLevels)));
  }
  if (!traced.empty()) request.mutable_debug()->set_strace(traced);
  if (!stacks && level.empty() && traced.empty()) {
    return UsageError("debug: what is to be looked at? (--stacks, --ps, --log-level, --strace; see runsc help debug)");
  }
  const control::Response response = TRY_STATUS(Ask(invocation, id, std::move(request)));
  std::string text;
  for (const char c : response.debug().text()) text.push_back(c == '\n' ? c : Printable(std::string(1, c))[0]);
  Print(text);
  return 0;
}

CommandResult SpecCommand(Invocation& invocation) {
  std::string bundle = ".";
  std::string cwd = "/";
  Flags flags;
  flags.String("bundle", &bundle, "directory for config.json");
  flags.Alias("b");
  flags.String("cwd", &cwd, "working directory of the program");
  flags.Ignored("netns", false, "a sandbox has its own network");
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "spec", flags));
  oci::Spec spec;
  spec.process.emplace().args = words.empty() ? std::vector<std::string>{"sh"} : words;
  spec.process->terminal = words.empty();
  spec.process->cwd = cwd;
  spec.process->env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"};
  const std::vector<std::string> few = {"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"};
  spec.process->capabilities = oci::Capabilities{few, few, {}, few, {}};
  spec.process->rlimits = {{"RLIMIT_NOFILE", 1024, 1024}};
  spec.process->no_new_privileges = true;
  spec.root = oci::Root{"rootfs", true};
  spec.hostname = "runsc";
  spec.mounts = {{"/proc", "proc", "proc", {}},
                 {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}},
                 {"/dev/pts", "devpts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
                 {"/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
                 {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}}};
  for (const char* type : {"pid", "network", "ipc", "uts", "mount"}) spec.linux_config.namespaces.push_back({type, ""});
  const std::string path = bundle + "/config.json";
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd.valid()) {
    if (errno == EEXIST) return UsageError(absl::StrCat(path, " exists already: remove it first, or choose another --bundle"));
    return SystemError(absl::StrCat("make ", path));
  }
  if (!WriteAll(fd.get(), oci::SerializeSpec(spec) + "\n")) return SystemError(absl::StrCat("write ", path));
  return 0;
}

CommandResult FeaturesCommand(Invocation& invocation) {
  TRY_STATUS(ParseWords(invocation, "features", Flags()).status());
  const Json out{{"ociVersionMin", "1.0.0"},
                 {"ociVersionMax", "1.1.0"},
                 {"hooks", {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}},
                 {"mountOptions", {"bind", "rbind", "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "rro", "rnosuid", "rnodev", "rnoexec",
                                   "idmap", "ridmap"}},
                 {"linux",
                  {{"namespaces", {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"}},
                   {"cgroup", {{"v1", true}, {"v2", true}, {"systemd", false}, {"systemdUser", false}}},
                   {"seccomp",
                    {{"enabled", true},
                     {"actions", {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"}},
                     {"operators", {"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"}},
                     {"archs", {"SCMP_ARCH_X86_64"}}}},
                   {"apparmor", {{"enabled", true}}},
                   {"selinux", {{"enabled", true}}},
                   {"intelRdt", {{"enabled", true}}},
                   {"mountExtensions", {{"idmap", {{"enabled", true}}}}}}},
                 {"annotations", {{"org.rampart.version", "0.1.0"}}}};
  Print(Dump(out, 2));
  return 0;
}

}  // namespace rampart::runner
