#include "sentry/boot/control_server.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <thread>

#include "base/log.h"
#include "sentry/boot/control_api.pb.h"
#include "sentry/boot/control_frame.h"
#include "sentry/boot/control_report.h"
#include "sentry/boot/pod_container.h"
#include "sentry/fs/host/host_file.h"
#include "sentry/kernel/session.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/strace/trace_set.h"
#include "sentry/syscalls/dispatch.h"

namespace rampart::sentry::boot {
namespace {

// How many of them a limit of the host's amounts to, as the runner counts; 0: there is none.
uint32_t ProcessorsOf(const fs::cgroup::CpuMax& limit) {
  constexpr uint64_t kMost = 4096;
  const int64_t quota = limit.quota.load();
  const uint64_t period = limit.period.load();
  if (quota <= 0 || period == 0) return 0;
  return static_cast<uint32_t>(std::clamp<uint64_t>((static_cast<uint64_t>(quota) - 1) / period + 1, 1, kMost));
}

}  // namespace

struct ControlServer::Connection {
  explicit Connection(UniqueFd fd) : socket(std::move(fd)) {}

  void Send(const control::Response& response) {
    absl::MutexLock lock(&send_mu);
    const Result<void> sent = SendFrame(socket.get(), response.SerializeAsString());
    if (!sent.ok()) Log(LogLevel::kDebug, "control: an answer could not be sent: %s", ErrnoText(sent.error()));
  }

  const UniqueFd socket;
  absl::Mutex send_mu;
  ContainerPtr container;   // mu_ of the server: what it speaks about
  bool owns = false;        // likewise: the container lives as long as it
};

// One container. What is not immutable: under the server's mu_.
struct ControlServer::Container {
  uint32_t number = 0;
  std::unique_ptr<PodContainer> pod = nullptr;  // null: the sandbox's first
  RefPtr<kernel::ThreadGroup> init = nullptr;   // a pod's container that runs, or did
  bool exited = false;
  int status = 0;
  std::vector<InitWait> waits = {};
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
  ContainerPtr first_of;            // a pod's container whose first process it is; null: none
  wait::SleeperEntry entry;
};

namespace {

void Fail(control::Response& response, Errno error, std::string text) {
  response.set_error(static_cast<int>(error));
  response.set_text(std::move(text));
}
void Fail(control::Response& response, Errno error) { Fail(response, error, ErrnoText(error)); }

}  // namespace

ControlServer::ControlServer(Sandbox sandbox) : sandbox_(std::move(sandbox)), first_(std::make_shared<Container>()) {
  std::thread([this] { WatchLoop(); }).detach();
}

void ControlServer::Serve(UniqueFd socket) { ServeFor(std::move(socket), first_); }

void ControlServer::ServeFor(UniqueFd socket, ContainerPtr container) {
  {
    absl::MutexLock lock(&mu_);
    if (connections_ >= kMostConnections) return Log(LogLevel::kWarning, "control: too many connections");
    ++connections_;
  }
  auto connection = std::make_shared<Connection>(std::move(socket));
  {
    absl::MutexLock lock(&mu_);
    connection->container = std::move(container);
  }
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
  const ContainerPtr container = ContainerOf(*connection);
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
      return Signal(container, request, response);
    case Call::kWait:
      answered = Wait(connection, request, response);
      return;
    case Call::kExec:
      return Exec(connection, request.exec(), std::move(fds), response);
    case Call::kProcesses:
      return ReportProcesses(sandbox_.kernel, container->number, PidsOf(*container), *response.mutable_processes());
    case Call::kPause:
      if (!sandbox_.kernel.Pause()) Fail(response, Errno::kEAGAIN, "a process could not be stopped within a second");
      return;
    case Call::kResume:
      return sandbox_.kernel.Resume();
    case Call::kStats:
      return ReportStats(sandbox_.kernel, container->number, *response.mutable_stats());
    case Call::kResize:
      return Resize(container, request, response);
    case Call::kDebug:
      return Debug(request, response);
    case Call::kContainer:
      return MakeContainer(connection, request.container(), std::move(fds), response);
    case Call::kUpdate:
      return Update(container, request, response);
    case Call::kAdopt:
      if (fds.size() != 1) return Fail(response, Errno::kEINVAL, "one descriptor is expected");
      return ServeFor(std::move(fds[0]), container);
    case Call::CALL_NOT_SET:
      return Fail(response, Errno::kENOSYS, "this sandbox does not know the call");
  }
}

ControlServer::ContainerPtr ControlServer::ContainerOf(const Connection& connection) {
  absl::MutexLock lock(&mu_);
  return connection.container;
}

const kernel::PidNamespace& ControlServer::PidsOf(const Container& container) {
  return container.pod ? *container.pod->starter().pid_namespace() : *sandbox_.kernel.pid_namespace();
}

RefPtr<kernel::ThreadGroup> ControlServer::FindIn(const Container& container, int32_t pid) {
  if (pid == 0 && container.pod) {
    absl::MutexLock lock(&mu_);
    return container.init;
  }
  RefPtr<kernel::ThreadGroup> group = sandbox_.kernel.FindGroup(pid == 0 ? 1 : sandbox_.kernel.NumberOf(PidsOf(container), pid));
  if (group && group->container() != container.number) return nullptr;
  return group;
}

void ControlServer::Start(const std::shared_ptr<Connection>& connection, control::Response& response) {
  const ContainerPtr container = ContainerOf(*connection);
  const StartError error = container->pod ? StartPodContainer(container) : sandbox_.start();
  response.mutable_start();
  if (!error.ok()) {
    response.mutable_start()->set_failure(static_cast<uint32_t>(error.kind));
    Fail(response, error.error == Errno{} ? Errno::kEIO : error.error, error.text);
  }
  connection->Send(response);
  // Not what a second start has to say: the first still runs.
  if (!error.ok() && error.error == Errno::kEBUSY) return;
  if (!container->pod) return sandbox_.report_start(error);
  if (!error.ok()) ContainerEnded(container, abi::KilledStatus(abi::kSigKill, false));
}

StartError ControlServer::StartPodContainer(const ContainerPtr& container) {
  StartError error;
  if (sandbox_.kernel.paused()) return {StartFailure::kSandbox, Errno::kEAGAIN, "the sandbox is paused: resume it first"};
  const RefPtr<kernel::ThreadGroup> group = container->pod->Start(error);
  if (!group) return error;
  auto watched = std::make_unique<Watched>(group.ToRef(), nullptr, watch_sleeper_);
  watched->first_of = container;
  bool gone = false;
  {
    absl::MutexLock lock(&mu_);
    container->init = group;
    gone = container->exited;  // whoever owned it has gone meanwhile
    watched_.push_back(std::move(watched));
  }
  if (gone) (void)sandbox_.kernel.KillContainer(container->number);
  watch_sleeper_.Wake();  // it may have ended before it was watched
  return error;
}

Result<Ref<kernel::PidNamespace>> ControlServer::PidsToJoin(const std::string& id) {
  absl::MutexLock lock(&mu_);
  for (const std::weak_ptr<Container>& one : containers_) {
    const ContainerPtr container = one.lock();
    // What has a first process is not being made any more.
    if (container && container->init && !container->exited && container->pod->id() == id) return container->pod->starter().pid_namespace();
  }
  return Errno::kESRCH;
}

void ControlServer::MakeContainer(const std::shared_ptr<Connection>& connection, const control::ContainerRequest& wanted, std::vector<UniqueFd> fds,
                                  control::Response& response) {
  auto container = std::make_shared<Container>();
  {
    absl::MutexLock lock(&mu_);
    if (connection->container->pod || connection->owns) return Fail(response, Errno::kEINVAL, "this connection has a container already");
    std::erase_if(containers_, [](const std::weak_ptr<Container>& one) { return one.expired(); });
    if (containers_.size() >= kMostContainers) return Fail(response, Errno::kEAGAIN, "the sandbox has too many containers");
    container->number = next_container_++;
    containers_.push_back(container);
  }
  RefPtr<kernel::PidNamespace> pids;
  if (!wanted.pids_of().empty()) {
    const Result<Ref<kernel::PidNamespace>> found = PidsToJoin(wanted.pids_of());
    if (!found.ok()) return Fail(response, found.error(), "the container '" + wanted.pids_of() + "', whose PID namespace is asked for, does not run");
    pids = *found;
  }
  StartError error;
  container->pod = PodContainer::Create(sandbox_.kernel, sandbox_.shared, wanted, std::move(fds), container->number, std::move(pids), error);
  if (!container->pod) return Fail(response, error.error == Errno{} ? Errno::kEIO : error.error, error.text);
  absl::MutexLock lock(&mu_);
  connection->container = container;
  connection->owns = true;
}

void ControlServer::Signal(const ContainerPtr& container, const control::Request& request, control::Response& response) {
  const control::SignalRequest& wanted = request.signal();
  kernel::Kernel& kernel = sandbox_.kernel;
  const int signo = wanted.signal();
  if (signo < 0 || signo > abi::kSigMax) return Fail(response, Errno::kEINVAL, "there is no such signal");
  const abi::SigInfo info{.signo = signo, .code = abi::kSiUser};
  const RefPtr<kernel::ThreadGroup> group = FindIn(*container, wanted.pid());
  if (!group || group->exited()) return Fail(response, Errno::kESRCH, "no such process");
  const RefPtr<kernel::ThreadGroup> first = FindIn(*container, 0);
  if (wanted.all()) {
    for (const Ref<kernel::ThreadGroup>& one : kernel.Groups()) {
      if (signo == 0 || one->container() != container->number) continue;
      if (one.get() == first.get()) {
        kernel.SignalFromOutside(*one, signo);
      } else {
        (void)one->SendSignal(info);
      }
    }
    return;
  }
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
  if (group == first) return kernel.SignalFromOutside(*group, signo);
  const Result<void> sent = signo == 0 ? Ok() : group->SendSignal(info);
  if (!sent.ok()) Fail(response, sent.error());
}

void ControlServer::Exec(const std::shared_ptr<Connection>& connection, const control::ExecRequest& wanted, std::vector<UniqueFd> fds,
                         control::Response& response) {
  const ContainerPtr container = ContainerOf(*connection);
  const Program program = ProgramOf(wanted, container->pod ? container->pod->rlimits() : sandbox_.config.rlimits);
  if (const char* what = Malformed(program)) return Fail(response, Errno::kEINVAL, what);
  if (sandbox_.kernel.paused()) return Fail(response, Errno::kEAGAIN, "the container is paused: resume it first");
  if (container->pod && !FindIn(*container, 0)) return Fail(response, Errno::kESRCH, "the container has not been started");
  RefPtr<fs::HostTerminal> terminal;
  const Result<Ref<vfs::FdTable>> table = ProgramStarter::MakeFds(std::move(fds), {wanted.fds().begin(), wanted.fds().end()}, &terminal);
  if (!table.ok()) return Fail(response, table.error(), std::string("a descriptor: ") + ErrnoText(table.error()));
  StartError error;
  ProgramStarter& starter = container->pod ? container->pod->starter() : sandbox_.starter;
  const RefPtr<kernel::ThreadGroup> group = starter.Start(program, *table, program.terminal_is_controlling ? terminal : nullptr, ProgramStarter::Role::kFurther, error);
  if (!group) {
    response.mutable_exec()->set_failure(static_cast<uint32_t>(error.kind));
    return Fail(response, error.error == Errno{} ? Errno::kEIO : error.error, error.text);
  }
  response.mutable_exec()->set_pid(group->PidIn(PidsOf(*container)));
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
  const ContainerPtr container = ContainerOf(*connection);
  const kernel::PidNamespace& pids = PidsOf(*container);
  const abi::Pid number = request.wait().pid();
  const abi::Pid pid = sandbox_.kernel.NumberOf(pids, number);
  {
    absl::MutexLock lock(&mu_);
    const bool first = number == 0 || (number == 1 && !container->pod) || (container->init && container->init->PidIn(pids) == number);
    if (first) {
      if (container->exited) {
        response.mutable_wait()->set_status(container->status);
        return false;
      }
      container->waits.push_back({connection, request.id()});
      return true;
    }
    const auto found = std::find_if(watched_.begin(), watched_.end(), [&](const auto& one) { return one->group->pid() == pid; });
    if (found == watched_.end()) {
      const RefPtr<kernel::ThreadGroup> group = sandbox_.kernel.FindGroup(pid);
      Fail(response, group && group->container() == container->number ? Errno::kECHILD : Errno::kESRCH);
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
      const bool nobody_will_ask = one->detached || one->first_of || one->owner.expired();
      if (one->group->exited() && (one->awaited || nobody_will_ask)) ended.push_back(std::move(one));
    }
    std::erase(watched_, nullptr);
  }
  for (const auto& one : ended) {
    const std::shared_ptr<Connection> waiter = one->waiter.lock();
    if (one->first_of) ContainerEnded(one->first_of, one->group->exit_status());
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

void ControlServer::AnswerWaits(const std::vector<InitWait>& waits, int status) {
  for (const InitWait& wait : waits) {
    const std::shared_ptr<Connection> connection = wait.connection.lock();
    if (!connection) continue;
    control::Response response;
    response.set_id(wait.request);
    response.mutable_wait()->set_status(status);
    connection->Send(response);
  }
}

void ControlServer::InitExited(int status) {
  std::vector<InitWait> waits;
  {
    absl::MutexLock lock(&mu_);
    first_->exited = true;
    first_->status = status;
    waits.swap(first_->waits);
  }
  AnswerEnded();
  AnswerWaits(waits, status);
}

void ControlServer::ContainerEnded(const ContainerPtr& container, int status) {
  std::vector<InitWait> waits;
  {
    absl::MutexLock lock(&mu_);
    if (std::exchange(container->exited, true)) return;
    container->status = status;
    waits.swap(container->waits);
  }
  // As with the first process of a PID namespace.
  if (!sandbox_.kernel.KillContainer(container->number)) Log(LogLevel::kWarning, "processes of container %u do not end", container->number);
  AnswerWaits(waits, status);
}

// Whoever executed a command stands for it outside: with the one ends the other.
void ControlServer::Disconnected(const std::shared_ptr<Connection>& connection) {
  std::vector<Ref<kernel::ThreadGroup>> abandoned;
  ContainerPtr container;
  {
    absl::MutexLock lock(&mu_);
    --connections_;
    for (const auto& one : watched_) {
      if (one->owner.lock() != connection || one->detached) continue;
      one->owner.reset();
      abandoned.push_back(one->group);
    }
    std::erase_if(connection->container->waits, [&](const InitWait& wait) { return wait.connection.lock() == connection; });
    if (connection->owns) container = connection->container;
  }
  for (const Ref<kernel::ThreadGroup>& group : abandoned) {
    if (!group->exited()) group->Kill(abi::KilledStatus(abi::kSigKill, false));
  }
  if (container) ContainerEnded(container, abi::KilledStatus(abi::kSigKill, false));
  watch_sleeper_.Wake();
}

void ControlServer::Debug(const control::Request& request, control::Response& response) {
  if (request.debug().has_log_level()) {
    const int level = request.debug().log_level();
    if (level < static_cast<int>(LogLevel::kDebug) || level > static_cast<int>(LogLevel::kOff)) return Fail(response, Errno::kEINVAL);
    SetLogging(sandbox_.config.log_fd, static_cast<LogLevel>(level), "sentry");
  }
  if (request.debug().has_strace()) {
    const std::string& set = request.debug().strace();
    absl::StatusOr<strace::TraceSet> traced = set == "off" ? strace::TraceSet() : strace::ParseTraceSet(set == "all" ? "" : set);
    if (!traced.ok()) return Fail(response, Errno::kEINVAL, std::string(traced.status().message()));
    syscalls::SetTraced(*traced);
  }
  if (request.debug().tasks()) response.mutable_debug()->set_text(ReportTasks(sandbox_.kernel));
}

void ControlServer::Update(const ContainerPtr& container, const control::Request& request, control::Response& response) {
  const control::UpdateRequest& wanted = request.update();
  if (container->pod) return Fail(response, Errno::kEINVAL, "limits are the sandbox's");
  if (wanted.has_memory_bytes()) {
    const Result<void> set = sandbox_.kernel.memory_file()->SetLimit(wanted.memory_bytes());
    if (!set.ok()) return Fail(response, set.error(), "more memory than that is in use");
    sandbox_.kernel.memory_file()->Trim();  // what is kept for reuse counts on the host
  }
  if (wanted.has_tasks()) sandbox_.kernel.SetMaxTasks(wanted.tasks());
  if (wanted.has_cpu_quota()) sandbox_.shared.cpu_max().quota.store(wanted.cpu_quota());
  if (wanted.has_cpu_period()) sandbox_.shared.cpu_max().period.store(wanted.cpu_period());
  if (wanted.has_cpu_quota() || wanted.has_cpu_period()) sandbox_.kernel.SetCpus(ProcessorsOf(sandbox_.shared.cpu_max()));
}

void ControlServer::Resize(const ContainerPtr& container, const control::Request& request, control::Response& response) {
  const control::ResizeRequest& wanted = request.resize();
  const RefPtr<kernel::ThreadGroup> group = FindIn(*container, wanted.pid());
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
