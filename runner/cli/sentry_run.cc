#include "runner/cli/sentry_run.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runner/cli/options.h"
#include "runner/cli/print.h"
#include "runner/cli/users.h"
#include "runner/monitor/stats.h"
#include "runner/oci/spec_json.h"
#include "runner/sandbox/launcher.h"
#include "runner/sandbox/plan.h"
#include "runner/util/files.h"
#include "runner/util/status.h"
#include "sentry/syscalls/docs.h"

namespace rampart::runner {
namespace {

constexpr int kSandboxFailed = 125;

absl::StatusOr<std::string> Absolute(const std::string& path, const Caller& caller, const char* option) {
  if (absl::StartsWith(path, "/")) return CleanPath(path);
  if (path.empty()) return UsageError(absl::StrCat(option, ": the path is empty"));
  if (caller.cwd.empty()) return UsageError(absl::StrCat(option, " '", path, "': the current directory has no name here; give an absolute path"));
  return CleanPath(absl::StrCat(caller.cwd, "/", path));
}

absl::StatusOr<oci::Mount> ParseBind(const std::string& text, const Caller& caller) {
  std::vector<std::string> parts = absl::StrSplit(text, ':');
  oci::Mount mount{"", "bind", "", {"rbind", "rw"}};
  if (parts.size() > 1 && (parts.back() == "ro" || parts.back() == "rw")) {
    mount.options[1] = parts.back();
    parts.pop_back();
  }
  if (parts.size() > 2 || parts[0].empty() || parts.back().empty()) {
    return UsageError(absl::StrCat("--bind '", text, "': write SRC, SRC:DST or SRC:DST:ro"));
  }
  mount.source = TRY_STATUS(Absolute(parts[0], caller, "--bind"));
  mount.destination = mount.source;
  if (parts.size() == 2) {
    if (parts[1][0] != '/') return UsageError(absl::StrCat("--bind '", text, "': the destination must be an absolute path"));
    mount.destination = CleanPath(parts[1]);
  }
  return mount;
}

absl::StatusOr<oci::Mount> ParseTmpfs(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  if (parts[0].empty() || parts[0][0] != '/') return UsageError(absl::StrCat("--tmpfs '", text, "': the destination must be an absolute path"));
  oci::Mount mount{CleanPath(parts[0]), "tmpfs", "tmpfs", {"nosuid", "nodev"}};
  if (parts.size() == 2) {
    for (const absl::string_view option : absl::StrSplit(parts[1], ',', absl::SkipEmpty())) mount.options.emplace_back(option);
  }
  return mount;
}

absl::StatusOr<Nanos> ParseTime(const std::string& text) {
  double factor = 1;
  std::string digits = text;
  static constexpr struct {
    char suffix;
    double seconds;
  } kUnits[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
  for (const auto& unit : kUnits) {
    if (!absl::EndsWith(text, std::string(1, unit.suffix))) continue;
    factor = unit.seconds;
    digits.pop_back();
  }
  double number = 0;
  const bool plain = !digits.empty() && digits.find_first_not_of("0123456789.") == std::string::npos;
  if (!plain || !absl::SimpleAtod(digits, &number)) {
    return UsageError(absl::StrCat("--timeout '", text, "': write a number of seconds, or 1.5s, 2m, 1h"));
  }
  const double nanos = number * factor * 1e9;
  if (nanos < 1) return UsageError(absl::StrCat("--timeout '", text, "': must be longer than nothing"));
  return static_cast<Nanos>(std::min(nanos, 9e18));
}

absl::Status SetLimits(const CommandLine& line, oci::Spec& spec, SandboxOptions& options) {
  oci::Resources resources;
  if (!line.memory.empty()) {
    const auto bytes = ParseSize(line.memory);
    if (!bytes.ok()) return UsageError(absl::StrCat("--memory ", bytes.status().message()));
    if (*bytes < 1 << 20) return UsageError(absl::StrCat("--memory '", line.memory, "': at least 1m is needed"));
    resources.memory.emplace().limit = static_cast<int64_t>(*bytes);
  }
  if (!line.cpus.empty()) {
    if (!absl::SimpleAtod(line.cpus, &options.cpus) || !(options.cpus >= 0.01) || !(options.cpus <= 4096)) {
      return UsageError(absl::StrCat("--cpus '", line.cpus, "': write a number from 0.01 to 4096"));
    }
    oci::CpuResources cpu;
    cpu.period = 100'000;
    cpu.quota = static_cast<int64_t>(std::llround(options.cpus * 100'000));
    resources.cpu = cpu;
  }
  if (!line.pids.empty()) {
    int64_t pids = 0;
    if (!absl::SimpleAtoi(line.pids, &pids) || pids < 1) return UsageError(absl::StrCat("--pids '", line.pids, "': write a whole number, at least 1"));
    resources.pids = oci::PidsResources{pids};
  }
  spec.linux_config.resources = resources;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Environment(const CommandLine& line, const Caller& caller) {
  std::vector<std::string> environment;
  // Variables without '=' cannot be set by any shell, and no program could read them.
  if (!line.clear_env) {
    for (const std::string& variable : caller.environment) {
      if (variable.find('=') != std::string::npos) environment.push_back(variable);
    }
  }
  for (const std::string& wanted : line.env) {
    std::string setting = wanted;
    const std::string name = wanted.substr(0, wanted.find('='));
    if (name.empty()) return UsageError(absl::StrCat("--env '", wanted, "': no variable is named"));
    const auto is_it = [&](const std::string& variable) { return absl::StartsWith(variable, name + "="); };
    if (wanted.find('=') == std::string::npos) {
      const auto found = std::find_if(caller.environment.begin(), caller.environment.end(), is_it);
      if (found == caller.environment.end()) continue;  // not set here, not set there: as docker does
      setting = *found;
    }
    environment.erase(std::remove_if(environment.begin(), environment.end(), is_it), environment.end());
    environment.push_back(setting);
  }
  return environment;
}

bool ExistsBelow(const std::string& root, const std::string& path) {
  struct stat info {};
  return ::stat((root + path).c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

absl::Status SetMounts(const CommandLine& line, const Caller& caller, oci::Spec& spec) {
  spec.mounts = {{"/proc", "proc", "proc", {"nosuid", "nodev", "noexec"}},
                 {"/sys", "sysfs", "sysfs", {"nosuid", "nodev", "noexec", "ro"}},
                 {"/dev", "devtmpfs", "devtmpfs", {"nosuid", "mode=755"}},
                 {"/dev/pts", "devpts", "devpts", {"nosuid", "noexec"}},
                 {"/dev/shm", "tmpfs", "tmpfs", {"nosuid", "nodev", "mode=1777"}}};
  if (line.rw) {
    if (caller.cwd.empty()) return UsageError("--rw: the current directory has no name here; use --bind");
    if (caller.cwd == "/") return UsageError("--rw in / would open the whole host to writing: change to the directory that you mean, or use --bind");
    spec.mounts.push_back({caller.cwd, "bind", caller.cwd, {"rbind", "rw"}});
  }
  for (const std::string& bind : line.binds) spec.mounts.push_back(TRY_STATUS(ParseBind(bind, caller)));
  for (const std::string& tmpfs : line.tmpfs) spec.mounts.push_back(TRY_STATUS(ParseTmpfs(tmpfs)));
  return absl::OkStatus();
}

absl::Status SetProcess(const CommandLine& line, const Caller& caller, oci::Spec& spec) {
  oci::Process process;
  if (line.command.empty()) return UsageError("no command is given: sentry-run [OPTIONS] [--] COMMAND [ARGUMENTS…]");
  process.args = line.command;
  process.env = TRY_STATUS(Environment(line, caller));
  process.terminal = caller.has_terminal;
  if (line.user.empty()) {
    process.user = {caller.uid, caller.gid, caller.umask, caller.groups};
  } else {
    process.user = TRY_STATUS(ParseUser(line.user, spec.root->path));
    process.user.umask = caller.umask;
  }
  if (!line.workdir.empty()) {
    process.cwd = TRY_STATUS(Absolute(line.workdir, caller, "--workdir"));
  } else {
    // In another root the same path may not be there, and nobody has asked for it.
    process.cwd = caller.cwd.empty() || (!line.root.empty() && !ExistsBelow(spec.root->path, caller.cwd)) ? "/" : caller.cwd;
  }
  spec.process = process;
  return absl::OkStatus();
}

absl::Status SetOptions(const CommandLine& line, SandboxOptions& options) {
  options.platform = line.platform;
  options.strace = line.strace;
  options.strace_set = line.strace_set;
  options.stats = line.stats;
  options.debug_log = line.debug_log;
  for (const int fd : line.pass_fds) options.pass_fds.push_back({fd, fd});
  if (!line.timeout.empty()) options.timeout = TRY_STATUS(ParseTime(line.timeout));
  if (line.self_test == "hold") options.self_test = SelfTest::kHold;
  else if (line.self_test == "violate") options.self_test = SelfTest::kViolate;
  else if (!line.self_test.empty()) return UsageError("--self-test: hold or violate");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SentryRunRequest> ParseSentryRun(const std::vector<std::string>& args, const Caller& caller) {
  const ParsedCommandLine parsed = TRY_STATUS(ParseCommandLine(args));
  const CommandLine& line = parsed.line;
  SentryRunRequest request;
  if (line.help) request.print = parsed.help;
  if (line.list_syscalls) request.print = syscalls::PrintSyscallTable(syscalls::TableFormat::kText);
  if (line.version) request.print = VersionText();
  if (line.print_seccomp) request.print = SeccompDocument();
  if (!request.print.empty()) return request;

  oci::Spec& spec = request.spec;
  std::string root = "/";
  if (!line.root.empty()) root = TRY_STATUS(Absolute(line.root, caller, "--root"));
  spec.root = oci::Root{root, false};
  spec.hostname = line.hostname.empty() ? caller.hostname : line.hostname;
  TRY_STATUS(SetProcess(line, caller, spec));
  TRY_STATUS(SetMounts(line, caller, spec));
  TRY_STATUS(SetLimits(line, spec, request.options));
  TRY_STATUS(SetOptions(line, request.options));
  if (line.print_spec) request.print = absl::StrCat(oci::SerializeSpec(spec), "\n");
  return request;
}

int SentryRunMain(int argc, char** argv) {
  const Caller caller = InspectCaller();
  const auto complain = [](absl::string_view message) { WriteAll(2, absl::StrCat("sentry-run: ", message, "\n")); };
  const auto request = ParseSentryRun({argv + std::min(argc, 1), argv + argc}, caller);
  if (!request.ok()) {
    complain(request.status().message());
    return kSandboxFailed;
  }
  if (!request->print.empty()) return WriteAll(1, request->print) ? 0 : kSandboxFailed;
  const auto outcome = RunInSandbox(request->spec, request->options, caller);
  if (!outcome.ok()) {
    complain(outcome.status().message());
    return kSandboxFailed;
  }
  if (const std::string message = MessageOf(*outcome, request->spec.process->args[0]); !message.empty()) complain(message);
  if (outcome->have_stats) WriteAll(2, FormatStats(outcome->stats));
  return ExitStatusOf(*outcome);
}

}  // namespace rampart::runner
