#include "sentry/boot/boot.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <thread>

#include "base/host.h"
#include "base/log.h"
#include "base/time.h"
#include "platform/registry/registry.h"
#include "sentry/boot/control_channel.h"
#include "sentry/boot/control_server.h"
#include "sentry/boot/filesystems.h"
#include "sentry/boot/mounts.h"
#include "sentry/boot/program_starter.h"
#include "sentry/boot/start_hooks.h"
#include "sentry/fs/dev/memory_devices.h"
#include "sentry/fs/host/host_events.h"
#include "sentry/fs/host/host_file.h"
#include "sentry/fs/pipe/pipe_file.h"
#include "sentry/fs/tty/devpts.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/namespaces.h"
#include "sentry/kernel/session.h"
#include "sentry/loader/vdso.h"
#include "sentry/kernel/introspect.h"
#include "sentry/mm/memory_file.h"
#include "sentry/mm/statistics.h"
#include "sentry/net/socket/stream_queue.h"
#include "sentry/strace/trace_set.h"
#include "sentry/syscalls/dispatch.h"
#include "sentry/vfs/dentry_cache.h"
#include "sentry/vfs/operations.h"

namespace rampart::sentry::boot {
namespace {

using Failure = StartError;

std::string With(const char* what, Errno error) { return std::string(what) + ": " + ErrnoText(error); }

// Cached names, of perhaps 700 bytes each with their inodes, take a tenth of the memory at most.
size_t DentriesFor(uint64_t memory_bytes) { return std::clamp<uint64_t>(memory_bytes / 8192, 4096, 65536); }

// Everything of one sandbox, in order of making.
class Sandbox {
 public:
  Sandbox(const BootConfig& config, const BootHooks& hooks) : config_(config), hooks_(hooks), control_(config.control_fd) {}

  // True: the first program runs.
  bool Start(Failure& failure);
  // A container's: true when it can be started. Then whether it was, when it has been tried.
  bool Prepare(Failure& failure);
  bool WaitForStart();
  int Wait() { return kernel_->WaitForInit(); }
  // Tells the clients that wait for it.
  void TellEnd(int status) {
    if (server_) server_->InitExited(status);
  }
  ControlChannel& control() { return control_; }
  kernel::Kernel& kernel() { return *kernel_; }
  const platform::PlatformInfo& platform() const { return *platform_; }
  const std::string& passed_over() const { return passed_over_; }
  uint64_t gofer_requests() const { return gofer_ ? gofer_->client().requests() : 0; }

 private:
  bool MakeKernel(Failure& failure);
  bool MakeFiles(Failure& failure);
  bool Confine(Failure& failure);
  bool StartFirstProgram(Failure& failure, abi::Pid pid = 0);
  void ReadControl();
  // The container's first program, once; and what came of it, to the runner.
  StartError StartContainer();
  void ReportStart(const StartError& failure);
  void TakeSignal(int signo, SignalTarget target);
  void ReportStop(int signo);

  const BootConfig& config_;
  const BootHooks& hooks_;
  ControlChannel control_;
  const platform::PlatformInfo* platform_ = nullptr;
  std::string passed_over_;  // why not a better platform
  std::unique_ptr<kernel::Kernel> kernel_;
  SharedFilesystems shared_;
  RefPtr<vfs::MountNamespace> mounts_;
  RefPtr<vfs::FdTable> fds_;
  RefPtr<fs::GoferConnection> gofer_;  // null: no mount needs one
  std::unique_ptr<ProgramStarter> starter_;
  ControlServer* server_ = nullptr;  // containers only; never destroyed, as this
  absl::Mutex start_mu_;
  bool start_asked_ ABSL_GUARDED_BY(start_mu_) = false;
  enum class Begun : uint8_t { kNo, kYes, kFailed } begun_ ABSL_GUARDED_BY(start_mu_) = Begun::kNo;
  fs::HostTerminals terminals_;
  RefPtr<fs::HostTerminal> console_;  // the controlling terminal of the first session
};

bool Sandbox::MakeKernel(Failure& failure) {
  std::string why;
  platform_ = platform::ChoosePlatform(config_.platform.empty() ? "auto" : config_.platform, &why);
  if (platform_ == nullptr) return failure.text = why, false;
  Log(LogLevel::kInfo, "platform: %s%s%s", platform_->name, why.empty() ? "" : ", because: ", why.c_str());
  passed_over_ = why;
  Result<std::unique_ptr<platform::Platform>> platform = platform_->create();
  if (!platform.ok()) return failure.text = With("the platform cannot be made", platform.error()), false;
  Result<UniqueFd> memory_fd = FdFromHost(::memfd_create("rampart-memory", MFD_CLOEXEC));
  if (!memory_fd.ok()) return failure.text = With("memfd_create", memory_fd.error()), false;
  Result<Ref<mm::MemoryFile>> memory = mm::MemoryFile::Create(std::move(*memory_fd), config_.limits.memory_bytes);
  if (config_.limits.memory_bytes != 0) vfs::DentryCache::SetLimit(DentriesFor(config_.limits.memory_bytes));
  if (!memory.ok()) return failure.text = With("the memory file cannot be made", memory.error()), false;
  Result<Ref<loader::Vdso>> vdso = loader::Vdso::Create(*memory, config_.host_clock_is_tsc);
  if (!vdso.ok()) return failure.text = With("the vDSO cannot be made", vdso.error()), false;
  kernel::KernelConfig kernel_config{.memory_file = *memory,
                                     .platform = std::move(*platform),
                                     .vdso = *vdso,
                                     .hooks = {.dispatch = &syscalls::Dispatch, .may_be_answered = !config_.strace},
                                     .limits = {.max_tasks = config_.limits.pids, .cpus = config_.limits.cpus},
                                     .protect_init = config_.container,
                                     .hostname = config_.hostname.empty() ? "rampart" : config_.hostname};
  Result<std::unique_ptr<kernel::Kernel>> kernel = kernel::Kernel::Create(std::move(kernel_config));
  if (!kernel.ok()) return failure.text = With("the kernel cannot be made", kernel.error()), false;
  kernel_ = std::move(*kernel);
  net::SetStreamTimers(kernel_->timers());
  if (!config_.domainname.empty()) kernel_->namespaces().uts->SetDomainname(config_.domainname);
  return true;
}

bool Sandbox::MakeFiles(Failure& failure) {
  fs::RegisterMemoryDevices();
  fs::RegisterPipes();
  RegisterFilesystems(*kernel_);
  vfs::DeviceRegistry::Get().Register(vfs::FileType::kCharDevice, 5, 0, 1, &fs::tty::OpenDevTty, nullptr);
  vfs::DeviceRegistry::Get().Register(vfs::FileType::kCharDevice, 5, 2, 1, &fs::tty::OpenDevPtmx, nullptr);
  if (const Result<void> poller = fs::StartHostPoller(); !poller.ok()) return failure.text = With("the poller thread", poller.error()), false;
  shared_.cpu_max().quota.store(config_.limits.cpu_quota);
  shared_.cpu_max().period.store(config_.limits.cpu_period);
  MountContext context{*kernel_, shared_};
  if (config_.gofer_fd >= 0) {
    Result<Ref<fs::GoferConnection>> gofer = fs::GoferConnection::Create(UniqueFd(config_.gofer_fd));
    if (!gofer.ok()) return failure.text = With("the gofer does not answer", gofer.error()), false;
    context.gofer = *gofer;
    gofer_ = *gofer;
  }
  MountFailure mount_failure{};
  mounts_ = BuildMounts(config_, context, &mount_failure);
  if (!mounts_) return failure.text = mount_failure.text, failure.error = mount_failure.error, false;
  fds_ = MakeRef<vfs::FdTable>();
  for (const DonatedFile& file : config_.files) {
    Result<Ref<vfs::FileDescription>> description = fs::NewHostFile(UniqueFd(file.host_fd), &terminals_);
    if (!description.ok()) return failure.text = With("a donated file", description.error()), false;
    const auto installed = fds_->InstallAt(Fd{file.guest_fd}, *description, false, uint64_t{1} << 20);
    if (!installed.ok()) return failure.text = With("a donated file", installed.error()), false;
  }
  for (const Ref<fs::HostTerminal>& terminal : terminals_.all()) {
    if (const auto index = terminal->pts_index()) fs::tty::ShowHostTerminal(*index, terminal->inode().ToRef());
  }
  return true;
}

bool Sandbox::StartFirstProgram(Failure& failure, abi::Pid pid) {
  return starter_->Start(config_, fds_.ToRef(), console_, ProgramStarter::Role::kInit, failure, pid) != nullptr;
}

// As the terminal or somebody outside would have given it to the command itself.
void Sandbox::TakeSignal(int signo, SignalTarget target) {
  if (target == SignalTarget::kForeground && console_) {
    if (signo == abi::kSigHup) return kernel::HangUpTerminal(*kernel_, *console_);
    if (kernel::SignalForeground(*kernel_, *console_, signo)) return;
  }
  kernel_->SignalInit(signo);
}

void Sandbox::ReportStop(int signo) {
  if (console_) console_->ForgetAnswer();
  control_.Send(signo == 0 ? ControlType::kContinued : ControlType::kStopped, static_cast<uint32_t>(signo));
}

bool Sandbox::Confine(Failure& failure) {
  if (config_.argv.empty()) return failure.text = "the configuration names no program", false;
  if (!MakeKernel(failure) || !MakeFiles(failure)) return false;
  kernel_->SetStopObserver([this](int signo) { ReportStop(signo); });
  if (config_.terminal_is_controlling) console_ = terminals_.first();
  if (console_) console_->SetAsk([this] { control_.Send(ControlType::kTerminalQuestion); });
  std::vector<abi::SockFilter> filter;
  for (const FilterInstruction& one : config_.filter) filter.push_back({one.code, one.if_true, one.if_false, one.value});
  starter_ = std::make_unique<ProgramStarter>(*kernel_, mounts_.ToRef(), std::move(filter), config_.limits.memory_bytes != 0, config_.container);
  if (!hooks_.confine) return true;
  const std::string error = hooks_.confine(*platform_);
  if (!error.empty()) return failure.text = error, false;
  return true;
}

void Sandbox::ReadControl() {
  ControlChannel::Handlers handlers{
      .signal = [this](int signo, SignalTarget target) { TakeSignal(signo, target); },
      .terminal = [this](TerminalPlace place) { if (console_) console_->Answer(static_cast<fs::HostTerminal::Place>(place)); },
      .connection = nullptr,
      .start = nullptr,
      .gone = [this] { kernel_->KillAll(); }};
  if (server_) {
    handlers.connection = [this](UniqueFd connection) { server_->Serve(std::move(connection)); };
    // Hooks take their time, in which signals and the runner's end are to be heard of.
    handlers.start = [this] { std::thread([this] { ReportStart(StartContainer()); }).detach(); };
    handlers.gone = [] { ::_exit(1); };  // also when nothing has been started, or everything is paused
  }
  control_.StartReader(std::move(handlers));
}

bool Sandbox::Start(Failure& failure) {
  if (!Confine(failure) || !StartFirstProgram(failure)) return false;
  control_.Send(ControlType::kStarted);
  ReadControl();
  return true;
}

bool Sandbox::Prepare(Failure& failure) {
  if (!Confine(failure)) return false;
  if (config_.program_must_exist) {
    failure = starter_->Check(config_);
    if (!failure.ok()) return false;
  }
  server_ = new ControlServer(ControlServer::Sandbox{.kernel = *kernel_,
                                                                   .starter = *starter_,
                                                                   .shared = shared_,
                                                                   .config = config_,
                                                                   .platform = platform_->name,
                                                                   .start = [this] { return StartContainer(); },
                                                                   .report_start = [this](const StartError& error) { ReportStart(error); }});
  ReadControl();
  control_.Send(ControlType::kReady);
  return true;
}

StartError Sandbox::StartContainer() {
  {
    absl::MutexLock lock(&start_mu_);
    if (std::exchange(start_asked_, true)) return {StartFailure::kSandbox, Errno::kEBUSY, "the container has been started before"};
  }
  abi::Pid pid = 0;
  Failure failure = RunStartHooks(config_, *starter_, pid);
  if (!failure.ok()) return failure;
  return StartFirstProgram(failure, pid) ? Failure{} : failure;
}

void Sandbox::ReportStart(const StartError& failure) {
  if (failure.ok()) {
    control_.Send(ControlType::kStarted);
  } else {
    control_.Send(ControlType::kStartFailed, static_cast<uint32_t>(failure.kind), static_cast<uint32_t>(failure.error), failure.text);
  }
  absl::MutexLock lock(&start_mu_);
  begun_ = failure.ok() ? Begun::kYes : Begun::kFailed;
}

bool Sandbox::WaitForStart() {
  absl::MutexLock lock(&start_mu_);
  start_mu_.Await(absl::Condition(+[](Begun* begun) { return *begun != Begun::kNo; }, &begun_));
  return begun_ == Begun::kYes;
}

// As much of `text` as fits, with a NUL.
template <size_t kSize>
void CopyText(char (&to)[kSize], std::string_view text) {
  const size_t size = std::min(text.size(), kSize - 1);
  std::memcpy(to, text.data(), size);
  to[size] = 0;
}

// The end of a sandbox's numbers, for --stats.
void SendStats(const BootConfig& config, Sandbox& sandbox, Nanos begun, Nanos started) {
  if (config.stats_fd < 0) return;
  kernel::Kernel& kernel = sandbox.kernel();
  auto report = std::make_unique<StatsReport>();
  report->wall_nanos = static_cast<uint64_t>(MonotonicNow() - begun);
  report->boot_nanos = static_cast<uint64_t>(started - begun);
  const platform::PlatformStats platform = kernel.platform().stats();
  report->switches = platform.switches;
  report->host_calls = platform.host_calls;
  report->injected_calls = platform.injected_calls;
  report->helper_processes = platform.helper_processes;
  report->answered_calls = platform.answered_calls;
  report->inner_faults = platform.inner_faults;
  CopyText(report->platform, sandbox.platform().name);
  CopyText(report->platform_reason, sandbox.passed_over());
  const kernel::ResourceTotals usage = kernel::UsageOfTheGone(kernel);
  report->user_nanos = static_cast<uint64_t>(usage.user_time);
  report->system_nanos = static_cast<uint64_t>(usage.system_time);
  report->faults = usage.minor_faults;
  report->faults_copied = mm::CopiedOnWrite();
  report->gofer_requests = sandbox.gofer_requests();
  report->tasks_created = kernel.forks() + 1;
  report->memory_peak_bytes = mm::PeakMemoryBytes();
  std::vector<syscalls::SyscallStat> stats(abi::kMaxSysno + 1);
  syscalls::ReadSyscallStats(stats);
  for (size_t i = 0; i < stats.size(); ++i) report->syscalls[i] = {stats[i].calls, stats[i].errors, stats[i].nanos};
  [[maybe_unused]] const ssize_t written = ::write(config.stats_fd, report.get(), sizeof(*report));
}

}  // namespace

int RunSandbox(const BootConfig& config, const BootHooks& hooks) {
  const Nanos begun = MonotonicNow();
  HostMemoryBytes();  // while the host may still be asked
  syscalls::DispatchOptions dispatch;
  dispatch.stats = config.stats_fd >= 0;
  dispatch.strace = config.strace;
  ControlChannel early(config.control_fd);
  if (config.strace) {
    absl::StatusOr<strace::TraceSet> traced = strace::ParseTraceSet(config.strace_set);
    if (!traced.ok()) {
      const std::string text = "--strace: " + std::string(traced.status().message());
      return early.Send(ControlType::kStartFailed, static_cast<uint32_t>(StartFailure::kSandbox), 0, text) ? 0 : 1;
    }
    dispatch.traced = *traced;
  }
  syscalls::ConfigureDispatch(dispatch);
  // Never destroyed: threads of the pool may still be on their way out when the process ends.
  auto* sandbox = new Sandbox(config, hooks);
  Failure failure;
  if (config.container ? !sandbox->Prepare(failure) : !sandbox->Start(failure)) {
    Log(LogLevel::kInfo, "start failed: %s", failure.text.c_str());
    const bool told = sandbox->control().Send(ControlType::kStartFailed, static_cast<uint32_t>(failure.kind), static_cast<uint32_t>(failure.error), failure.text);
    return told ? 0 : 1;
  }
  if (config.container && !sandbox->WaitForStart()) {
    wait::Sleeper forever;  // the runner ends this process when it has heard why
    for (;;) (void)forever.SleepUninterruptible(Deadline::Never());
  }
  const Nanos started = MonotonicNow();
  const int status = sandbox->Wait();
  sandbox->TellEnd(status);
  SendStats(config, *sandbox, begun, started);
  const auto kills = static_cast<uint32_t>(sandbox->kernel().out_of_memory_kills());
  return sandbox->control().Send(ControlType::kExited, static_cast<uint32_t>(status), kills) ? 0 : 1;
}

}  // namespace rampart::sentry::boot
