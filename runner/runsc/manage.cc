// kill, delete, pause, resume, update, wait.
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runner/cgroup/cgroup.h"
#include "runner/cgroup/container_cgroup.h"
#include "runner/oci/spec_json.h"
#include "runner/runsc/command.h"
#include "runner/runsc/engine_log.h"
#include "runner/runsc/hooks.h"
#include "runner/util/files.h"
#include "runner/util/status.h"
#include "sentry/boot/control_api.pb.h"

namespace rampart::runner {
namespace {

constexpr int kPatience = 10;  // seconds for an answer of the sandbox

absl::StatusOr<int> ParseSignal(const std::string& text) {
  int number = 0;
  if (absl::SimpleAtoi(text, &number)) {
    if (number >= 1 && number <= 64) return number;
    return UsageError(absl::StrCat("'", text, "' is not a signal: 1 to 64, or a name"));
  }
  const std::string name(absl::StripPrefix(absl::AsciiStrToUpper(text), "SIG"));
  for (int signo = 1; signo < 32; ++signo) {
    const char* known = ::sigabbrev_np(signo);
    if (known != nullptr && name == known) return signo;
  }
  return UsageError(absl::StrCat("'", text, "' is not a signal: 1 to 64, or a name"));
}

// The monitor, for sure: not whoever got its number since.
absl::StatusOr<UniqueFd> OpenMonitor(const ContainerState& state) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, state.pid, 0)));
  if (!fd.valid() && errno == ESRCH) return UniqueFd();
  if (!fd.valid()) return SystemError("find the container's process");
  if (!IsAlive(state.pid, state.pid_start)) return UniqueFd();
  return fd;
}

absl::Status SignalMonitor(const ContainerState& state, int signo) {
  const UniqueFd monitor = TRY_STATUS(OpenMonitor(state));
  if (monitor.valid() && ::syscall(SYS_pidfd_send_signal, monitor.get(), signo, nullptr, 0) != 0 && errno != ESRCH) return SystemError("signal the container");
  return absl::OkStatus();
}

absl::StatusOr<control::Response> Ask(const Found& found, control::Request request) {
  ControlClient client = TRY_STATUS(ConnectToRunning(found));
  client.LimitWaits(kPatience);
  control::Response response;
  TRY_STATUS(client.Call(request, response));
  return response;
}

absl::Status KillMonitorAndWait(const ContainerState& state) {
  if (state.pid == 0 || state.pid == ::getpid()) return absl::OkStatus();
  const UniqueFd monitor = TRY_STATUS(OpenMonitor(state));
  if (!monitor.valid()) return absl::OkStatus();
  ::syscall(SYS_pidfd_send_signal, monitor.get(), SIGKILL, nullptr, 0);
  pollfd fd{monitor.get(), POLLIN, 0};
  while (::poll(&fd, 1, kPatience * 1000) < 0 && errno == EINTR) {
  }
  if (fd.revents == 0) return absl::DeadlineExceededError(absl::StrCat("process ", state.pid, " does not end"));
  return absl::OkStatus();
}

// A process that removes its own group's directories must leave them first.
void LeaveGroups(const std::vector<std::string>& directories) {
  const std::string self = absl::StrCat(::getpid());
  for (const std::string& directory : directories) {
    const auto members = ReadSmallFile(directory + "/cgroup.procs");
    if (!members.ok() || absl::StrCat("\n", *members).find(absl::StrCat("\n", self, "\n")) == std::string::npos) continue;
    for (std::string above = directory; above.size() > 1;) {
      above.resize(above.rfind('/'));
      if (WriteSmallFile(above + "/cgroup.procs", self).ok()) break;
    }
  }
}

CommandResult SimpleCall(Invocation& invocation, const char* name, Status expected, Status becomes, control::Request request) {
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, name, Flags()));
  const std::string id = TRY_STATUS(OnlyId(words, name));
  Found found = TRY_STATUS(FindContainer(invocation, id, /*lock=*/true));
  if (found.status != expected) {
    return absl::FailedPreconditionError(absl::StrCat("cannot ", name, " container '", id, "': it is ", StatusName(found.status), ", not ", StatusName(expected)));
  }
  TRY_STATUS(Ask(found, std::move(request)).status());
  found.state.status = becomes;
  TRY_STATUS(found.directory.Store(found.state));
  return 0;
}

}  // namespace

absl::Status DestroyContainer(Found& found) {
  TRY_STATUS(KillMonitorAndWait(found.state));
  LeaveGroups(found.state.cgroups);
  constexpr int kAttempts = 3000;  // of 10 ms: the last processes are on their way out, slowly on a busy machine
  for (const std::string& directory : found.state.cgroups) {
    if (!RemoveCgroupDirectory(directory, kAttempts) && errno != EACCES && errno != EPERM && errno != EROFS) {
      return SystemError(absl::StrCat("remove the cgroup ", directory));
    }
  }
  for (const std::string& directory : found.state.resctrl) {
    if (::rmdir(directory.c_str()) != 0 && errno != ENOENT) return SystemError(absl::StrCat("remove ", directory));
  }
  if (const auto spec = LoadSpec(found.directory); spec.ok()) {
    // As the specification asks, a hook that fails is told and ends nothing.
    const absl::Status hooks = RunHooks(spec->hooks.poststop, "poststop", StateJson(found.state, Status::kStopped));
    if (!hooks.ok()) WriteAll(2, absl::StrCat("runsc: warning: ", hooks.message(), "\n"));
  }
  return found.directory.Remove();
}

CommandResult KillCommand(Invocation& invocation) {
  bool all = false;
  int64_t pid = 0;
  int64_t group = 0;
  Flags flags;
  flags.Bool("all", &all, "to every process");
  flags.Alias("a");
  flags.Int("pid", &pid, "to this process (its number inside)");
  flags.Int("pgid", &group, "to the process group of this process (its number inside)");
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "kill", flags));
  if (words.empty() || words.size() > 2) return UsageError("kill: a container and at most a signal are expected (see runsc help kill)");
  const int signo = TRY_STATUS(ParseSignal(words.size() > 1 ? words[1] : "TERM"));
  if (pid < 0 || pid > INT32_MAX || group < 0 || group > INT32_MAX) return UsageError(absl::StrCat("kill: ", pid != 0 ? pid : group, " is not a process"));
  if ((pid != 0) + (group != 0) + (all ? 1 : 0) > 1) return UsageError("kill: one of --all, --pid and --pgid is expected");
  const Found found = TRY_STATUS(FindContainer(invocation, words[0], /*lock=*/false));
  if (found.status == Status::kCreated || found.status == Status::kCreating) {
    // Nothing runs inside: a signal that would end the program ends what waits for it.
    TRY_STATUS(SignalMonitor(found.state, signo));
    return 0;
  }
  control::Request request;
  request.mutable_signal()->set_signal(signo);
  request.mutable_signal()->set_all(all);
  request.mutable_signal()->set_pid(static_cast<int>(group != 0 ? group : pid));
  request.mutable_signal()->set_group(group != 0);
  auto client = ConnectToRunning(found);
  if (absl::IsUnavailable(client.status())) return absl::FailedPreconditionError(absl::StrCat("container not running: '", words[0], "' has ended"));
  if (!client.ok()) return client.status();
  client->LimitWaits(kPatience);
  control::Response response;
  const absl::Status sent = client->Call(request, response);
  // Who ends before he can answer, by this signal or another, is as good as one who has heard it.
  if (sent.ok() || absl::IsUnavailable(sent)) return 0;
  // Whatever the sandbox does: SIGKILL ends it.
  if (signo == SIGKILL && pid == 0 && group == 0 && absl::IsDeadlineExceeded(sent)) {
    TRY_STATUS(SignalMonitor(found.state, SIGKILL));
    return 0;
  }
  return sent;
}

static absl::Status DeleteOne(const Invocation& invocation, const std::string& id, bool force) {
  auto directory = ContainerDirectory::Open(invocation.root, id, /*lock=*/true);
  if (!directory.ok()) return force && absl::IsNotFound(directory.status()) ? absl::OkStatus() : directory.status();
  auto state = directory->Load();
  if (!state.ok()) {
    // Made or removed by somebody who was killed in the middle of it.
    if (force || absl::IsNotFound(state.status())) return directory->Remove();
    return absl::Status(state.status().code(), absl::StrCat(state.status().message(), " (delete --force removes it)"));
  }
  const Status status = StatusOf(*state);
  if (!force && status != Status::kStopped && status != Status::kCreating) {
    return absl::FailedPreconditionError(absl::StrCat("cannot delete container '", id, "', which is ", StatusName(status), ": stop it first (runsc kill), or use --force"));
  }
  Found found{*std::move(directory), *std::move(state), status};
  return DestroyContainer(found);
}

CommandResult DeleteCommand(Invocation& invocation) {
  bool force = false;
  Flags flags;
  flags.Bool("force", &force, "also a running one; no error when there is none");
  flags.Alias("f");
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "delete", flags));
  if (words.empty()) return UsageError("delete: a container is expected (see runsc help delete)");
  for (const std::string& id : words) TRY_STATUS(DeleteOne(invocation, id, force));
  return 0;
}

CommandResult PauseCommand(Invocation& invocation) {
  control::Request request;
  request.mutable_pause();
  return SimpleCall(invocation, "pause", Status::kRunning, Status::kPaused, std::move(request));
}

CommandResult ResumeCommand(Invocation& invocation) {
  control::Request request;
  request.mutable_resume();
  return SimpleCall(invocation, "resume", Status::kPaused, Status::kRunning, std::move(request));
}

// What `update` is told by runc's flags; kNotAsked: nothing.
struct UpdateFlags {
  static constexpr int64_t kNotAsked = INT64_MIN;
  int64_t memory = kNotAsked, reservation = kNotAsked, swap = kNotAsked;
  int64_t quota = kNotAsked, period = kNotAsked, shares = kNotAsked;
  int64_t pids = kNotAsked, weight = kNotAsked;
  std::string cpus, mems;

  void Declare(Flags& flags) {
    flags.Int("memory", &memory, "limit in bytes; -1: none");
    flags.Int("memory-reservation", &reservation, "soft limit in bytes");
    flags.Int("memory-swap", &swap, "memory and swap, in bytes; -1: none");
    flags.Int("cpu-quota", &quota, "µs of each period; -1: none");
    flags.Int("cpu-period", &period, "µs");
    flags.Int("cpu-share", &shares, "relative weight");
    flags.String("cpuset-cpus", &cpus, "processors, as 0-3,7");
    flags.String("cpuset-mems", &mems, "memory nodes");
    flags.Int("pids-limit", &pids, "most tasks; -1: no limit");
    flags.Int("blkio-weight", &weight, "10 to 1000");
  }
  absl::StatusOr<oci::Resources> Resources() const;
};

absl::StatusOr<oci::Resources> UpdateFlags::Resources() const {
  oci::Resources out;
  const auto set = [](int64_t from, std::optional<int64_t>& to) {
    if (from != kNotAsked) to = from;
  };
  oci::MemoryResources memory_part;
  set(memory, memory_part.limit), set(reservation, memory_part.reservation), set(swap, memory_part.swap);
  if (memory_part.limit || memory_part.reservation || memory_part.swap) out.memory = memory_part;
  oci::CpuResources cpu;
  cpu.cpus = cpus;
  cpu.mems = mems;
  set(quota, cpu.quota);
  for (const int64_t one : {period, shares, weight}) {
    if (one != kNotAsked && one < 0) return UsageError(absl::StrCat("update: ", one, " is no period, share or weight"));
  }
  if (period != kNotAsked) cpu.period = static_cast<uint64_t>(period);
  if (shares != kNotAsked) cpu.shares = static_cast<uint64_t>(shares);
  if (cpu.quota || cpu.period || cpu.shares || !cpus.empty() || !mems.empty()) out.cpu = cpu;
  if (pids != kNotAsked) out.pids = oci::PidsResources{pids};
  if (weight > 1000) return UsageError(absl::StrCat("--blkio-weight=", weight, ": 10 to 1000 is expected"));
  if (weight != kNotAsked) out.block_io.emplace().weight = static_cast<uint16_t>(weight);
  return out;
}

static absl::StatusOr<oci::Resources> ResourcesFrom(const std::string& file, const UpdateFlags& flags) {
  if (file.empty()) {
    oci::Resources out = TRY_STATUS(flags.Resources());
    if (out.memory || out.cpu || out.pids || out.block_io) return out;
    return UsageError("update: --resources, or what is to be changed, is needed (see runsc help update)");
  }
  const std::string text = TRY_STATUS(ReadWholeFile(file == "-" ? "/proc/self/fd/0" : file, size_t{1} << 20));
  auto resources = oci::ParseResources(text);
  if (!resources.ok()) return absl::InvalidArgumentError(absl::StrCat(file, ": ", resources.status().message()));
  return resources;
}

// What the kernel inside enforces itself, or tells programs of.
static absl::Status UpdateInside(const Found& found, const oci::Resources& resources) {
  control::Request request;
  control::UpdateRequest& update = *request.mutable_update();
  const auto limit = [](int64_t value) { return value > 0 ? static_cast<uint64_t>(value) : 0; };
  if (resources.memory && resources.memory->limit) update.set_memory_bytes(limit(*resources.memory->limit));
  if (resources.pids) update.set_tasks(limit(resources.pids->limit));
  if (resources.cpu && resources.cpu->quota) update.set_cpu_quota(*resources.cpu->quota);
  if (resources.cpu && resources.cpu->period) update.set_cpu_period(*resources.cpu->period);
  if (!update.has_memory_bytes() && !update.has_tasks() && !update.has_cpu_quota() && !update.has_cpu_period()) return absl::OkStatus();
  ControlClient client = TRY_STATUS(ControlClient::Connect(found.directory.SocketAddress()));
  client.LimitWaits(kPatience);
  control::Response response;
  return client.Call(request, response);
}

// A limit of memory is never less outside than inside, where who asks for too much is refused and not killed with everybody else.
static absl::Status Update(Found& found, const oci::Resources& resources) {
  const oci::Spec spec = TRY_STATUS(LoadSpec(found.directory));
  const auto groups = TRY_STATUS(LocateContainerGroups(spec.linux_config.cgroups_path, found.state.id));
  if (!found.state.sandbox.empty()) return ApplyResources(groups, resources);  // limits inside are its sandbox's
  const std::optional<int64_t> memory = resources.memory ? resources.memory->limit : std::nullopt;
  const bool less = memory && *memory > 0 && (found.state.memory_limit == 0 || static_cast<uint64_t>(*memory) < found.state.memory_limit);
  if (less) TRY_STATUS(UpdateInside(found, resources));
  TRY_STATUS(ApplyResources(groups, resources));
  if (!less) TRY_STATUS(UpdateInside(found, resources));
  if (memory) found.state.memory_limit = *memory > 0 ? static_cast<uint64_t>(*memory) : 0;
  return memory ? found.directory.Store(found.state) : absl::OkStatus();
}

CommandResult UpdateCommand(Invocation& invocation) {
  std::string file;
  UpdateFlags changes;
  Flags flags;
  flags.String("resources", &file, "JSON of linux.resources; - for standard input. Instead of the other flags");
  flags.Alias("r");
  changes.Declare(flags);
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "update", flags));
  const std::string id = TRY_STATUS(OnlyId(words, "update"));
  const oci::Resources resources = TRY_STATUS(ResourcesFrom(file, changes));
  Found found = TRY_STATUS(FindContainer(invocation, id, /*lock=*/true));
  if (found.status == Status::kStopped) return absl::FailedPreconditionError(absl::StrCat("container not running: '", id, "' is stopped"));
  TRY_STATUS(Update(found, resources));
  return 0;
}

CommandResult WaitCommand(Invocation& invocation) {
  int64_t pid = 0;
  Flags flags;
  flags.Int("pid", &pid, "wait for this process (its number inside)");
  flags.Ignored("rootpid", false, "processes have one number inside");
  const std::vector<std::string> words = TRY_STATUS(ParseWords(invocation, "wait", flags));
  const std::string id = TRY_STATUS(OnlyId(words, "wait"));
  const Found found = TRY_STATUS(FindContainer(invocation, id, /*lock=*/false));
  if (found.status == Status::kStopped) return absl::FailedPreconditionError(absl::StrCat("container not running: '", id, "' has ended"));
  ControlClient client = TRY_STATUS(ControlClient::Connect(found.directory.SocketAddress()));
  control::Request request;
  control::Response response;
  request.mutable_wait()->set_pid(static_cast<int>(pid));
  TRY_STATUS(client.Call(request, response));
  const int status = response.wait().status();
  // What gVisor prints: the wait status as a number, with the container's name.
  Print(absl::StrCat("{\"id\":\"", id, "\",\"exitStatus\":", ExitStatusOfWait(status), "}\n"));
  return 0;
}

}  // namespace rampart::runner
