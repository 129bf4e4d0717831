#include "sentry/boot/control_server.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <thread>

#include "base/log.h"
#include "sentry/boot/control_api.pb.h"
#include "sentry/boot/control_frame.h"
#include "sentry/boot/control_report.h"
#include "sentry/fs/host/host_file.h"
#include "sentry/kernel/session.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::sentry::boot {

struct ControlServer::Connection {
  explicit Connection(UniqueFd fd) : socket(std::move(fd)) {}

  void Send(const control::Response& response) {
    absl::MutexLock lock(&send_mu);
    const Result<void> sent = SendFrame(socket.get(), response.SerializeAsString());
    if (!sent.ok()) Log(LogLevel::kDebug, "control: an answer could not be sent: %s", ErrnoText(sent.error()));
  }

  const UniqueFd socket;
  absl::Mutex send_mu;
};

// A process that somebody started from outside.
struct ControlServer::Watched {
  Watched(Ref<kernel::ThreadGroup> process, RefPtr<fs::HostTerminal> console, wait::Sleeper& sleeper)
      : group(std::move(process)), terminal(std::move(console)), entry(sleeper) {
    group->exit_events().Register(entry, abi::kPollIn);
  }
  ~Watched() { group->exit_events().Unregister(entry); }

  const Ref<kernel::ThreadGroup> group;
  const RefPtr<fs::HostTerminal> terminal;
  std::weak_ptr<Connection> owner;  // who started it
  bool detached = false;
  bool awaited = false;             // by request `wait` of `waiter`
  std::weak_ptr<Connection> waiter;
  uint64_t wait = 0;
  wait::SleeperEntry entry;
};

namespace {

void Fail(control::Response& response, Errno error, std::string text) {
  response.set_error(static_cast<int>(error));
  response.set_text(std::move(text));
}
void Fail(control::Response& response, Errno error) { Fail(response, error, ErrnoText(error)); }

Program ProgramOf(const control::ExecRequest& wanted, const BootConfig& config) {
  Program program;
  program.argv.assign(wanted.args().begin(), wanted.args().end());
  program.environment.assign(wanted.env().begin(), wanted.env().end());
  program.cwd = wanted.cwd();
  program.umask = wanted.umask() & 0777;
  program.terminal_is_controlling = wanted.terminal();
  program.rlimits = config.rlimits;
  for (int i = 0; i < std::min(wanted.rlimits_size(), kRlimits); ++i) {
    const control::Rlimit& limit = wanted.rlimits(i);
    program.rlimits.resize(kRlimits);
    program.rlimits[static_cast<size_t>(i)] = {std::min(limit.soft(), limit.hard()), limit.hard()};
  }
  Identity& identity = program.identity;
  identity.uid = wanted.uid();
  identity.gid = wanted.gid();
  identity.groups.assign(wanted.groups().begin(), wanted.groups().end());
  identity.no_new_privs = wanted.no_new_privs();
  const control::Capabilities& sets = wanted.capabilities();
  identity.capabilities = {sets.effective(), sets.permitted(), sets.inheritable(), sets.bounding(), sets.ambient()};
  return program;
}

bool HasNul(const std::string& text) { return text.find('\0') != std::string::npos; }

const char* Malformed(const Program& program, size_t groups) {
  if (program.argv.empty() || program.argv[0].empty()) return "no program is named";
  if (program.cwd.empty() || program.cwd[0] != '/') return "the working directory must be absolute";
  if (groups > 65536) return "too many groups";
  if (std::any_of(program.argv.begin(), program.argv.end(), HasNul) || std::any_of(program.environment.begin(), program.environment.end(), HasNul) ||
      HasNul(program.cwd)) {
    return "a NUL byte";
  }
  return nullptr;
}

}  // namespace

ControlServer::ControlServer(Sandbox sandbox) : sandbox_(std::move(sandbox)) {
  std::thread([this] { WatchLoop(); }).detach();
}

void ControlServer::Serve(UniqueFd socket) {
  {
    absl::MutexLock lock(&mu_);
    if (connections_ >= kMostConnections) return Log(LogLevel::kWarning, "control: too many connections");
    ++connections_;
  }
  auto connection = std::make_shared<Connection>(std::move(socket));
  std::thread([this, connection = std::move(connection)] {
    ServeConnection(connection);
    Disconnected(connection);
  }).detach();
}

void ControlServer::ServeConnection(const std::shared_ptr<Connection>& connection) {
  while (true) {
    Result<Frame> frame = ReceiveFrame(connection->socket.get(), /*take_fds=*/true);
    if (!frame.ok()) {
      if (frame.error() != Errno::kEPIPE) Log(LogLevel::kWarning, "control: a connection ends: %s", ErrnoText(frame.error()));
      return;
    }
    Handle(connection, frame->message, std::move(frame->fds));
  }
}

void ControlServer::Handle(const std::shared_ptr<Connection>& connection, std::string_view message, std::vector<UniqueFd> fds) {
  control::Request request;
  control::Response response;
  if (!request.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    Fail(response, Errno::kEPROTO, "the request is malformed");
    return connection->Send(response);
  }
  response.set_id(request.id());
  bool answered = false;  // or will be, later
  Call(connection, request, std::move(fds), response, answered);
  if (!answered) connection->Send(response);
}

void ControlServer::Call(const std::shared_ptr<Connection>& connection, const control::Request& request, std::vector<UniqueFd> fds,
                         control::Response& response, bool& answered) {
  using Call = control::Request::CallCase;
  switch (request.call_case()) {
    case Call::kVersion:
      response.mutable_version()->set_protocol(kControlProtocol);
      response.mutable_version()->set_program("rampart 0.1.0");
      response.mutable_version()->set_platform(sandbox_.platform);
      return;
    case Call::kStart:
      answered = true;
      return Start(connection, response);
    case Call::kSignal:
      return Signal(request, response);
    case Call::kWait:
      answered = Wait(connection, request, response);
      return;
    case Call::kExec:
      return Exec(connection, request.exec(), std::move(fds), response);
    case Call::kProcesses:
      return Processes(response);
    case Call::kPause:
      if (!sandbox_.kernel.Pause()) Fail(response, Errno::kEAGAIN, "a process could not be stopped within a second");
      return;
    case Call::kResume:
      return sandbox_.kernel.Resume();
    case Call::kStats:
      return Stats(response);
    case Call::kResize:
      return Resize(request, response);
    case Call::kDebug:
      return Debug(request, response);
    case Call::CALL_NOT_SET:
      return Fail(response, Errno::kENOSYS, "this sandbox does not know the call");
  }
}

void ControlServer::Start(const std::shared_ptr<Connection>& connection, control::Response& response) {
  const StartError error = sandbox_.start();
  response.mutable_start();
  if (!error.ok()) {
    response.mutable_start()->set_failure(static_cast<uint32_t>(error.kind));
    Fail(response, error.error == Errno{} ? Errno::kEIO : error.error, error.text);
  }
  connection->Send(response);
  // Not what a second start has to say: the first still runs.
  if (error.ok() || error.error != Errno::kEBUSY) sandbox_.report_start(error);
}

void ControlServer::Signal(const control::Request& request, control::Response& response) {
  const control::SignalRequest& wanted = request.signal();
  kernel::Kernel& kernel = sandbox_.kernel;
  const int signo = wanted.signal();
  if (signo < 0 || signo > abi::kSigMax) return Fail(response, Errno::kEINVAL, "there is no such signal");
  const abi::SigInfo info{.signo = signo, .code = abi::kSiUser};
  if (wanted.all()) {
    for (const Ref<kernel::ThreadGroup>& group : kernel.Groups()) {
      if (group->pid() == 1) continue;
      if (signo != 0) (void)group->SendSignal(info);
    }
    return kernel.SignalInit(signo);
  }
  const abi::Pid pid = wanted.pid() == 0 ? 1 : wanted.pid();
  const RefPtr<kernel::ThreadGroup> group = kernel.FindGroup(pid);
  if (!group || group->exited()) return Fail(response, Errno::kESRCH, "no such process");
  if (wanted.foreground()) {
    const RefPtr<RefCounted> terminal = kernel::ControllingTerminal(*group);
    if (terminal && signo == abi::kSigHup) return kernel::HangUpTerminal(kernel, *terminal);
    if (terminal && kernel::SignalForeground(kernel, *terminal, signo)) return;
  }
  if (wanted.group()) {
    const Result<void> sent = kernel.SignalProcessGroup(group->ProcessGroupId(), info, nullptr);
    if (!sent.ok()) Fail(response, sent.error());
    return;
  }
  if (pid == 1) return kernel.SignalInit(signo);
  const Result<void> sent = signo == 0 ? Ok() : group->SendSignal(info);
  if (!sent.ok()) Fail(response, sent.error());
}

void ControlServer::Exec(const std::shared_ptr<Connection>& connection, const control::ExecRequest& wanted, std::vector<UniqueFd> fds,
                         control::Response& response) {
  const Program program = ProgramOf(wanted, sandbox_.config);
  if (const char* what = Malformed(program, program.identity.groups.size())) return Fail(response, Errno::kEINVAL, what);
  if (sandbox_.kernel.paused()) return Fail(response, Errno::kEAGAIN, "the container is paused: resume it first");
  RefPtr<fs::HostTerminal> terminal;
  const Result<Ref<vfs::FdTable>> table = ProgramStarter::MakeFds(std::move(fds), {wanted.fds().begin(), wanted.fds().end()}, &terminal);
  if (!table.ok()) return Fail(response, table.error(), std::string("a descriptor: ") + ErrnoText(table.error()));
  StartError error;
  const RefPtr<kernel::ThreadGroup> group = sandbox_.starter.Start(program, *table, program.terminal_is_controlling ? terminal : nullptr,
                                                                   /*first=*/false, error);
  if (!group) {
    response.mutable_exec()->set_failure(static_cast<uint32_t>(error.kind));
    return Fail(response, error.error == Errno{} ? Errno::kEIO : error.error, error.text);
  }
  response.mutable_exec()->set_pid(group->pid());
  auto watched = std::make_unique<Watched>(group.ToRef(), terminal, watch_sleeper_);
  watched->owner = connection;
  watched->detached = wanted.detach();
  {
    absl::MutexLock lock(&mu_);
    watched_.push_back(std::move(watched));
  }
  watch_sleeper_.Wake();  // it may have ended before it was watched
}

// False: answered at once, by `response`.
bool ControlServer::Wait(const std::shared_ptr<Connection>& connection, const control::Request& request, control::Response& response) {
  const abi::Pid pid = request.wait().pid();
  {
    absl::MutexLock lock(&mu_);
    if (pid == 0 || pid == 1) {
      if (init_exited_) {
        response.mutable_wait()->set_status(init_status_);
        return false;
      }
      init_waits_.push_back({connection, request.id()});
      return true;
    }
    const auto found = std::find_if(watched_.begin(), watched_.end(), [&](const auto& one) { return one->group->pid() == pid; });
    if (found == watched_.end()) {
      Fail(response, sandbox_.kernel.FindGroup(pid) ? Errno::kECHILD : Errno::kESRCH);
      return false;
    }
    if ((*found)->awaited) {
      Fail(response, Errno::kECHILD, "somebody waits for it already");
      return false;
    }
    (*found)->awaited = true;
    (*found)->waiter = connection;
    (*found)->wait = request.id();
  }
  watch_sleeper_.Wake();  // it may have ended before
  return true;
}

void ControlServer::WatchLoop() {
  for (;;) {
    AnswerEnded();
    (void)watch_sleeper_.SleepUninterruptible(Deadline::Never());
  }
}

void ControlServer::AnswerEnded() {
  std::vector<std::unique_ptr<Watched>> ended;
  {
    absl::MutexLock lock(&mu_);
    for (auto& one : watched_) {
      const bool nobody_will_ask = one->detached || one->owner.expired();
      if (one->group->exited() && (one->awaited || nobody_will_ask)) ended.push_back(std::move(one));
    }
    std::erase(watched_, nullptr);
  }
  for (const auto& one : ended) {
    const std::shared_ptr<Connection> waiter = one->waiter.lock();
    if (one->terminal) one->terminal->LetGo();
    if (one->awaited && waiter) {
      control::Response response;
      response.set_id(one->wait);
      response.mutable_wait()->set_status(one->group->exit_status());
      waiter->Send(response);
    }
    // Exited is told a moment before the process is a zombie; a number that stays in use is the worst that can come of it.
    for (int i = 0; i < 1000 && !sandbox_.kernel.Reap(*one->group); ++i) std::this_thread::yield();
  }
}

void ControlServer::InitExited(int status) {
  std::vector<InitWait> waits;
  {
    absl::MutexLock lock(&mu_);
    init_exited_ = true;
    init_status_ = status;
    waits.swap(init_waits_);
  }
  AnswerEnded();
  for (const InitWait& wait : waits) {
    const std::shared_ptr<Connection> connection = wait.connection.lock();
    if (!connection) continue;
    control::Response response;
    response.set_id(wait.request);
    response.mutable_wait()->set_status(status);
    connection->Send(response);
  }
}

// Whoever executed a command stands for it outside: with the one ends the other.
void ControlServer::Disconnected(const std::shared_ptr<Connection>& connection) {
  std::vector<Ref<kernel::ThreadGroup>> abandoned;
  {
    absl::MutexLock lock(&mu_);
    --connections_;
    for (const auto& one : watched_) {
      if (one->owner.lock() != connection || one->detached) continue;
      one->owner.reset();
      abandoned.push_back(one->group);
    }
    std::erase_if(init_waits_, [&](const InitWait& wait) { return wait.connection.lock() == connection; });
  }
  for (const Ref<kernel::ThreadGroup>& group : abandoned) {
    if (!group->exited()) group->Kill(abi::KilledStatus(abi::kSigKill, false));
  }
  watch_sleeper_.Wake();
}

void ControlServer::Processes(control::Response& response) { ReportProcesses(sandbox_.kernel, *response.mutable_processes()); }

void ControlServer::Stats(control::Response& response) {
  ReportStats(sandbox_.kernel, *response.mutable_stats());
}

void ControlServer::Debug(const control::Request& request, control::Response& response) {
  if (request.debug().has_log_level()) {
    const int level = request.debug().log_level();
    if (level < static_cast<int>(LogLevel::kDebug) || level > static_cast<int>(LogLevel::kOff)) return Fail(response, Errno::kEINVAL);
    SetLogging(sandbox_.config.log_fd, static_cast<LogLevel>(level), "sentry");
  }
  if (request.debug().tasks()) response.mutable_debug()->set_text(ReportTasks(sandbox_.kernel));
}

void ControlServer::Resize(const control::Request& request, control::Response& response) {
  const control::ResizeRequest& wanted = request.resize();
  const RefPtr<kernel::ThreadGroup> group = sandbox_.kernel.FindGroup(wanted.pid() == 0 ? 1 : wanted.pid());
  if (!group) return Fail(response, Errno::kESRCH, "no such process");
  if (wanted.rows() > UINT16_MAX || wanted.columns() > UINT16_MAX) return Fail(response, Errno::kEINVAL);
  const RefPtr<RefCounted> terminal = kernel::ControllingTerminal(*group);
  const auto* host = terminal ? dynamic_cast<const fs::HostTerminal*>(terminal.get()) : nullptr;
  const RefPtr<fs::HostInode> inode = host != nullptr ? host->inode() : nullptr;
  if (!inode) return Fail(response, Errno::kENOTTY, "it has no terminal of the host");
  winsize size{};
  size.ws_row = static_cast<uint16_t>(wanted.rows());
  size.ws_col = static_cast<uint16_t>(wanted.columns());
  if (::ioctl(inode->fd(), TIOCSWINSZ, &size) != 0) return Fail(response, ErrnoFromHost(errno));
  (void)kernel::SignalForeground(sandbox_.kernel, *terminal, abi::kSigWinch);
}

}  // namespace rampart::sentry::boot
