// exec: a further process in a container, and the process that stands for it outside.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runner/monitor/caller_signals.h"
#include "runner/namespaces/clone.h"
#include "runner/oci/spec_json.h"
#include "runner/runsc/command.h"
#include "runner/runsc/console.h"
#include "runner/runsc/container.h"
#include "runner/state/stand_in.h"
#include "runner/util/files.h"
#include "runner/util/status.h"
#include "sentry/boot/control.h"
#include "sentry/boot/control_api.pb.h"

namespace rampart::runner {
namespace {

struct ExecOptions {
  std::string cwd;
  std::string user;
  std::string process_file;
  std::string pid_file;
  std::string internal_pid_file;
  std::string console_socket;
  std::vector<std::string> env;
  std::vector<std::string> capabilities;
  std::vector<std::string> groups;
  bool tty = false;
  bool detach = false;
  bool no_new_privs = false;
  int64_t preserve_fds = 0;
  std::vector<std::string> pass_fds;
  std::vector<PassedFd> passed;  // what these two come to
};

Flags ExecFlags(ExecOptions& options) {
  Flags flags;
  flags.String("process", &options.process_file, "JSON of an OCI process: instead of the other flags and the command");
  flags.Alias("p");
  flags.String("cwd", &options.cwd, "working directory (default: the container's)");
  flags.String("user", &options.user, "UID[:GID], numbers (default: the container's)");
  flags.Alias("u");
  flags.List("env", &options.env, "NAME=VALUE; may be repeated");
  flags.Alias("e");
  flags.List("cap", &options.capabilities, "a further capability; may be repeated");
  flags.Alias("c");
  flags.List("additional-gids", &options.groups, "a further group; may be repeated");
  flags.Alias("g");
  flags.Bool("tty", &options.tty, "with a terminal: --console-socket's, or the caller's");
  flags.Alias("t");
  flags.Bool("detach", &options.detach, "return when it runs");
  flags.Alias("d");
  flags.Bool("no-new-privs", &options.no_new_privs, "set no_new_privs");
  flags.String("pid-file", &options.pid_file, "file for the pid, on the host, of the process that stands for it");
  flags.String("internal-pid-file", &options.internal_pid_file, "file for the pid inside");
  flags.String("console-socket", &options.console_socket, "UNIX socket that the terminal's master is sent to");
  flags.Int("preserve-fds", &options.preserve_fds, "hand descriptors 3 to 2+N to it");
  flags.List("pass-fd", &options.pass_fds, "M:N: hand descriptor M to it as N; may be repeated");
  flags.Ignored("apparmor", false, "the sandbox is confined by other means");
  flags.Ignored("process-label", false, "the sandbox is confined by other means");
  flags.Ignored("ignore-paused", true, "a paused container executes nothing");
  return flags;
}

absl::Status SetUser(const std::string& text, oci::User& user) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  const bool good = parts.size() <= 2 && absl::SimpleAtoi(parts[0], &user.uid) && (parts.size() < 2 || absl::SimpleAtoi(parts[1], &user.gid));
  if (!good) return UsageError(absl::StrCat("--user '", text, "': write UID or UID:GID, numbers"));
  if (parts.size() < 2) user.gid = 0;
  return absl::OkStatus();
}

void AddCapabilities(const std::vector<std::string>& names, oci::Process& process) {
  if (names.empty()) return;
  oci::Capabilities& sets = process.capabilities.has_value() ? *process.capabilities : process.capabilities.emplace();
  for (auto* set : {&sets.bounding, &sets.effective, &sets.permitted, &sets.inheritable, &sets.ambient}) {
    for (const std::string& name : names) {
      if (std::find(set->begin(), set->end(), name) == set->end()) set->push_back(name);
    }
  }
}

absl::StatusOr<oci::Process> ProcessToRun(const ExecOptions& options, const std::vector<std::string>& words, const oci::Spec& spec) {
  if (!options.process_file.empty()) {
    const std::string text = TRY_STATUS(ReadWholeFile(options.process_file, oci::kMaxBytes));
    auto process = oci::ParseProcess(text);
    if (!process.ok()) return absl::InvalidArgumentError(absl::StrCat(options.process_file, ": ", process.status().message()));
    return process;
  }
  if (words.size() < 2) return UsageError("exec: a container and a command are expected (flags go before them; see runsc help exec)");
  oci::Process process = *spec.process;
  process.args.assign(words.begin() + 1, words.end());
  process.terminal = options.tty;
  process.no_new_privileges = process.no_new_privileges || options.no_new_privs;
  if (!options.cwd.empty()) process.cwd = options.cwd;
  if (process.cwd[0] != '/') return UsageError(absl::StrCat("--cwd '", process.cwd, "' must be absolute"));
  for (const std::string& variable : options.env) {
    const std::string name = variable.substr(0, variable.find('=') + 1);
    if (name.empty()) return UsageError(absl::StrCat("--env '", variable, "': write NAME=VALUE"));
    std::erase_if(process.env, [&](const std::string& one) { return one.compare(0, name.size(), name) == 0; });
    process.env.push_back(variable);
  }
  if (!options.user.empty()) {
    process.user.additional_gids.clear();
    TRY_STATUS(SetUser(options.user, process.user));
  }
  for (const std::string& group : options.groups) {
    uint32_t gid = 0;
    if (!absl::SimpleAtoi(group, &gid)) return UsageError(absl::StrCat("--additional-gids '", group, "': write a number"));
    process.user.additional_gids.push_back(gid);
  }
  AddCapabilities(options.capabilities, process);
  return process;
}

// As MakePlan judges a container's own process.
absl::StatusOr<control::Request> RequestFor(const Invocation& invocation, const oci::Process& process, const oci::Spec& spec, const ExecOptions& options) {
  oci::Spec only;
  only.process = process;
  only.root = oci::Root{"/", false};
  only.linux_config.personality = spec.linux_config.personality;
  const SandboxOptions sandbox = OptionsOf(invocation.config, "", "exec");
  Caller caller = invocation.caller;
  if (process.rlimits.empty()) only.process->rlimits = spec.process->rlimits;
  const Plan plan = TRY_STATUS(MakePlan(only, sandbox, caller));
  const sentry::boot::Program& program = plan.boot;
  control::Request request;
  control::ExecRequest& exec = *request.mutable_exec();
  FillProgram(program, exec);
  exec.set_terminal(process.terminal);
  for (int fd = 0; fd < 3; ++fd) exec.add_fds(fd);
  for (const PassedFd& fd : options.passed) exec.add_fds(fd.inside);
  return request;
}

// Runs it, from this process, whose streams and signals are its own.
class Standing {
 public:
  Standing(ControlClient client, CallerSignals signals) : client_(std::move(client)), signals_(std::move(signals)) {}

  // Returns the pid inside.
  absl::StatusOr<int> Begin(control::Request& request, const ExecOptions& options) {
    std::vector<int> fds = {0, 1, 2};
    for (const PassedFd& fd : options.passed) fds.push_back(fd.here);
    control::Response response;
    const absl::Status status = client_.Call(request, response, fds);
    if (!status.ok()) return Explain(status, request, response);
    pid_ = response.exec().pid();
    return pid_;
  }

  // Its wait status as a shell shows it.
  int Wait() {
    control::Request request;
    request.mutable_wait()->set_pid(pid_);
    const auto id = client_.Send(request);
    if (!id.ok()) return 128 + SIGKILL;
    for (;;) {
      pollfd fds[2] = {{client_.fd(), POLLIN, 0}, {signals_.fd(), POLLIN, 0}};
      if (::poll(fds, 2, -1) < 0 && errno != EINTR) return kExitFailure;
      if (fds[1].revents != 0) PassSignals();
      if (fds[0].revents == 0) continue;
      control::Response response;
      if (!client_.Receive(response).ok()) return 128 + SIGKILL;  // the container has ended, and it with it
      if (response.id() == *id) return response.error() == 0 ? ExitStatusOfWait(response.wait().status()) : kExitFailure;
    }
  }

 private:
  static absl::Status Explain(const absl::Status& status, const control::Request& request, const control::Response& response) {
    using sentry::boot::StartFailure;
    const auto failure = static_cast<StartFailure>(response.exec().failure());
    const std::string program = request.exec().args(0);
    if (failure == StartFailure::kNotFound) {
      return absl::NotFoundError(absl::StrCat("exec failed: exec: \"", program, "\": executable file not found in $PATH: ", status.message()));
    }
    if (failure == StartFailure::kNotExecutable) {
      return absl::PermissionDeniedError(absl::StrCat("exec failed: exec: \"", program, "\": permission denied: ", status.message()));
    }
    return status;
  }

  void PassSignals() {
    while (const auto info = signals_.Next()) {
      const int signo = static_cast<int>(info->ssi_signo);
      if (signo == SIGCHLD || signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU) continue;
      control::Request request;
      request.mutable_signal()->set_pid(pid_);
      request.mutable_signal()->set_signal(signo);
      request.mutable_signal()->set_foreground(info->ssi_code == SI_KERNEL);
      (void)client_.Send(request);  // its answer is passed over by Wait
    }
  }

  ControlClient client_;
  CallerSignals signals_;
  int pid_ = 0;
};

absl::StatusOr<Standing> Stand(const Found& found) {
  ControlClient client = TRY_STATUS(ConnectToRunning(found));
  CallerSignals signals = TRY_STATUS(CallerSignals::Take());
  return absl::StatusOr<Standing>(absl::in_place, std::move(client), std::move(signals));
}

absl::Status WriteInternalPid(const ExecOptions& options, int pid) { return WritePidFile(options.internal_pid_file, pid); }

absl::Status BecomeStandIn(Invocation& invocation, const Found& found, const control::Request& request) {
  invocation.title.Set({request.exec().args().begin(), request.exec().args().end()});
  return AddStandIn(found.directory);
}

// The process that is left behind by --detach, with the pid of --pid-file.
[[noreturn]] void StandDetached(Invocation& invocation, const Found& found, control::Request& request, const ExecOptions& options, int report, int console) {
  ::prctl(PR_SET_NAME, "runsc-exec");
  const auto fail = [&](const absl::Status& status) {
    const std::string text = absl::StrCat("E", status.message());
    ::send(report, text.data(), std::min<size_t>(text.size(), 4000), MSG_NOSIGNAL);
    ::_exit(kExitFailure);
  };
  if (console >= 0) {
    if (const absl::Status taken = TakeConsole(console); !taken.ok()) fail(taken);
  } else {
    ::setsid();
  }
  auto standing = Stand(found);
  if (!standing.ok()) fail(standing.status());
  const auto pid = standing->Begin(request, options);
  if (!pid.ok()) fail(pid.status());
  if (const absl::Status written = WriteInternalPid(options, *pid); !written.ok()) fail(written);
  if (const absl::Status written = BecomeStandIn(invocation, found, request); !written.ok()) fail(written);
  // The streams are the process's now.
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd = 0; fd <= 2 && null.valid() && console < 0; ++fd) ::dup2(null.get(), fd);
  for (const PassedFd& fd : options.passed) ::close(fd.here);
  ::send(report, "R", 1, MSG_NOSIGNAL);
  char commit = 0;
  if (::recv(report, &commit, 1, 0) != 1) ::_exit(kExitFailure);  // whoever started us was killed: it never ran for anybody
  ::close(report);
  const int status = standing->Wait();
  RemoveStandIn(found.directory);
  ::_exit(status);
}

absl::StatusOr<int> ExecDetached(Invocation& invocation, const Found& found, control::Request& request, const ExecOptions& options, int console, bool wait) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return SystemError("make a socket pair");
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const Child child = TRY_STATUS(CloneChild(0, [&] {
    ::close(ours.get());
    StandDetached(invocation, found, request, options, theirs.get(), console);
  }));
  theirs.Reset();
  std::string text(4096, '\0');
  ssize_t n = 0;
  while ((n = ::recv(ours.get(), text.data(), text.size(), 0)) < 0 && errno == EINTR) {
  }
  absl::Status status = absl::OkStatus();
  if (n <= 0 || text[0] != 'R') status = absl::FailedPreconditionError(n > 1 ? text.substr(1, static_cast<size_t>(n) - 1) : "the process could not be started");
  if (status.ok()) status = WritePidFile(options.pid_file, child.pid);
  if (!status.ok()) {
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
    return status;
  }
  ::send(ours.get(), "C", 1, MSG_NOSIGNAL);
  if (!wait) return 0;
  int wait_status = 0;
  while (::waitpid(child.pid, &wait_status, 0) < 0 && errno == EINTR) {
  }
  return ExitStatusOfWait(wait_status);
}

}  // namespace

CommandResult ExecCommand(Invocation& invocation) {
  ExecOptions options;
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "exec", ExecFlags(options)));
  if (words.empty()) return UsageError("exec: a container and a command are expected (see runsc help exec)");
  options.passed = TRY_STATUS(FdsToPass(options.preserve_fds, options.pass_fds));
  const Found found = TRY_STATUS(FindContainer(invocation, words[0], /*lock=*/false));
  TRY_STATUS(ConnectToRunning(found).status());
  const oci::Spec spec = TRY_STATUS(LoadSpec(found.directory));
  const oci::Process process = TRY_STATUS(ProcessToRun(options, words, spec));
  control::Request request = TRY_STATUS(RequestFor(invocation, process, spec, options));
  if (process.terminal && options.detach && options.console_socket.empty()) {
    return UsageError("exec: a detached process with a terminal needs --console-socket");
  }
  UniqueFd console;
  if (process.terminal && !options.console_socket.empty()) console = TRY_STATUS(MakeConsole(options.console_socket, process.console_size));
  if (options.detach || console.valid()) return ExecDetached(invocation, found, request, options, console.get(), !options.detach);
  Standing standing = TRY_STATUS(Stand(found));
  const int pid = TRY_STATUS(standing.Begin(request, options));
  TRY_STATUS(WriteInternalPid(options, pid));
  TRY_STATUS(WritePidFile(options.pid_file, ::getpid()));
  TRY_STATUS(BecomeStandIn(invocation, found, request));
  const int status = standing.Wait();
  RemoveStandIn(found.directory);
  return status;
}

}  // namespace rampart::runner
