#include "runner/sandbox/launcher.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/time.h"
#include "runner/cgroup/cgroup.h"
#include "runner/monitor/janitor.h"
#include "runner/monitor/terminal.h"
#include "runner/namespaces/idmapped_tree.h"
#include "runner/sandbox/child_config.h"
#include "runner/sandbox/plan.h"
#include "runner/sandbox/spawn.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

constexpr uint32_t kNobody = 65534;

// Descriptors of the children, beyond those of child_config.h.
constexpr int kChannelFd = 5;
constexpr int kLogFd = 6;
constexpr int kStatsFd = 7;
constexpr int kFirstPassedFd = 8;
constexpr int kFirstTreeFd = 6;  // of the gofer

struct Pair {
  UniqueFd ours;
  UniqueFd theirs;
};

absl::StatusOr<Pair> MakePair(int type) {
  int ends[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) return SystemError("make a socket pair");
  return Pair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

void KillAndReap(const Child& child) {
  ::syscall(SYS_pidfd_send_signal, child.pidfd.get(), SIGKILL, nullptr, 0);
  siginfo_t info{};
  while (::waitid(P_PIDFD, static_cast<id_t>(child.pidfd.get()), &info, WEXITED) != 0 && errno == EINTR) {
  }
}

// A started child that is killed and reaped unless somebody takes it.
class ChildGuard {
 public:
  explicit ChildGuard(Child child) : child_(std::move(child)) {}
  ChildGuard(ChildGuard&& other) noexcept : child_(std::move(other.child_)), taken_(std::exchange(other.taken_, true)) {}
  ChildGuard& operator=(ChildGuard&&) = delete;
  ~ChildGuard() {
    if (!taken_) KillAndReap(child_);
  }
  const Child& get() const { return child_; }
  void Take() { taken_ = true; }
  Child TakeChild() {
    taken_ = true;
    return std::move(child_);
  }

 private:
  Child child_;
  bool taken_ = false;
};

// Everything of a sandbox that this process holds.
struct Resources {
  Pair control;   // runner ↔ sentry
  Pair report;    // runner ↔ gofer
  Pair channel;   // sentry ("ours") ↔ gofer ("theirs")
  Pair stats;     // read ("ours") and write end
  UniqueFd log;
  UniqueFd null;
};

absl::StatusOr<Resources> OpenResources(const SandboxOptions& options) {
  Resources out;
  out.control = TRY_STATUS(MakePair(SOCK_SEQPACKET));
  out.report = TRY_STATUS(MakePair(SOCK_SEQPACKET));
  out.channel = TRY_STATUS(MakePair(SOCK_SEQPACKET));
  if (options.stats) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return SystemError("make a pipe");
    out.stats = {UniqueFd(ends[0]), UniqueFd(ends[1])};
  }
  out.null = UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!out.null.valid()) return SystemError("open /dev/null");
  if (options.debug_log.empty()) {
    out.log = UniqueFd(::fcntl(options.quiet ? out.null.get() : 2, F_DUPFD_CLOEXEC, 3));
  } else {
    out.log = UniqueFd(::open(options.debug_log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!out.log.valid()) return SystemError(absl::StrCat("open the debug log '", options.debug_log, "'"));
  }
  return out;
}

absl::StatusOr<ChildGuard> SpawnGuarded(const char* name, const std::string& config, std::vector<Donation> donations) {
  const UniqueFd stored = TRY_STATUS(StoreConfig(config));
  donations.push_back({stored.get(), kConfigFd});
  Child child = TRY_STATUS(Spawn(name, donations));
  return absl::StatusOr<ChildGuard>(absl::in_place, std::move(child));
}

absl::StatusOr<ChildGuard> SpawnGofer(const Plan& plan, const IdMaps& maps, const Resources& resources, int log_level) {
  const bool unmapped = std::none_of(maps.uids.begin(), maps.uids.end(), [](const IdRange& range) { return ::geteuid() - range.outside < range.count; });
  GoferChild config{plan.gofer_capabilities, unmapped, kChannelFd, log_level, plan.gofer_labels, plan.exports};
  std::vector<Donation> donations = {{resources.null.get(), 0},
                                     {resources.null.get(), 1},
                                     {resources.log.get(), 2},
                                     {resources.report.theirs.get(), kReportFd},
                                     {resources.channel.theirs.get(), kChannelFd}};
  // Only here, as somebody who may: in the gofer's user namespace nobody may map the owners of the host's files.
  std::vector<UniqueFd> trees;
  for (GoferExport& one : config.exports) {
    if (one.owners.uids.empty()) continue;
    trees.push_back(TRY_STATUS(CopyTreeMapped(one.path, one.owners, one.owners_below)));
    one.tree = kFirstTreeFd + static_cast<int>(trees.size()) - 1;
    donations.push_back({trees.back().get(), one.tree});
  }
  return SpawnGuarded(kGoferName, Encode(config), std::move(donations));
}

absl::StatusOr<ChildGuard> SpawnSentry(SentryChild config, const SandboxOptions& options, const Caller& caller, const Resources& resources) {
  std::vector<Donation> donations = {{0, 0},
                                     {1, 1},
                                     {2, 2},
                                     {resources.control.theirs.get(), kReportFd},
                                     {resources.channel.ours.get(), kChannelFd},
                                     {resources.log.get(), kLogFd}};
  auto& boot = config.boot;
  boot.control_fd = kReportFd;
  boot.gofer_fd = kChannelFd;
  boot.log_fd = kLogFd;
  if (resources.stats.theirs.valid()) {
    boot.stats_fd = kStatsFd;
    donations.push_back({resources.stats.theirs.get(), kStatsFd});
  }
  for (int fd = 0; fd <= 2; ++fd) {
    if (caller.standard_open[fd]) boot.files.push_back({fd, fd});
  }
  int next = kFirstPassedFd;
  for (const auto& [here, inside] : options.pass_fds) {
    if (::fcntl(here, F_GETFD) < 0) return UsageError(absl::StrCat("descriptor ", here, " is to be passed on, but is not open"));
    boot.files.push_back({inside, next});
    donations.push_back({here, next++});
  }
  return SpawnGuarded(kBootName, Encode(config), std::move(donations));
}

// The first `count` processors that this process may run on.
absl::StatusOr<std::vector<int>> ChooseProcessors(size_t count) {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return SystemError("read the processor affinity");
  std::vector<int> chosen;
  for (int cpu = 0; cpu < CPU_SETSIZE && chosen.size() < count; ++cpu) {
    if (CPU_ISSET(static_cast<size_t>(cpu), &set)) chosen.push_back(cpu);
  }
  return chosen;
}

struct HostLimits {
  Cgroup cpu;
  Cgroup memory_and_tasks;
  std::vector<int> processors;
};

CgroupLimits ProcessorLimits(const Plan& plan) { return {.cpu_quota = plan.cgroup.cpu_quota, .cpu_period = plan.cgroup.cpu_period}; }
CgroupLimits MemoryAndTaskLimits(const Plan& plan) { return {.memory_bytes = plan.cgroup.memory_bytes, .tasks = plan.cgroup.tasks}; }

std::string CgroupName() {
  // Containers that see the same hierarchy may have a process of this number too.
  uint32_t distinct = 0;
  if (::getrandom(&distinct, sizeof(distinct), GRND_NONBLOCK) < 0) distinct = static_cast<uint32_t>(MonotonicNow());
  return absl::StrCat("rampart-", ::getpid(), "-", absl::Hex(distinct, absl::kZeroPad8));
}

// The janitor must know them before they are made: this process may be killed at any moment.
std::vector<std::string> CgroupDirectories(const Plan& plan, const std::string& name) {
  std::vector<std::string> all;
  for (const CgroupLimits& limits : {ProcessorLimits(plan), MemoryAndTaskLimits(plan)}) {
    const auto parts = Cgroup::Locate(name, limits);
    if (!parts.ok()) continue;  // Create will say so
    for (const Cgroup::Part& part : *parts) all.push_back(part.directory);
  }
  return all;
}

absl::StatusOr<HostLimits> LimitOnHost(const Plan& plan, const std::string& name) {
  HostLimits out;
  if (plan.cgroup.cpu_quota != 0) {
    auto group = Cgroup::Create(name, ProcessorLimits(plan));
    if (group.ok()) {
      out.cpu = *std::move(group);
    } else {
      const auto quota = static_cast<uint64_t>(plan.cgroup.cpu_quota);
      if (quota % plan.cgroup.cpu_period != 0) {
        return absl::Status(group.status().code(),
                            absl::StrCat("--cpus with a fraction needs a cgroup of its own, and ", group.status().message(),
                                         ": give a whole number, run as root, or in a delegated cgroup (systemd-run --user --scope -p Delegate=yes)"));
      }
      out.processors = TRY_STATUS(ChooseProcessors(quota / plan.cgroup.cpu_period));
    }
  }
  // The kernel inside holds these two by itself; the host's are a second wall, where the host lets us build it.
  auto group = Cgroup::Create(name, MemoryAndTaskLimits(plan));
  if (group.ok()) {
    out.memory_and_tasks = *std::move(group);
  } else {
    Log(LogLevel::kInfo, "memory and tasks are limited inside only: %s", std::string(group.status().message()).c_str());
  }
  return out;
}

struct Identities {
  IdMaps gofer;
  IdMaps sentry;
  SentryChild child;
};

absl::StatusOr<Identities> ChooseIdentities(const Caller& caller) {
  Identities out;
  out.gofer = out.sentry = MapOnly(caller.uid, caller.gid);
  out.child.host_uid = caller.uid;
  out.child.host_gid = caller.gid;
  if (!caller.IsRoot()) return out;
  out.gofer = TRY_STATUS(MapEverybody());
  if (Contains(out.gofer.uids, kNobody) && Contains(out.gofer.gids, kNobody)) {
    out.sentry = MapOnly(kNobody, kNobody);
    out.child.host_uid = out.child.host_gid = kNobody;
    out.child.change_user = true;
  }
  return out;
}

// Two processes, made and let go.
struct Running {
  ChildGuard gofer;
  ChildGuard sentry;
};

absl::StatusOr<Running> StartBoth(const Plan& plan, const SandboxOptions& options, const Caller& caller, Identities identities,
                                  Resources& resources, HostLimits& limits) {
  identities.child.self_test = options.self_test;
  identities.child.boot = plan.boot;
  identities.child.labels = plan.sentry_labels;
  auto gofer = SpawnGofer(plan, identities.gofer, resources, plan.boot.log_level);
  if (!gofer.ok()) return gofer.status();
  auto sentry = SpawnSentry(std::move(identities.child), options, caller, resources);
  if (!sentry.ok()) return sentry.status();
  for (const ChildGuard* child : {&*gofer, &*sentry}) {
    TRY_STATUS(limits.cpu.Add(child->get().pid));
    TRY_STATUS(limits.memory_and_tasks.Add(child->get().pid));
  }
  TRY_STATUS(Release(gofer->get(), identities.gofer, caller.IsRoot(), resources.report.ours.get()));
  TRY_STATUS(Release(sentry->get(), identities.sentry, caller.IsRoot(), resources.control.ours.get()));
  resources.control.theirs.Reset();
  resources.report.theirs.Reset();
  resources.channel = {};
  resources.stats.theirs.Reset();
  return absl::StatusOr<Running>(absl::in_place, *std::move(gofer), *std::move(sentry));
}

// In a time namespace for as long as it takes: this process's own clocks are those that /proc shows, by which it is told apart from others of its number.
absl::StatusOr<Running> StartUnder(const ForeignNamespace* clocks, absl::FunctionRef<absl::StatusOr<Running>()> start) {
  if (clocks == nullptr) return start();
  const ForeignNamespace own = TRY_STATUS(OwnNamespace("time"));
  TRY_STATUS(EnterNamespace(*clocks));
  auto running = start();
  TRY_STATUS(EnterNamespace(own));
  return running;
}

Outcome SuperviseBoth(Running& running, Watched watched, const Resources& resources, CallerSignals& signals) {
  watched.control_fd = resources.control.ours.get();
  watched.gofer_report_fd = resources.report.ours.get();
  watched.stats_fd = resources.stats.ours.get();
  Outcome outcome = Supervise(watched, signals);
  running.sentry.Take();
  running.gofer.Take();
  if (watched.terminal != nullptr && (outcome.kind != Outcome::Kind::kExited || ExitStatusOf(outcome) > 128)) watched.terminal->Restore();
  return outcome;
}

void PrepareBoot(Plan& plan, const SandboxOptions& options, const CallerSignals& signals) {
  plan.boot.ignored_signals = signals.ignored();
  plan.boot.blocked_signals = signals.blocked();
  plan.boot.host_clock_is_tsc = HostClockIsTsc();
  plan.boot.log_level = static_cast<int>(options.debug_log.empty() ? LogLevel::kError : LogLevel::kDebug);
}

}  // namespace

absl::StatusOr<Outcome> RunInSandbox(const oci::Spec& spec, const SandboxOptions& options, const Caller& caller) {
  Plan plan = TRY_STATUS(MakePlan(spec, options, caller));
  CallerSignals signals = TRY_STATUS(CallerSignals::Take());
  PrepareBoot(plan, options, signals);
  Resources resources = TRY_STATUS(OpenResources(options));
  SetLogging(resources.log.get(), static_cast<LogLevel>(plan.boot.log_level), "runner");

  const Terminal terminal;
  // Destroyed in reverse: processes first, then the cgroups, then the janitor's reason to act.
  const std::string cgroup = CgroupName();
  const Janitor janitor = TRY_STATUS(Janitor::Start(CgroupDirectories(plan, cgroup)));
  HostLimits limits = TRY_STATUS(LimitOnHost(plan, cgroup));
  Identities identities = TRY_STATUS(ChooseIdentities(caller));
  identities.child.processors = limits.processors;
  auto running = StartBoth(plan, options, caller, std::move(identities), resources, limits);
  if (!running.ok()) return running.status();
  Outcome outcome = SuperviseBoth(
      *running, {.sentry = running->sentry.get(), .gofer = running->gofer.get(), .terminal = &terminal, .timeout = options.timeout}, resources, signals);
  limits.cpu.Remove();
  limits.memory_and_tasks.Remove();
  return outcome;
}

absl::StatusOr<std::unique_ptr<GoferProcess>> GoferProcess::Start(const Plan& plan, const SandboxOptions& options, const Caller& caller,
                                                                  const IdMaps& id_maps) {
  Resources resources = TRY_STATUS(OpenResources(options));
  Identities identities = TRY_STATUS(ChooseIdentities(caller));
  const auto level = options.debug_log.empty() ? LogLevel::kError : LogLevel::kDebug;
  if (!id_maps.uids.empty()) identities.gofer = id_maps;
  ChildGuard guard = TRY_STATUS(SpawnGofer(plan, identities.gofer, resources, static_cast<int>(level)));
  TRY_STATUS(Release(guard.get(), identities.gofer, caller.IsRoot(), resources.report.ours.get()));
  auto gofer = std::unique_ptr<GoferProcess>(new GoferProcess(guard.TakeChild()));
  gofer->channel_ = std::move(resources.channel.ours);
  gofer->report_ = std::move(resources.report.ours);
  return gofer;
}

GoferProcess::~GoferProcess() { KillAndReap(child_); }

std::string GoferProcess::Complaint() const {
  char text[512];
  const ssize_t n = ::recv(report_.get(), text, sizeof(text), MSG_DONTWAIT);
  return n > 0 ? std::string(text, static_cast<size_t>(n)) : "";
}

absl::StatusOr<Outcome> RunContainer(Plan plan, const SandboxOptions& options, const Caller& caller, const ContainerSetting& setting) {
  CallerSignals signals = TRY_STATUS(CallerSignals::Take());
  PrepareBoot(plan, options, signals);
  // What the engine's own process ignores or blocks is no business of the container's.
  plan.boot.ignored_signals = plan.boot.blocked_signals = 0;
  plan.boot.container = true;
  Resources resources = TRY_STATUS(OpenResources(options));
  SetLogging(resources.log.get(), static_cast<LogLevel>(plan.boot.log_level), "monitor");
  const Terminal terminal;
  Identities identities = TRY_STATUS(ChooseIdentities(caller));
  identities.child.processors = setting.processors;
  if (!setting.id_maps.uids.empty()) identities.gofer = setting.id_maps;
  HostLimits none;
  auto running = StartUnder(setting.clocks, [&] { return StartBoth(plan, options, caller, std::move(identities), resources, none); });
  if (!running.ok()) return running.status();
  return SuperviseBoth(*running,
                       {.sentry = running->sentry.get(),
                        .gofer = running->gofer.get(),
                        .terminal = &terminal,
                        .timeout = options.timeout,
                        .container = {.listen_fd = setting.listen_fd,
                                      .lifeline_fd = setting.lifeline_fd,
                                      .ready = setting.ready,
                                      .started = setting.started,
                                      .start_at_once = setting.start_at_once}},
                       resources, signals);
}

}  // namespace rampart::runner
