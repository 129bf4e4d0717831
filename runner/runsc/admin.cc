// do, install, uninstall.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "runner/cli/sentry_run.h"
#include "runner/runsc/command.h"
#include "runner/sandbox/launcher.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<Json> LoadDaemonConfig(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 && errno == ENOENT) return Json::object();
  const std::string text = TRY_STATUS(ReadWholeFile(path, size_t{1} << 20));
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return Json::object();
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return UsageError(absl::StrCat(path, " is not a JSON object: mend it first; nothing was changed"));
  if (json.contains("runtimes") && !json["runtimes"].is_object()) return UsageError(absl::StrCat(path, ": runtimes is not an object; nothing was changed"));
  return json;
}

// By rename, with the old one kept beside it.
absl::Status StoreDaemonConfig(const std::string& path, const Json& json) {
  struct stat info {};
  const bool existed = ::stat(path.c_str(), &info) == 0;
  const std::string scratch = path + ".rampart-new";
  {
    const UniqueFd fd(::open(scratch.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, existed ? info.st_mode & 0777 : 0644));
    if (!fd.valid()) return SystemError(absl::StrCat("write ", scratch, " (does the directory exist?)"));
    if (!WriteAll(fd.get(), json.dump(4, ' ', false, Json::error_handler_t::replace) + "\n") || ::fsync(fd.get()) != 0) return SystemError(absl::StrCat("write ", scratch));
  }
  const std::string backup = path + "~";
  if (existed && ::unlink(backup.c_str()) != 0 && errno != ENOENT) return SystemError(absl::StrCat("remove ", backup));
  if (existed && ::link(path.c_str(), backup.c_str()) != 0) return SystemError(absl::StrCat("keep the old file as ", backup));
  if (::rename(scratch.c_str(), path.c_str()) != 0) return SystemError(absl::StrCat("replace ", path));
  return absl::OkStatus();
}

struct InstallOptions {
  std::string config_file = "/etc/docker/daemon.json";
  std::string runtime = "runsc";
  bool clobber = false;
};

}  // namespace

CommandResult DoCommand(Invocation& invocation) {
  std::string root;
  std::string cwd;
  std::vector<std::string> volumes;
  Flags flags;
  flags.String("root", &root, "directory that is the root inside (default: /)");
  flags.String("cwd", &cwd, "working directory (default: the current one)");
  flags.List("volume", &volumes, "SRC[:DST]: show SRC writable; may be repeated");
  flags.Ignored("quiet", true, "nothing is said");
  flags.Ignored("force-overlay", true, "the host's files are always covered by memory");
  flags.Ignored("ip", false, "there is no network");
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "do", flags));
  if (words.empty()) return UsageError("do: a command is expected (see runsc help do)");
  if (invocation.config.network == "sandbox") return UsageError("do: --network=sandbox is not there yet: the command has its own loopback only (--network=none, the default)");
  std::vector<std::string> line;
  if (!root.empty()) line.insert(line.end(), {"--root", root});
  if (!cwd.empty()) line.insert(line.end(), {"--workdir", cwd});
  for (const std::string& volume : volumes) line.insert(line.end(), {"--bind", volume});
  line.emplace_back("--");
  line.insert(line.end(), words.begin(), words.end());
  auto request = TRY_STATUS(ParseSentryRun(line, invocation.caller));
  const SandboxOptions options = OptionsOf(invocation.config, "do", "do");
  request.options.platform = options.platform;
  request.options.strace = options.strace;
  request.options.strace_set = options.strace_set;
  request.options.debug_log = options.debug_log;
  TRY_STATUS(MakeParents(options.debug_log));
  const Outcome outcome = TRY_STATUS(RunInSandbox(request.spec, request.options, invocation.caller));
  if (const std::string message = MessageOf(outcome, words[0]); !message.empty()) WriteAll(2, absl::StrCat("runsc: ", message, "\n"));
  return ExitStatusOf(outcome);
}

CommandResult InstallCommand(Invocation& invocation) {
  InstallOptions options;
  Flags flags;
  flags.String("config_file", &options.config_file, "Docker's configuration");
  flags.String("runtime", &options.runtime, "name of the runtime");
  flags.Bool("clobber", &options.clobber, "replace a runtime of that name");
  flags.Ignored("experimental", true, "nothing of ours needs it");
  const std::vector<std::string> arguments = TRY_STATUS(ParseWords(invocation, "install", flags));
  char self[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof(self));
  if (n <= 0 || n == static_cast<ssize_t>(sizeof(self))) return SystemError("find out where this program lies");
  Json config = TRY_STATUS(LoadDaemonConfig(options.config_file));
  if (config["runtimes"].contains(options.runtime) && !options.clobber) {
    return UsageError(absl::StrCat(options.config_file, " has a runtime '", options.runtime, "' already: choose another with --runtime, or give --clobber"));
  }
  Json entry{{"path", std::string(self, static_cast<size_t>(n))}};
  if (!arguments.empty()) entry["runtimeArgs"] = arguments;
  config["runtimes"][options.runtime] = entry;
  TRY_STATUS(StoreDaemonConfig(options.config_file, config));
  Print(absl::StrCat("Runtime '", options.runtime, "' added to ", options.config_file, ". Restart dockerd, then: docker run --runtime=", options.runtime, " …\n"));
  return 0;
}

CommandResult UninstallCommand(Invocation& invocation) {
  InstallOptions options;
  Flags flags;
  flags.String("config_file", &options.config_file, "Docker's configuration");
  flags.String("runtime", &options.runtime, "name of the runtime");
  TRY_STATUS(ParseWords(invocation, "uninstall", flags).status());
  Json config = TRY_STATUS(LoadDaemonConfig(options.config_file));
  if (!config.contains("runtimes") || !config["runtimes"].contains(options.runtime)) {
    return UsageError(absl::StrCat(options.config_file, " has no runtime '", options.runtime, "'"));
  }
  config["runtimes"].erase(options.runtime);
  if (config["runtimes"].empty()) config.erase("runtimes");
  TRY_STATUS(StoreDaemonConfig(options.config_file, config));
  Print(absl::StrCat("Runtime '", options.runtime, "' removed from ", options.config_file, ".\n"));
  return 0;
}

}  // namespace rampart::runner
