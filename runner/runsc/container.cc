#include "runner/runsc/container.h"

#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "runner/namespaces/idmapped_tree.h"
#include "runner/namespaces/priorities.h"
#include "runner/namespaces/security_label.h"
#include "runner/oci/spec_json.h"
#include "runner/runsc/hooks.h"
#include "runner/runsc/network.h"
#include "runner/runsc/pod.h"
#include "runner/runsc/spec_check.h"
#include "runner/util/files.h"
#include "runner/util/status.h"
#include "sentry/boot/control_api.pb.h"

namespace rampart::runner {
namespace {

absl::StatusOr<std::string> AbsoluteBundle(const std::string& bundle, const Caller& caller) {
  const std::string path = bundle.empty() ? caller.cwd : absl::StartsWith(bundle, "/") ? bundle : absl::StrCat(caller.cwd, "/", bundle);
  if (path.empty()) return UsageError("the current directory has no name here: give --bundle DIR");
  return CleanPath(path);
}

// Paths of a specification count from the bundle.
void ResolvePaths(const std::string& bundle, oci::Spec& spec) {
  if (!absl::StartsWith(spec.root->path, "/")) spec.root->path = absl::StrCat(bundle, "/", spec.root->path);
  for (oci::Mount& mount : spec.mounts) {
    const bool bind = mount.type == "bind" || std::any_of(mount.options.begin(), mount.options.end(), [](const std::string& o) { return o == "bind" || o == "rbind"; });
    if (bind && !mount.source.empty() && mount.source[0] != '/') mount.source = absl::StrCat(bundle, "/", mount.source);
  }
}

IdMaps MapsOf(const oci::LinuxConfig& config) {
  IdMaps maps;
  for (const oci::IdMapping& one : config.uid_mappings) maps.uids.push_back({one.container_id, one.host_id, one.size});
  for (const oci::IdMapping& one : config.gid_mappings) maps.gids.push_back({one.container_id, one.host_id, one.size});
  return maps;
}

bool NeedsCgroups(const oci::LinuxConfig& config) {
  if (!config.resources.has_value()) return false;
  const oci::Resources& resources = *config.resources;
  const bool cpu = resources.cpu.has_value() && (resources.cpu->quota.value_or(0) > 0 || !resources.cpu->cpus.empty());
  return cpu || resources.block_io.has_value() || !resources.hugepages.empty() || !resources.unified.empty();
}

absl::StatusOr<UniqueFd> Listen(const ContainerDirectory& directory) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const std::string address = directory.SocketAddress();
  std::memcpy(name.sun_path, address.data(), address.size());  // short by its making
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return SystemError("make a socket");
  const mode_t mask = ::umask(0177);
  // SAFETY: the address family's own struct, as bind(2) wants it.
  const int bound = ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name));
  const int error = errno;
  ::umask(mask);
  constexpr int kBacklog = 64;
  if (bound != 0) return SystemError("bind the control socket", error);
  if (::listen(socket.get(), kBacklog) != 0) return SystemError("listen on the control socket");
  return socket;
}

std::string OwnerName(uint32_t uid) {
  if (uid == 0) return "root";
  const auto passwd = ReadSmallFile("/etc/passwd");
  if (passwd.ok()) {
    const std::string field = absl::StrCat(":", uid, ":");
    for (size_t at = 0; at < passwd->size();) {
      const size_t end = std::min(passwd->find('\n', at), passwd->size());
      const std::string line = passwd->substr(at, end - at);
      at = end + 1;
      const size_t name = line.find(':');
      const size_t password = name == std::string::npos ? name : line.find(':', name + 1);
      if (password != std::string::npos && absl::StartsWith(line.substr(password), field)) return line.substr(0, name);
    }
  }
  return absl::StrCat(uid);
}

// Makes the container's cgroups and puts this process into them.
absl::Status EnterGroups(const Preparation& preparation) {
  absl::Status status = MakeContainerGroups(preparation.groups);
  if (status.ok() && preparation.spec.linux_config.resources.has_value()) status = ApplyResources(preparation.groups, *preparation.spec.linux_config.resources);
  if (status.ok()) status = JoinGroups(preparation.groups, ::getpid());
  if (status.ok() || preparation.cgroups_required) return status;
  // Memory and tasks are limited inside too.
  Log(LogLevel::kWarning, "no cgroups on the host: %s", std::string(status.message()).c_str());
  return absl::OkStatus();
}

}  // namespace

absl::Status WritePidFile(const std::string& path, pid_t pid) {
  if (path.empty()) return absl::OkStatus();
  const size_t slash = path.rfind('/');
  const std::string scratch = slash == std::string::npos ? absl::StrCat(".", path, ".new") : absl::StrCat(path.substr(0, slash + 1), ".", path.substr(slash + 1), ".new");
  {
    const UniqueFd fd(::open(scratch.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!fd.valid() || !WriteAll(fd.get(), absl::StrCat(pid))) return SystemError(absl::StrCat("write the pid file ", path));
  }
  if (::rename(scratch.c_str(), path.c_str()) != 0) return SystemError(absl::StrCat("write the pid file ", path));
  return absl::OkStatus();
}

void FillProgram(const sentry::boot::Program& program, control::ExecRequest& out) {
  for (const std::string& arg : program.argv) out.add_args(arg);
  for (const std::string& variable : program.environment) out.add_env(variable);
  out.set_cwd(program.cwd);
  out.set_umask(program.umask);
  out.set_uid(program.identity.uid);
  out.set_gid(program.identity.gid);
  for (const uint32_t gid : program.identity.groups) out.add_groups(gid);
  out.set_no_new_privs(program.identity.no_new_privs);
  control::Capabilities& sets = *out.mutable_capabilities();
  sets.set_effective(program.identity.capabilities.effective);
  sets.set_permitted(program.identity.capabilities.permitted);
  sets.set_inheritable(program.identity.capabilities.inheritable);
  sets.set_bounding(program.identity.capabilities.bounding);
  sets.set_ambient(program.identity.capabilities.ambient);
  control::Scheduling& scheduling = *out.mutable_scheduling();
  scheduling.set_policy(program.scheduling.policy);
  scheduling.set_nice(program.scheduling.nice);
  scheduling.set_reset_on_fork(program.scheduling.reset_on_fork);
  scheduling.set_io_priority(program.scheduling.io_priority);
  scheduling.set_personality(program.scheduling.personality);
  scheduling.set_oom_score_adj(program.scheduling.oom_score_adj);
  for (const sentry::boot::Rlimit& limit : program.rlimits) {
    control::Rlimit& to = *out.add_rlimits();
    to.set_soft(limit.soft);
    to.set_hard(limit.hard);
  }
  out.set_terminal(program.terminal_is_controlling);
}

// Another container of ours, in whose PID or IPC namespace the container is to be: its sandbox. "": none.
static std::string SandboxByPath(const Invocation& invocation, const oci::Spec& spec) {
  for (const oci::Namespace& ns : spec.linux_config.namespaces) {
    const std::vector<std::string> parts = absl::StrSplit(ns.path, '/');  // "/proc/PID/ns/ipc"
    pid_t pid = 0;
    const bool shares = ns.type == "pid" || ns.type == "ipc";
    if (!shares || parts.size() != 5 || parts[1] != "proc" || parts[3] != "ns" || !absl::SimpleAtoi(parts[2], &pid) || pid <= 0) continue;
    const auto names = ListContainers(invocation.root);
    if (!names.ok()) continue;
    for (const std::string& id : *names) {
      const auto found = FindContainer(invocation, id, /*lock=*/false);
      if (found.ok() && found->status != Status::kStopped && found->state.pid == pid) return found->state.sandbox.empty() ? id : found->state.sandbox;
    }
  }
  return "";
}

static absl::Status OpenNamespaces(const oci::LinuxConfig& config, std::vector<ForeignNamespace>& out) {
  for (size_t i = 0; i < config.namespaces.size(); ++i) {
    const oci::Namespace& ns = config.namespaces[i];
    if (ns.path.empty()) continue;
    auto opened = OpenNamespace(ns.type, ns.path);
    if (!opened.ok()) return absl::Status(opened.status().code(), absl::StrCat("$.linux.namespaces[", i, "].path: ", opened.status().message()));
    out.push_back(*std::move(opened));
  }
  return absl::OkStatus();
}

// The sandbox that the container joins, and what its annotations say about mounts; its own where it has a sandbox of its own.
static absl::Status JoinSandbox(const Invocation& invocation, oci::Spec& spec, std::string& sandbox) {
  sandbox = TRY_STATUS(SandboxToJoin(spec));
  if (sandbox.empty()) sandbox = SandboxByPath(invocation, spec);
  if (sandbox.empty()) return ApplyMountHints(spec.annotations, spec);
  if (!spec.linux_config.time_offsets.empty()) return UsageError("$.linux.timeOffsets: the clocks of a pod are its sandbox's");
  const Found found = TRY_STATUS(FindContainer(invocation, sandbox, /*lock=*/false));
  if (const absl::Status running = ConnectToRunning(found).status(); !running.ok()) {
    return absl::Status(running.code(), absl::StrCat("the sandbox '", sandbox, "': ", running.message()));
  }
  return ApplyMountHints(found.state.annotations, spec);
}

static ContainerState NewState(const Preparation& preparation) {
  ContainerState state;
  state.id = preparation.request.id;
  state.oci_version = preparation.spec.oci_version;
  state.bundle = preparation.request.bundle;
  state.rootfs = preparation.spec.root->path;
  state.created = Timestamp();
  state.annotations = preparation.spec.annotations;
  return state;
}

// What hooks inside read: two texts, between which the kernel inside puts the number of the container's first process.
static void FillHookState(const Preparation& preparation, sentry::boot::BootConfig& boot) {
  if (boot.start_hooks.empty()) return;
  ContainerState state = NewState(preparation);
  state.pid = 1;
  const std::string one = StateJson(state, Status::kCreated);
  state.pid = 2;
  const std::string two = StateJson(state, Status::kCreated);
  const auto at = static_cast<size_t>(std::mismatch(one.begin(), one.end(), two.begin()).first - one.begin());
  boot.hook_state_before = one.substr(0, at);
  boot.hook_state_after = one.substr(at + 1);
}

// What the host's security module is to confine the sandbox's processes with.
static absl::Status PlanLabels(const oci::Process& process, Plan& plan) {
  const auto at = [](const char* path, const absl::Status& status) { return status.ok() ? status : absl::Status(status.code(), absl::StrCat(path, ": ", status.message())); };
  TRY_STATUS(at("$.process.selinuxLabel", CheckSelinuxLabel(process.selinux_label)));
  TRY_STATUS(at("$.process.apparmorProfile", CheckProfile(process.apparmor_profile)));
  plan.sentry_labels = {PartOfProfile(process.apparmor_profile, "sentry"), process.selinux_label};
  plan.gofer_labels = {PartOfProfile(process.apparmor_profile, "gofer"), process.selinux_label};
  return absl::OkStatus();
}

// Who the users and groups of the container are on the host: linux.uidMappings and gidMappings, or what the user namespace has that is named.
static absl::StatusOr<IdMaps> PlanUsers(const oci::LinuxConfig& config, bool in_pod) {
  const IdMaps asked = MapsOf(config);
  for (size_t i = 0; i < config.namespaces.size(); ++i) {
    const oci::Namespace& ns = config.namespaces[i];
    if (ns.type != "user" || ns.path.empty()) continue;
    const auto fault = [&](const absl::Status& status) { return absl::Status(status.code(), absl::StrCat("$.linux.namespaces[", i, "].path: '", ns.path, "' ", status.message())); };
    const auto opened = OpenNamespace(ns.type, ns.path);
    if (!opened.ok()) return fault(opened.status());
    const auto maps = MapsOfNamespace(*opened);
    // An ordinary user's engine names its own, which all of a pod is in.
    if (in_pod && absl::IsInvalidArgument(maps.status())) return asked;
    if (!maps.ok()) return fault(maps.status());
    if (!asked.uids.empty() && (asked.uids != maps->uids || asked.gids != maps->gids)) return fault(UsageError("has other maps than $.linux.uidMappings and gidMappings: leave those out"));
    return *maps;
  }
  return asked;
}

// Whoever makes files in an idmapped mount must be somebody there.
static absl::Status CheckOwners(const Plan& plan, const IdMaps& maps, const Caller& caller) {
  const auto owns = [](const std::vector<IdRange>& ranges, uint32_t id) {
    return std::any_of(ranges.begin(), ranges.end(), [&](const IdRange& range) { return id - range.outside < range.count; });
  };
  const bool itself = maps.uids.empty() || owns(maps.uids, caller.uid);  // else the gofer becomes root of its user namespace
  const uint32_t uid = itself ? caller.uid : Outside(maps.uids, 0).value_or(caller.uid);
  const uint32_t gid = itself ? caller.gid : Outside(maps.gids, 0).value_or(caller.gid);
  for (const GoferExport& one : plan.exports) {
    if (one.owners.uids.empty() || one.readonly || (owns(one.owners.uids, uid) && owns(one.owners.gids, gid))) continue;
    return UsageError(absl::StrCat("the mount of ", one.path, ": its mappings leave out the user ", uid, " or the group ", gid, " of the host, who makes its files: map them, or mount it read-only"));
  }
  return absl::OkStatus();
}

static absl::Status PlanRdt(const oci::LinuxConfig& config, const std::string& id, std::optional<ResctrlGroup>& out) {
  if (!config.intel_rdt.has_value()) return absl::OkStatus();
  const std::string root = TRY_STATUS(FindResctrl());
  out = TRY_STATUS(PlanResctrl(root, *config.intel_rdt, id));
  return absl::OkStatus();
}

absl::StatusOr<Preparation> PrepareContainer(const Invocation& invocation, CreateRequest request, const char* command) {
  Preparation out;
  TRY_STATUS(CheckId(request.id));
  request.bundle = TRY_STATUS(AbsoluteBundle(request.bundle, invocation.caller));
  const std::string file = request.bundle + "/config.json";
  auto text = ReadWholeFile(file, oci::kMaxBytes);
  if (!text.ok()) return absl::Status(text.status().code(), absl::StrCat("the bundle has no specification: ", text.status().message(), " (runsc spec makes one)"));
  auto spec = oci::ParseSpec(*text);
  if (!spec.ok()) return absl::InvalidArgumentError(absl::StrCat(file, ": ", spec.status().message()));
  const auto in_file = [&](const absl::Status& status) { return absl::Status(status.code(), absl::StrCat(file, ": ", status.message())); };
  if (const absl::Status checked = CheckSpec(*spec); !checked.ok()) return in_file(checked);
  ResolvePaths(request.bundle, *spec);
  if (const absl::Status joined = JoinSandbox(invocation, *spec, out.sandbox); !joined.ok()) return in_file(joined);
  const auto domainname = spec->linux_config.sysctl.find("kernel.domainname");  // Docker's --domainname
  if (domainname != spec->linux_config.sysctl.end() && spec->domainname.empty()) spec->domainname = domainname->second;
  Config config = invocation.config;
  if (const absl::Status applied = ApplyAnnotations(*spec, config); !applied.ok()) return in_file(applied);
  out.network_of_namespace = config.network == "sandbox" && out.sandbox.empty();
  if (const absl::Status network = out.network_of_namespace ? CheckNetworkOfSpec(*spec) : absl::OkStatus(); !network.ok()) return in_file(network);
  if (spec->process->terminal && request.console_socket.empty() && std::strcmp(command, "create") == 0) {
    return UsageError("$.process.terminal is true: --console-socket is needed for the terminal to go to");
  }
  if (spec->process->terminal && request.console_socket.empty() && std::strcmp(command, "run") == 0 && ::isatty(STDIN_FILENO) == 0) {
    return UsageError("$.process.terminal is true: standard input is no terminal, and without one --console-socket is needed");
  }
  if (!spec->process->terminal && !request.console_socket.empty()) {
    return UsageError("--console-socket is given, and $.process.terminal is not true: one of the two must change");
  }
  if (out.sandbox.empty()) {
    if (const absl::Status opened = OpenNamespaces(spec->linux_config, out.namespaces); !opened.ok()) return in_file(opened);
  }
  out.options = OptionsOf(config, request.id, "boot");
  out.options.pass_fds = TRY_STATUS(FdsToPass(request.preserve_fds, request.pass_fds));
  Caller caller = invocation.caller;
  auto plan = MakePlan(*spec, out.options, caller);
  if (!plan.ok()) return in_file(plan.status());
  out.plan = *std::move(plan);
  if (const absl::Status labelled = PlanLabels(*spec->process, out.plan); !labelled.ok()) return in_file(labelled);
  // Hooks may bring it.
  out.plan.boot.program_must_exist = spec->hooks.prestart.empty() && spec->hooks.create_runtime.empty() && spec->hooks.create_container.empty() &&
                                     spec->hooks.start_container.empty();
  auto users = PlanUsers(spec->linux_config, !out.sandbox.empty());
  if (!users.ok()) return in_file(users.status());
  out.id_maps = *std::move(users);
  if (const absl::Status owners = CheckOwners(out.plan, out.id_maps, caller); !owners.ok()) return in_file(owners);
  if (const absl::Status rdt = PlanRdt(spec->linux_config, request.id, out.rdt); !rdt.ok()) return in_file(rdt);
  out.cgroups_required = NeedsCgroups(spec->linux_config) && !config.ignore_cgroups;
  if (!config.ignore_cgroups) {
    auto groups = LocateContainerGroups(spec->linux_config.cgroups_path, request.id);
    if (!groups.ok()) return in_file(groups.status());
    out.groups = *std::move(groups);
  }
  out.spec = *std::move(spec);
  out.spec_text = *std::move(text);
  out.request = std::move(request);
  FillHookState(out, out.plan.boot);
  return out;
}

absl::StatusOr<Begun> BeginContainer(const Invocation& invocation, const Preparation& preparation) {
  TRY_STATUS(MakeParents(preparation.options.debug_log));
  ContainerDirectory directory = TRY_STATUS(ContainerDirectory::Create(invocation.root, preparation.request.id));
  ContainerState state = NewState(preparation);
  state.owner = OwnerName(invocation.caller.uid);
  state.sandbox = preparation.sandbox;
  state.memory_limit = preparation.plan.boot.limits.memory_bytes;
  for (const ContainerGroup& group : preparation.groups) state.cgroups.push_back(group.directory);
  if (preparation.rdt.has_value()) state.resctrl = preparation.rdt->Removable();
  absl::Status status = directory.StoreSpec(preparation.spec_text);
  if (status.ok()) status = directory.Store(state);
  auto listener = Listen(directory);
  if (status.ok()) status = listener.status();
  if (status.ok()) return Begun{std::move(directory), std::move(state), *std::move(listener)};
  (void)directory.Remove();
  return status;
}

// Of this process, and so of those that it makes.
static absl::Status TakePriorities(const Preparation& preparation) {
  const oci::Process& process = *preparation.spec.process;
  const sentry::boot::Scheduling& scheduling = preparation.plan.boot.scheduling;
  const auto at = [](const char* path, const absl::Status& status) { return status.ok() ? status : absl::Status(status.code(), absl::StrCat(path, ": ", status.message())); };
  if (process.scheduler.has_value()) TRY_STATUS(at("$.process.scheduler", SetScheduler(scheduling.policy, scheduling.nice)));
  if (process.io_priority.has_value()) TRY_STATUS(at("$.process.ioPriority", SetIoPriority(scheduling.io_priority)));
  std::map<std::string, ClockOffset> offsets;
  for (const auto& [clock, offset] : preparation.spec.linux_config.time_offsets) offsets[clock] = {offset.secs, offset.nanosecs};
  if (!offsets.empty()) TRY_STATUS(at("$.linux.timeOffsets", OffsetClocksOfChildren(offsets)));
  return absl::OkStatus();
}

absl::StatusOr<Outcome> MonitorContainer(const Invocation& invocation, Preparation& preparation, ContainerSetting setting) {
  TRY_STATUS(EnterGroups(preparation));
  if (preparation.rdt.has_value()) TRY_STATUS(EnterResctrl(*preparation.rdt, ::getpid()));
  for (const ForeignNamespace& ns : preparation.namespaces) {
    if (ns.type == CLONE_NEWTIME) setting.clocks = &ns;
    // The sandbox's processes have user namespaces of their own; of a named one they have the maps.
    else if (ns.type != CLONE_NEWPID && ns.type != CLONE_NEWUSER) TRY_STATUS(EnterNamespace(ns));
  }
  TRY_STATUS(MakeNamespacesForHooks(preparation.spec, /*may_lack=*/!invocation.caller.IsRoot()));
  if (const auto score = preparation.spec.process->oom_score_adj; score.has_value()) {
    // Who has no right to a lower one keeps his own, as under other runtimes without root.
    const absl::Status written = WriteSmallFile("/proc/self/oom_score_adj", absl::StrCat(*score));
    if (!written.ok() && invocation.caller.IsRoot() && !absl::IsPermissionDenied(written)) return written;
  }
  TRY_STATUS(TakePriorities(preparation));
  setting.id_maps = preparation.id_maps;
  if (!preparation.sandbox.empty()) return RunPodContainer(invocation, preparation, setting);
  return RunContainer(std::move(preparation.plan), preparation.options, invocation.caller, setting);
}

}  // namespace rampart::runner
