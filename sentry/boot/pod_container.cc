#include "sentry/boot/pod_container.h"

#include <algorithm>
#include <array>
#include <utility>

#include "abi/sched.h"
#include "sentry/boot/control_api.pb.h"
#include "sentry/boot/start_hooks.h"
#include "sentry/fs/host/host_file.h"

namespace rampart::sentry::boot {
namespace {

constexpr int kMostEntries = 4096;        // mounts, devices, paths
constexpr int kMostInstructions = 4096;   // BPF_MAXINSNS

bool HasNul(const std::string& text) { return text.find('\0') != std::string::npos; }
bool IsPath(const std::string& path) { return !path.empty() && path[0] == '/' && path.size() < 4096 && !HasNul(path); }

bool ReadMount(const control::ContainerMount& from, Mount& to) {
  static constexpr std::array<std::string_view, 8> kTypes = {"gofer", "tmpfs", "proc", "sysfs", "devtmpfs", "devpts", "mqueue", "cgroup2"};
  if (std::find(kTypes.begin(), kTypes.end(), from.type()) == kTypes.end() || !IsPath(from.destination())) return false;
  if (from.propagation() > static_cast<uint32_t>(MountPropagation::kUnbindable)) return false;
  to = {.type = from.type(),
        .destination = from.destination(),
        .attach = from.attach(),
        .source = from.source(),
        .shared = from.shared(),
        .attach_is_directory = !from.attach_is_file(),
        .readonly = from.readonly(),
        .nosuid = from.nosuid(),
        .nodev = from.nodev(),
        .noexec = from.noexec(),
        .noatime = from.noatime(),
        .nodiratime = from.nodiratime(),
        .strictatime = from.strictatime(),
        .nosymfollow = from.nosymfollow(),
        .propagation = static_cast<MountPropagation>(from.propagation()),
        .propagation_is_recursive = from.propagation_is_recursive(),
        .overlay = from.overlay(),
        .access = from.access_shared() ? FileAccess::kShared : FileAccess::kExclusive,
        .size_limit = from.size_limit(),
        .mode = from.mode() & 07777};
  return true;
}

// False: something in it cannot be meant.
bool ReadConfig(const control::ContainerRequest& request, BootConfig& config) {
  for (const int count : {request.mounts_size(), request.devices_size(), request.masked_paths_size(), request.readonly_paths_size(), request.start_hooks_size()}) {
    if (count > kMostEntries) return false;
  }
  if (request.mounts_size() == 0 || request.filter_size() > kMostInstructions) return false;
  for (const control::ContainerMount& mount : request.mounts()) {
    if (!ReadMount(mount, config.mounts.emplace_back())) return false;
  }
  for (const control::ContainerDevice& device : request.devices()) {
    if (!IsPath(device.path()) || device.kind() > static_cast<uint32_t>(DeviceKind::kFifo) || device.major() > 0xfff || device.minor() > 0xfffff) return false;
    config.devices.push_back({.path = device.path(),
                              .kind = static_cast<DeviceKind>(device.kind()),
                              .major = device.major(),
                              .minor = device.minor(),
                              .mode = device.mode() & 07777,
                              .uid = device.uid(),
                              .gid = device.gid()});
  }
  for (const control::StartHook& hook : request.start_hooks()) {
    StartHook& to = config.start_hooks.emplace_back();
    to.path = hook.path();
    to.argv.assign(hook.args().begin(), hook.args().end());
    to.environment.assign(hook.env().begin(), hook.env().end());
    to.timeout_seconds = hook.timeout_seconds();
    if (!IsPath(to.path) || std::any_of(to.argv.begin(), to.argv.end(), HasNul) || std::any_of(to.environment.begin(), to.environment.end(), HasNul)) return false;
  }
  config.hook_state_before = request.hook_state_before();
  config.hook_state_after = request.hook_state_after();
  config.masked_paths.assign(request.masked_paths().begin(), request.masked_paths().end());
  config.readonly_paths.assign(request.readonly_paths().begin(), request.readonly_paths().end());
  const auto all_paths = [](const std::vector<std::string>& paths) { return std::all_of(paths.begin(), paths.end(), IsPath); };
  return all_paths(config.masked_paths) && all_paths(config.readonly_paths);
}

std::vector<abi::SockFilter> FilterOf(const control::ContainerRequest& request) {
  std::vector<abi::SockFilter> filter;
  for (const uint64_t bits : request.filter()) {
    filter.push_back({static_cast<uint16_t>(bits), static_cast<uint8_t>(bits >> 16), static_cast<uint8_t>(bits >> 24), static_cast<uint32_t>(bits >> 32)});
  }
  return filter;
}

}  // namespace

Program ProgramOf(const control::ExecRequest& wanted, const std::vector<Rlimit>& defaults) {
  Program program;
  program.argv.assign(wanted.args().begin(), wanted.args().end());
  program.environment.assign(wanted.env().begin(), wanted.env().end());
  program.cwd = wanted.cwd();
  program.umask = wanted.umask() & 0777;
  program.terminal_is_controlling = wanted.terminal();
  program.rlimits = defaults;
  for (int i = 0; i < std::min(wanted.rlimits_size(), kRlimits); ++i) {
    const control::Rlimit& limit = wanted.rlimits(i);
    program.rlimits.resize(kRlimits);
    program.rlimits[static_cast<size_t>(i)] = {std::min(limit.soft(), limit.hard()), limit.hard()};
  }
  program.scheduling = {.policy = wanted.scheduling().policy(),
                        .nice = std::clamp(wanted.scheduling().nice(), -20, 19),
                        .reset_on_fork = wanted.scheduling().reset_on_fork(),
                        .io_priority = wanted.scheduling().io_priority(),
                        .personality = wanted.scheduling().personality(),
                        .oom_score_adj = std::clamp(wanted.scheduling().oom_score_adj(), -1000, 1000)};
  Identity& identity = program.identity;
  identity.uid = wanted.uid();
  identity.gid = wanted.gid();
  identity.groups.assign(wanted.groups().begin(), wanted.groups().end());
  identity.no_new_privs = wanted.no_new_privs();
  const control::Capabilities& sets = wanted.capabilities();
  identity.capabilities = {sets.effective(), sets.permitted(), sets.inheritable(), sets.bounding(), sets.ambient()};
  return program;
}

const char* Malformed(const Program& program) {
  if (program.argv.empty() || program.argv[0].empty()) return "no program is named";
  if (program.cwd.empty() || program.cwd[0] != '/') return "the working directory must be absolute";
  if (program.identity.groups.size() > 65536) return "too many groups";
  const Scheduling& scheduling = program.scheduling;
  if (scheduling.policy != abi::kSchedOther && scheduling.policy != abi::kSchedBatch && scheduling.policy != abi::kSchedIdle) return "a scheduling policy that is not there";
  if (scheduling.io_priority < 0 || scheduling.io_priority >= 4 << 13 || (scheduling.io_priority & 0x1fff) > 7) return "an I/O priority that is not there";
  if (std::any_of(program.argv.begin(), program.argv.end(), HasNul) || std::any_of(program.environment.begin(), program.environment.end(), HasNul) ||
      HasNul(program.cwd)) {
    return "a NUL byte";
  }
  return nullptr;
}

std::unique_ptr<PodContainer> PodContainer::Create(kernel::Kernel& kernel, SharedFilesystems& shared, const control::ContainerRequest& request,
                                                   std::vector<UniqueFd> fds, uint32_t number, RefPtr<kernel::PidNamespace> pids,
                                                   StartError& error) {
  const auto fail = [&](Errno code, std::string text) {
    error = {StartFailure::kSandbox, code, std::move(text)};
    return nullptr;
  };
  auto container = std::unique_ptr<PodContainer>(new PodContainer(number, request.id()));
  BootConfig& config = container->config_;
  static_cast<Program&>(config) = ProgramOf(request.program(), {});
  if (const char* what = Malformed(config)) return fail(Errno::kEINVAL, what);
  if (!ReadConfig(request, config)) return fail(Errno::kEINVAL, "the container's configuration is malformed");
  if (fds.empty()) return fail(Errno::kEBADF, "the gofer's channel is missing");
  MountContext context{kernel, shared};
  context.pid_namespace = request.own_pids() ? MakeRef<kernel::PidNamespace>(kernel.pid_namespace()) : std::move(pids);
  Result<Ref<fs::GoferConnection>> gofer = fs::GoferConnection::Create(std::move(fds[0]));
  if (!gofer.ok()) return fail(gofer.error(), std::string("the gofer does not answer: ") + ErrnoText(gofer.error()));
  context.gofer = *gofer;
  fds.erase(fds.begin());
  MountFailure mount_failure{};
  const RefPtr<vfs::MountNamespace> mounts = BuildMounts(config, context, &mount_failure);
  if (!mounts) return fail(mount_failure.error, mount_failure.text);
  RefPtr<fs::HostTerminal> terminal;
  const control::ExecRequest& program = request.program();
  Result<Ref<vfs::FdTable>> table = ProgramStarter::MakeFds(std::move(fds), {program.fds().begin(), program.fds().end()}, &terminal);
  if (!table.ok()) return fail(table.error(), std::string("a descriptor: ") + ErrnoText(table.error()));
  {
    absl::MutexLock lock(&container->mu_);
    container->fds_ = *table;
    if (config.terminal_is_controlling) container->terminal_ = terminal;
  }
  const bool limited = kernel.memory_file()->usage().limit_bytes != 0;
  container->starter_ = std::make_unique<ProgramStarter>(kernel, mounts.ToRef(), FilterOf(request), limited, /*sets_home=*/true, number,
                                                          context.pid_namespace);
  return container;
}

RefPtr<kernel::ThreadGroup> PodContainer::Start(StartError& error) {
  RefPtr<vfs::FdTable> fds;
  RefPtr<fs::HostTerminal> terminal;
  {
    absl::MutexLock lock(&mu_);
    fds = std::exchange(fds_, nullptr);
    terminal = terminal_;
  }
  if (!fds) {
    error = {StartFailure::kSandbox, Errno::kEBUSY, "the container has been started before"};
    return nullptr;
  }
  abi::Pid pid = 0;
  error = RunStartHooks(config_, *starter_, pid);
  if (!error.ok()) return nullptr;
  return starter_->Start(config_, fds.ToRef(), terminal, ProgramStarter::Role::kContainerFirst, error, pid);
}

}  // namespace rampart::sentry::boot
