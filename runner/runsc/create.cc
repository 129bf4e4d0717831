// create, start, run.
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "runner/namespaces/clone.h"
#include "runner/namespaces/mounts.h"
#include "runner/runsc/console.h"
#include "runner/runsc/container.h"
#include "runner/runsc/engine_log.h"
#include "runner/runsc/hooks.h"
#include "runner/runsc/network.h"
#include "runner/runsc/oom_notice.h"
#include "runner/util/files.h"
#include "runner/util/status.h"
#include "sentry/boot/control_api.pb.h"
#include "sentry/boot/control.h"

namespace rampart::runner {
namespace {

constexpr char kReady = 'R';  // the first byte of the monitor's report; else what follows is an error's text

Flags CreateFlags(CreateRequest& request) {
  Flags flags;
  flags.String("bundle", &request.bundle, "directory of config.json (default: the current one)");
  flags.Alias("b");
  flags.String("console-socket", &request.console_socket, "UNIX socket that the terminal's master is sent to");
  flags.String("pid-file", &request.pid_file, "file for the pid of the container's process on the host");
  flags.Int("preserve-fds", &request.preserve_fds, "hand descriptors 3 to 2+N to the container");
  flags.List("pass-fd", &request.pass_fds, "M:N: hand descriptor M to the container as N; may be repeated");
  flags.Ignored("no-pivot", true, "the container's root is never mounted on the host");
  flags.Ignored("no-new-keyring", true, "the sandbox has no keyrings");
  flags.Ignored("user-log", false, "there is no log for users");
  return flags;
}

// Standard streams stay as they are; everything else that this process was not made with is closed.
void KeepOnly(std::vector<int> keep) {
  std::sort(keep.begin(), keep.end());
  unsigned next = 3;
  for (const int fd : keep) {
    if (fd < static_cast<int>(next)) continue;
    if (static_cast<unsigned>(fd) > next) ::syscall(SYS_close_range, next, static_cast<unsigned>(fd) - 1, 0);
    next = static_cast<unsigned>(fd) + 1;
  }
  ::syscall(SYS_close_range, next, ~0u, 0);
}

// Engines find out by these words what to tell their users.
absl::Status StartError(const std::string& program, sentry::boot::StartFailure failure, int error, const std::string& text) {
  if (failure == sentry::boot::StartFailure::kNotFound) {
    return absl::NotFoundError(absl::StrCat("exec: \"", program, "\": executable file not found in $PATH: ", text));
  }
  if (failure == sentry::boot::StartFailure::kNotExecutable) {
    return absl::PermissionDeniedError(absl::StrCat("exec: \"", program, "\": ", error == EACCES ? "permission denied: " : "", text));
  }
  return absl::FailedPreconditionError(text);
}

void Report(int fd, const std::string& text) { ::send(fd, text.data(), std::min<size_t>(text.size(), 4000), MSG_NOSIGNAL); }

bool WantsNew(const oci::Spec& spec, const char* type) {
  const auto& all = spec.linux_config.namespaces;
  return std::any_of(all.begin(), all.end(), [&](const oci::Namespace& ns) { return ns.type == type && ns.path.empty(); });
}

struct MonitorFds {
  int report = -1;   // to the creator, and its life
  int listener = -1;
  int console = -1;  // slave; -1: none
};

// The life of a monitor that `create` leaves behind. Its exit status is the container's.
[[noreturn]] void RunMonitor(Invocation& invocation, Preparation& preparation, const MonitorFds& fds) {
  ::prctl(PR_SET_NAME, "runsc-monitor");
  invocation.title.Set(preparation.spec.process->args);  // engines' users know the container by it (docker top)
  const UniqueFd log = OpenEngineLog(invocation.config);
  std::vector<int> keep = {fds.report, fds.listener};
  for (const ForeignNamespace& ns : preparation.namespaces) keep.push_back(ns.fd.get());
  if (log.valid()) keep.push_back(log.get());
  for (const PassedFd& fd : preparation.options.pass_fds) keep.push_back(fd.here);
  if (fds.console >= 0) {
    if (const absl::Status taken = TakeConsole(fds.console); !taken.ok()) {
      Report(fds.report, absl::StrCat("E", taken.message()));
      ::_exit(kExitFailure);
    }
  } else {
    ::setsid();
  }
  KeepOnly(keep);
  const bool has_terminal = fds.console >= 0;
  const bool limited = preparation.plan.boot.limits.memory_bytes > 0;
  OomNotice oom;
  ContainerSetting setting;
  setting.listen_fd = fds.listener;
  setting.lifeline_fd = fds.report;
  setting.ready = [&] {
    // The streams are the sandbox's: whoever reads them waits for their last holder.
    const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (int fd = 0; fd <= 2 && null.valid() && !has_terminal; ++fd) ::dup2(null.get(), fd);
    for (const PassedFd& fd : preparation.options.pass_fds) ::close(fd.here);
    oom = OomNotice::Open(preparation.groups, /*limited=*/limited);
    // Engines join the namespaces of the container's process to look at its files (podman cp): they must not find the host's there.
    // A mount namespace that the configuration names is where it is expected then; one that asks for none is in the runtime's.
    const oci::Root& root = *preparation.spec.root;
    const absl::Status entered = WantsNew(preparation.spec, "mount") && root.path != "/" ? EnterTree(root.path, root.readonly) : absl::OkStatus();
    if (!entered.ok() && !absl::IsPermissionDenied(entered)) return entered;
    Report(fds.report, std::string(1, kReady));
    return absl::OkStatus();
  };
  setting.started = [&] { oom.Started(preparation.request.id); };
  const auto outcome = MonitorContainer(invocation, preparation, setting);
  if (!outcome.ok()) {
    Report(fds.report, absl::StrCat("E", outcome.status().message()));
    ::_exit(kExitFailure);
  }
  if (outcome->kind == Outcome::Kind::kExited && outcome->memory_kills > 0) oom.Give();
  const std::string& program = preparation.spec.process->args[0];
  std::string message = MessageOf(*outcome, program);
  if (outcome->kind == Outcome::Kind::kStartFailed) message = std::string(StartError(program, outcome->failure, outcome->error, message).message());
  if (!message.empty()) {
    Report(fds.report, absl::StrCat("E", message));
    // Why a program did not start, whoever asked for it says: engines believe the last line.
    if (outcome->kind != Outcome::Kind::kStartFailed) LogToEngine(invocation.config, log, outcome->kind == Outcome::Kind::kExited ? "warning" : "error", message);
  }
  ::_exit(ExitStatusOf(*outcome));
}

// Waits for the monitor's report: OK when the sandbox is ready.
absl::Status AwaitReady(int report) {
  std::string text(4096, '\0');
  ssize_t n = 0;
  while ((n = ::recv(report, text.data(), text.size(), 0)) < 0 && errno == EINTR) {
  }
  if (n > 0 && text[0] == kReady) return absl::OkStatus();
  if (n > 1) return absl::FailedPreconditionError(text.substr(1, static_cast<size_t>(n) - 1));
  return absl::FailedPreconditionError("the container's monitor ended without a word");
}

absl::Status RunCreateHooks(const oci::Spec& spec, const ContainerState& state, absl::Span<const ForeignNamespace> home) {
  const std::string text = StateJson(state, Status::kCreating);
  TRY_STATUS(RunHooks(spec.hooks.prestart, "prestart", text, home));
  TRY_STATUS(RunHooks(spec.hooks.create_runtime, "createRuntime", text, home));
  return RunHooks(spec.hooks.create_container, "createContainer", text, home);
}

// What is left to do when the sandbox is ready. An error leaves the rest to the caller.
absl::Status FinishCreation(const Preparation& preparation, Begun& begun, pid_t pid, absl::Span<const ForeignNamespace> home = {}) {
  begun.state.pid = pid;
  begun.state.pid_start = StartTimeOf(pid);
  TRY_STATUS(begun.directory.Store(begun.state));
  TRY_STATUS(RunCreateHooks(preparation.spec, begun.state, home));
  if (preparation.network_of_namespace && IsInNetworkOfContainer(preparation.spec)) TRY_STATUS(CheckNetworkOfProcess(pid));
  TRY_STATUS(WritePidFile(preparation.request.pid_file, pid));
  begun.state.status = Status::kCreated;
  return begun.directory.Store(begun.state);
}

}  // namespace

absl::Status CreateContainer(Invocation& invocation, CreateRequest request, const char* command) {
  Preparation preparation = TRY_STATUS(PrepareContainer(invocation, std::move(request), command));
  Begun begun = TRY_STATUS(BeginContainer(invocation, preparation));
  Found found{std::move(begun.directory), begun.state, Status::kCreating};
  const auto undo = [&](const absl::Status& status) {
    (void)DestroyContainer(found);
    return status;
  };
  UniqueFd console;
  if (!preparation.request.console_socket.empty()) {
    auto made = MakeConsole(preparation.request.console_socket, preparation.spec.process->console_size);
    if (!made.ok()) return undo(made.status());
    console = *std::move(made);
  }
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return undo(SystemError("make a socket pair"));
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const auto pid_namespace = std::find_if(preparation.namespaces.begin(), preparation.namespaces.end(), [](const ForeignNamespace& ns) { return ns.type == CLONE_NEWPID; });
  absl::StatusOr<Child> monitor = absl::UnknownError("");
  const absl::Status cloned = InPidNamespace(pid_namespace == preparation.namespaces.end() ? nullptr : &*pid_namespace, [&] {
    // An engine without rights on the host enters also the container's PID namespace (podman cp), which must then be one of its own.
    const uint64_t own = WantsNew(preparation.spec, "pid") && InUserNamespace() ? CLONE_NEWPID : 0;
    monitor = CloneChild(own, [&] { RunMonitor(invocation, preparation, {theirs.get(), begun.listener.get(), console.get()}); });
    return monitor.status();
  });
  if (!cloned.ok()) return undo(cloned);
  theirs.Reset();
  console.Reset();
  begun.listener.Reset();
  absl::Status status = AwaitReady(ours.get());
  if (status.ok()) {
    begun.directory = std::move(found.directory);
    status = FinishCreation(preparation, begun, monitor->pid);
    found.directory = std::move(begun.directory);
    found.state = begun.state;
  }
  if (status.ok()) {
    const char done = 1;
    ::send(ours.get(), &done, 1, MSG_NOSIGNAL);
    return status;
  }
  ::kill(monitor->pid, SIGKILL);
  ::waitpid(monitor->pid, nullptr, 0);
  return undo(status);
}

absl::Status StartContainer(const Invocation& invocation, const std::string& id) {
  Found found = TRY_STATUS(FindContainer(invocation, id, /*lock=*/true));
  if (found.status != Status::kCreated) {
    return absl::FailedPreconditionError(absl::StrCat("cannot start container '", id, "': it is ", StatusName(found.status), ", not created"));
  }
  const oci::Spec spec = TRY_STATUS(LoadSpec(found.directory));
  ControlClient client = TRY_STATUS(ControlClient::Connect(found.directory.SocketAddress()));
  control::Request request;
  control::Response response;
  request.mutable_start();
  const absl::Status started = client.Call(request, response);
  if (!started.ok()) {
    if (response.start().failure() == 0) return started;
    return StartError(spec.process->args[0], static_cast<sentry::boot::StartFailure>(response.start().failure()), client.last_errno(),
                      std::string(started.message()));
  }
  found.state.status = Status::kRunning;
  TRY_STATUS(found.directory.Store(found.state));
  if (const absl::Status hooks = RunHooks(spec.hooks.poststart, "poststart", StateJson(found.state, Status::kRunning)); !hooks.ok()) {
    LogToEngine(invocation.config, "warning", std::string(hooks.message()));  // as the specification asks
  }
  return absl::OkStatus();
}

CommandResult CreateCommand(Invocation& invocation) {
  CreateRequest request;
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "create", CreateFlags(request)));
  request.id = TRY_STATUS(OnlyId(words, "create"));
  TRY_STATUS(CreateContainer(invocation, std::move(request), "create"));
  return 0;
}

CommandResult StartCommand(Invocation& invocation) {
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "start", Flags()));
  const std::string id = TRY_STATUS(OnlyId(words, "start"));
  TRY_STATUS(StartContainer(invocation, id));
  return 0;
}

// In this process, whose terminal, job and signals are the container's, as with sentry-run.
static CommandResult RunInForeground(Invocation& invocation, CreateRequest request, bool keep) {
  Preparation preparation = TRY_STATUS(PrepareContainer(invocation, std::move(request), "run"));
  const oci::Spec spec = preparation.spec;
  const std::vector<ForeignNamespace> home = TRY_STATUS(HomeOfHooks(spec));
  Begun begun = TRY_STATUS(BeginContainer(invocation, preparation));
  Found found{std::move(begun.directory), begun.state, Status::kStopped};
  ContainerSetting setting;
  setting.listen_fd = begun.listener.get();
  setting.start_at_once = true;
  const std::string pid_file = preparation.request.pid_file;
  setting.ready = [&]() -> absl::Status {
    begun.directory = std::move(found.directory);
    const absl::Status status = FinishCreation(preparation, begun, ::getpid(), home);
    found.directory = std::move(begun.directory);
    found.state = begun.state;
    return status;
  };
  setting.started = [&] {
    found.state.status = Status::kRunning;
    (void)found.directory.Store(found.state);
    const absl::Status hooks = RunHooks(spec.hooks.poststart, "poststart", StateJson(found.state, Status::kRunning), home);
    if (!hooks.ok()) LogToEngine(invocation.config, "warning", std::string(hooks.message()));
    found.directory.Unlock();
  };
  const auto outcome = MonitorContainer(invocation, preparation, setting);
  for (const ForeignNamespace& ns : home) (void)EnterNamespace(ns);
  found.state.pid = 0;
  found.state.status = Status::kStopped;
  absl::Status removed = absl::OkStatus();
  if (keep) {
    removed = found.directory.Store(found.state);
  } else {
    removed = DestroyContainer(found);
  }
  if (!outcome.ok()) return outcome.status();
  if (const std::string message = MessageOf(*outcome, spec.process->args[0]); !message.empty()) {
    WriteAll(2, absl::StrCat("runsc: ", message, "\n"));
    LogToEngine(invocation.config, "error", message);
  }
  TRY_STATUS(std::move(removed));
  return outcome->kind == Outcome::Kind::kAbandoned ? kExitFailure : ExitStatusOf(*outcome);
}

CommandResult RunCommand(Invocation& invocation) {
  CreateRequest request;
  bool detach = false;
  bool keep = false;
  Flags flags = CreateFlags(request);
  flags.Bool("detach", &detach, "return when the container runs");
  flags.Alias("d");
  flags.Bool("keep", &keep, "do not delete the container when it has ended");
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "run", flags));
  request.id = TRY_STATUS(OnlyId(words, "run"));
  if (!detach && request.console_socket.empty()) return RunInForeground(invocation, std::move(request), keep);
  const std::string id = request.id;
  // The monitor is a child of ours as long as we live.
  TRY_STATUS(CreateContainer(invocation, std::move(request), "run"));
  if (const absl::Status started = StartContainer(invocation, id); !started.ok()) {
    auto found = FindContainer(invocation, id, /*lock=*/true);
    if (found.ok()) (void)DestroyContainer(*found);
    return started;
  }
  if (detach) return 0;
  const Found running = TRY_STATUS(FindContainer(invocation, id, /*lock=*/false));
  int status = 0;
  while (::waitpid(running.state.pid, &status, 0) < 0) {
    if (errno != EINTR) return SystemError("wait for the container");
  }
  if (!keep) {
    Found ended = TRY_STATUS(FindContainer(invocation, id, /*lock=*/true));
    TRY_STATUS(DestroyContainer(ended));
  }
  return ExitStatusOfWait(status);
}

}  // namespace rampart::runner
