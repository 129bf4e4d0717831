// What the commands of runsc share. A command parses its own flags, does its work, and returns the exit status of runsc or an error, which is printed
// as one line and given to --log.
// Thread safety: none.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runner/control/client.h"
#include "runner/oci/spec.h"
#include "runner/runsc/config.h"
#include "runner/runsc/flags.h"
#include "runner/sandbox/caller.h"
#include "runner/state/container_state.h"
#include "runner/util/process_title.h"

namespace rampart::runner {

// gVisor's: a failure of runsc itself, and a command line that cannot be meant.
inline constexpr int kExitFailure = 128;
inline constexpr int kExitUsage = 2;

struct Invocation {
  Config config;
  std::string root;  // of states
  Caller caller;
  std::vector<std::string> words;  // after the command's name
  ProcessTitle title;
};

using CommandResult = absl::StatusOr<int>;
struct Command {
  const char* name;
  const char* usage;   // "create [flags] ID"
  const char* summary;
  CommandResult (*run)(Invocation& invocation);
};
// Every command, in the order of help.
const std::vector<Command>& Commands();

// Parses `flags` out of the words; prints help and returns false in *go_on when it was asked for.
absl::StatusOr<std::vector<std::string>> ParseWords(const Invocation& invocation, const char* command, Flags flags);
// The only word: a container's name. Errors say what was expected.
absl::StatusOr<std::string> OnlyId(const std::vector<std::string>& words, const char* command);

// A container as it is now.
struct Found {
  ContainerDirectory directory;
  ContainerState state;
  Status status = Status::kStopped;
};
absl::StatusOr<Found> FindContainer(const Invocation& invocation, const std::string& id, bool lock);
absl::StatusOr<oci::Spec> LoadSpec(const ContainerDirectory& directory);
// kFailedPrecondition unless it runs (or is paused): "container not running".
absl::StatusOr<ControlClient> ConnectToRunning(const Found& found);
// The state as the specification has it, for `state`, `list` and hooks.
std::string StateJson(const ContainerState& state, Status status);
// Those of --preserve-fds, and each "M:N" of --pass-fd. Errors: what is not so written, standard streams, and two for one number.
absl::StatusOr<std::vector<PassedFd>> FdsToPass(int64_t preserved, const std::vector<std::string>& pairs);

void Print(const std::string& text);
// 2020-01-02T03:04:05.123456789Z
std::string Timestamp();
int ExitStatusOfWait(int wait_status);

CommandResult CreateCommand(Invocation& invocation);
CommandResult StartCommand(Invocation& invocation);
CommandResult RunCommand(Invocation& invocation);
CommandResult ExecCommand(Invocation& invocation);
CommandResult KillCommand(Invocation& invocation);
CommandResult DeleteCommand(Invocation& invocation);
CommandResult StateCommand(Invocation& invocation);
CommandResult ListCommand(Invocation& invocation);
CommandResult PsCommand(Invocation& invocation);
CommandResult WaitCommand(Invocation& invocation);
CommandResult PauseCommand(Invocation& invocation);
CommandResult ResumeCommand(Invocation& invocation);
CommandResult EventsCommand(Invocation& invocation);
CommandResult UpdateCommand(Invocation& invocation);
CommandResult UsageCommand(Invocation& invocation);
CommandResult DebugCommand(Invocation& invocation);
CommandResult AuditCommand(Invocation& invocation);
CommandResult ProfileCommand(Invocation& invocation);
CommandResult SpecCommand(Invocation& invocation);
CommandResult FeaturesCommand(Invocation& invocation);
CommandResult DoCommand(Invocation& invocation);
CommandResult InstallCommand(Invocation& invocation);
CommandResult UninstallCommand(Invocation& invocation);
CommandResult HelpCommand(Invocation& invocation);

// Ends a container's processes and removes what is left of it. Idempotent.
absl::Status DestroyContainer(Found& found);

}  // namespace rampart::runner
