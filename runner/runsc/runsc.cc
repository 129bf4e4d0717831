#include "runner/runsc/runsc.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "platform/registry/registry.h"
#include "runner/runsc/command.h"
#include "runner/runsc/engine_log.h"
#include "runner/sandbox/child_config.h"
#include "runner/sandbox/confine.h"
#include "runner/util/files.h"
#include "runner/util/status.h"
#include "sentry/syscalls/docs.h"

namespace rampart::runner {
namespace {

CommandResult NotThereYet(Invocation&) { return absl::UnimplementedError("this command is not there yet: Rampart cannot save the state of a sandbox"); }

constexpr char kVersion[] = "runsc version 0.1.0 (Rampart)\nspec: 1.1.0\n";

std::string GlobalHelp() {
  std::string text = "Usage: runsc [global flags] COMMAND [flags] [arguments]\n\nRuns OCI containers, each on a kernel of its own.\n\nCommands:\n";
  for (const Command& command : Commands()) absl::StrAppend(&text, "  ", command.usage, "\n      ", command.summary, "\n");
  Config config;
  absl::StrAppend(&text, "\nGlobal flags:\n", GlobalFlags(config).Help(),
                  "\nExit status: what the container's or the executed process's was (128+N: ended by signal N); 128: runsc failed; 2: bad command line.\n");
  return text;
}

int Run(Invocation& invocation, const std::string& name) {
  const auto complain = [&](const absl::Status& status) {
    WriteAll(2, absl::StrCat("runsc: ", status.message(), "\n"));
    LogToEngine(invocation.config, "error", std::string(status.message()));
  };
  const auto command = std::find_if(Commands().begin(), Commands().end(), [&](const Command& one) { return name == one.name; });
  if (command == Commands().end()) {
    complain(UsageError(absl::StrCat("there is no command '", name, "' (see runsc help)")));
    return kExitUsage;
  }
  const auto wants_help = [](const std::string& word) { return word == "--help" || word == "-help" || word == "-h"; };
  if (!invocation.words.empty() && wants_help(invocation.words[0])) {
    invocation.words = {name};
    return *HelpCommand(invocation);
  }
  auto root = ChooseRoot(invocation.config, invocation.caller.uid);
  absl::Status status = root.status();
  if (status.ok()) status = CheckConfig(invocation.config);
  if (status.ok()) {
    invocation.root = *root;
    const CommandResult result = command->run(invocation);
    if (result.ok()) return *result;
    status = result.status();
  }
  complain(status);
  return kExitFailure;
}

}  // namespace

const std::vector<Command>& Commands() {
  static const std::vector<Command> commands = {
      {"create", "create [--bundle DIR] [--console-socket S] [--pid-file F] [--preserve-fds N] ID", "make a container that waits for its start", CreateCommand},
      {"start", "start ID", "run the program of a created container", StartCommand},
      {"run", "run [create's flags] [--detach] ID", "create and start, wait for the end, and delete", RunCommand},
      {"exec", "exec [flags] ID COMMAND [ARGUMENTS]", "run a further process in a container", ExecCommand},
      {"kill", "kill [--all] [--pid N] [--pgid N] ID [SIGNAL]", "send a signal (SIGTERM) to a container's first process", KillCommand},
      {"delete", "delete [--force] ID...", "remove a stopped container; with --force a running one", DeleteCommand},
      {"state", "state ID", "print the state as JSON", StateCommand},
      {"list", "list [--format table|json] [--quiet] [--sandbox]", "list containers", ListCommand},
      {"ps", "ps [--format table|json] ID", "list a container's processes", PsCommand},
      {"wait", "wait [--pid N] ID", "wait for the end of a container or an executed process", WaitCommand},
      {"pause", "pause ID", "freeze all processes of a container", PauseCommand},
      {"resume", "resume ID", "let them go on", ResumeCommand},
      {"events", "events [--stats] [--interval SECONDS] ID", "print statistics as JSON, one line each, and a line when memory has run out", EventsCommand},
      {"update", "update --resources FILE|- | --memory N … ID", "change a container's host cgroup limits", UpdateCommand},
      {"usage", "usage [--full] ID", "print memory use", UsageCommand},
      {"debug", "debug [--stacks] [--ps] [--log-level LEVEL] [--strace SET] ID", "look into a running sandbox", DebugCommand},
      {"audit", "audit [--format text|json] [--accept WORDS] ID | --bundle DIR", "print the security checklist, and end with 1 if a layer is missing", AuditCommand},
      {"profile", "profile record [--output FILE] [--bundle DIR | COMMAND]", "run a workload, and write the seccomp profile that allows what it did", ProfileCommand},
      {"spec", "spec [--bundle DIR] [-- ARGS]", "write a config.json to start from", SpecCommand},
      {"features", "features", "print what this runtime knows, as JSON", FeaturesCommand},
      {"do", "do [--root DIR] [--cwd DIR] [--volume SRC:DST] COMMAND", "run a command over the host's files, which stay as they are", DoCommand},
      {"install", "install [--config_file F] [--runtime NAME] [-- RUNTIME ARGS]", "add this runtime to Docker's daemon.json", InstallCommand},
      {"uninstall", "uninstall [--config_file F] [--runtime NAME]", "take it out again", UninstallCommand},
      {"checkpoint", "checkpoint ID", "not there yet", NotThereYet},
      {"restore", "restore ID", "not there yet", NotThereYet},
      {"help", "help [COMMAND|flags|syscalls|platforms]", "print this, or about a command", HelpCommand},
  };
  return commands;
}

CommandResult HelpCommand(Invocation& invocation) {
  const std::string topic = invocation.words.empty() ? "" : invocation.words[0];
  if (topic.empty() || topic == "flags") return Print(GlobalHelp()), 0;
  if (topic == "syscalls") return Print(syscalls::PrintSyscallTable(syscalls::TableFormat::kText)), 0;
  if (topic == "platforms") {
    std::string why;
    const platform::PlatformInfo* best = platform::ChoosePlatform("auto", &why);
    for (const platform::PlatformInfo* platform : platform::Platforms()) {
      Print(absl::StrCat(platform->name, platform == best ? "   taken by --platform=auto here" : "", "\n"));
    }
    if (!why.empty()) Print(absl::StrCat("not a better one: ", why, "\n"));
    return 0;
  }
  for (const Command& command : Commands()) {
    if (topic == command.name) return Print(absl::StrCat("Usage: runsc ", command.usage, "\n\n", command.summary, "\n")), 0;
  }
  return UsageError(absl::StrCat("there is no command '", topic, "' (see runsc help)"));
}

int RunscRole(int argc, char** argv) {
  const char* name = argc > 0 ? argv[0] : "";
  if (std::strcmp(name, kBootName) == 0) return BootMain();
  if (std::strcmp(name, kGoferName) == 0) return GoferMain();
  Invocation invocation;
  invocation.title = ProcessTitle(argc, argv);
  invocation.caller = InspectCaller();
  auto words = GlobalFlags(invocation.config).Parse({argv + std::min(argc, 1), argv + argc});
  if (!words.ok()) {
    const std::string text = absl::StrCat(words.status().message(), " (see runsc help)");
    WriteAll(2, absl::StrCat("runsc: ", text, "\n"));
    LogToEngine(invocation.config, "error", text);
    return kExitUsage;
  }
  if (invocation.config.show_version || (!words->empty() && words->front() == "version")) return Print(kVersion), 0;
  if (invocation.config.show_help) return Print(GlobalHelp()), 0;
  if (words->empty()) {
    WriteAll(2, "runsc: no command is named (see runsc help)\n");
    return kExitUsage;
  }
  invocation.words.assign(words->begin() + 1, words->end());
  return Run(invocation, words->front());
}

}  // namespace rampart::runner
