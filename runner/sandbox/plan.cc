#include "runner/sandbox/plan.h"

#include <linux/capability.h>
#include <sys/resource.h>

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "runner/sandbox/capability_names.h"
#include "runner/sandbox/plan_mounts.h"
#include "runner/sandbox/plan_scheduling.h"
#include "runner/sandbox/seccomp_profile.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

constexpr const char* kRlimitNames[sentry::boot::kRlimits] = {
    "RLIMIT_CPU",     "RLIMIT_FSIZE", "RLIMIT_DATA",  "RLIMIT_STACK",      "RLIMIT_CORE",     "RLIMIT_RSS",  "RLIMIT_NPROC",  "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK", "RLIMIT_AS",    "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME"};

constexpr CapabilitySet Bit(int capability) { return CapabilitySet{1} << capability; }

absl::Status PlanIdentity(const oci::Process& process, const SandboxOptions& options, Plan& plan) {
  auto& identity = plan.boot.identity;
  identity.uid = process.user.uid;
  identity.gid = process.user.gid;
  identity.groups = process.user.additional_gids;
  identity.no_new_privs = process.no_new_privileges || options.no_new_privs;
  if (process.capabilities.has_value()) {
    auto& sets = identity.capabilities;
    sets.effective = TRY_STATUS(ParseCapabilities(process.capabilities->effective));
    sets.permitted = TRY_STATUS(ParseCapabilities(process.capabilities->permitted));
    sets.inheritable = TRY_STATUS(ParseCapabilities(process.capabilities->inheritable));
    sets.bounding = TRY_STATUS(ParseCapabilities(process.capabilities->bounding));
    sets.ambient = TRY_STATUS(ParseCapabilities(process.capabilities->ambient));
  } else {
    identity.capabilities = sentry::boot::CapabilitySets::Of(identity.uid == 0 ? kAllCapabilities : 0);
  }
  if (options.drop_net_raw) {
    auto& sets = identity.capabilities;
    for (uint64_t* set : {&sets.effective, &sets.permitted, &sets.inheritable, &sets.bounding, &sets.ambient}) *set &= ~Bit(CAP_NET_RAW);
  }
  return absl::OkStatus();
}

absl::Status PlanRlimits(const oci::Process& process, const Caller& caller, Plan& plan) {
  plan.boot.rlimits = caller.rlimits;
  plan.boot.rlimits.resize(sentry::boot::kRlimits);
  for (const oci::Rlimit& limit : process.rlimits) {
    const auto name = std::find(std::begin(kRlimitNames), std::end(kRlimitNames), limit.type);
    if (name == std::end(kRlimitNames)) return UsageError(absl::StrCat("'", limit.type, "' is not a resource limit of Linux"));
    plan.boot.rlimits[static_cast<size_t>(name - std::begin(kRlimitNames))] = {limit.soft, limit.hard};
  }
  return absl::OkStatus();
}

absl::Status PlanProcess(const oci::Process& process, const SandboxOptions& options, const Caller& caller, Plan& plan) {
  if (process.args.empty() || process.args[0].empty()) return UsageError("no program is named");
  auto& boot = plan.boot;
  boot.argv = process.args;
  boot.environment = process.env;
  for (const std::string& variable : boot.environment) {
    if (variable.find('=') == std::string::npos) return UsageError(absl::StrCat("the environment variable '", variable, "' has no '='"));
  }
  boot.cwd = CleanPath(process.cwd);
  boot.umask = process.user.umask.value_or(022);
  boot.terminal_is_controlling = process.terminal;
  TRY_STATUS(PlanIdentity(process, options, plan));
  return PlanRlimits(process, caller, plan);
}

absl::Status PlanLimits(const oci::Spec& spec, Plan& plan) {
  if (!spec.linux_config.resources.has_value()) return absl::OkStatus();
  const oci::Resources& resources = *spec.linux_config.resources;
  if (resources.memory.has_value() && resources.memory->limit.value_or(-1) > 0) {
    const auto bytes = static_cast<uint64_t>(*resources.memory->limit);
    plan.boot.limits.memory_bytes = bytes;
    plan.cgroup.memory_bytes = bytes + MemoryHeadroom(bytes);
  }
  if (resources.pids.has_value() && resources.pids->limit > 0) {
    if (resources.pids->limit > 1 << 22) return UsageError(absl::StrCat("a limit of ", resources.pids->limit, " tasks is beyond what Linux has (4194304)"));
    const auto pids = static_cast<uint32_t>(resources.pids->limit);
    plan.boot.limits.pids = pids;
    plan.cgroup.tasks = TaskLimit(pids);
  }
  if (resources.cpu.has_value() && resources.cpu->quota.value_or(-1) > 0) {
    plan.cgroup.cpu_quota = *resources.cpu->quota;
    plan.cgroup.cpu_period = resources.cpu->period.value_or(100'000);
    if (plan.cgroup.cpu_period < 1000 || plan.cgroup.cpu_period > 1'000'000) return UsageError("the processor period must be 1000 to 1000000 µs");
    if (plan.cgroup.cpu_quota < 1000) return UsageError("the processor quota must be at least 1000 µs");
    plan.boot.limits.cpu_quota = plan.cgroup.cpu_quota;
    plan.boot.limits.cpu_period = plan.cgroup.cpu_period;
    const auto quota = static_cast<uint64_t>(plan.cgroup.cpu_quota);
    plan.boot.limits.cpus = static_cast<uint32_t>(std::min<uint64_t>((quota + plan.cgroup.cpu_period - 1) / plan.cgroup.cpu_period, 4096));
  }
  return absl::OkStatus();
}

// Nodes as the specification has them. Those of devices that the kernel inside does not have open with ENXIO, as without a driver: nothing of the host's
// devices can be reached.
absl::Status PlanDevices(const std::vector<oci::Device>& devices, Plan& plan) {
  for (size_t i = 0; i < devices.size(); ++i) {
    const oci::Device& device = devices[i];
    const std::string path = absl::StrCat("$.linux.devices[", i, "] (", device.path, ")");
    if (device.type.size() != 1 || std::string_view("cubp").find(device.type[0]) == std::string_view::npos) {
      return UsageError(absl::StrCat(path, ": type '", device.type, "' is none of c, u, b, p"));
    }
    if (device.major < 0 || device.major > 0xfff || device.minor < 0 || device.minor > 0xfffff) {
      return UsageError(absl::StrCat(path, ": ", device.major, ":", device.minor, " is no device number"));
    }
    using Kind = sentry::boot::DeviceKind;
    plan.boot.devices.push_back({.path = CleanPath(device.path),
                                 .kind = device.type == "b" ? Kind::kBlock : device.type == "p" ? Kind::kFifo : Kind::kCharacter,
                                 .major = static_cast<uint32_t>(device.major),
                                 .minor = static_cast<uint32_t>(device.minor),
                                 .mode = device.file_mode.value_or(0666) & 07777,
                                 .uid = device.uid.value_or(0),
                                 .gid = device.gid.value_or(0)});
  }
  return absl::OkStatus();
}

absl::Status PlanSysctls(const std::map<std::string, std::string>& sysctls, Plan& plan) {
  static constexpr const char* kNamespaced[] = {"kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.", "net."};
  for (const auto& [name, value] : sysctls) {
    const std::string path = absl::StrCat("$.linux.sysctl['", name, "']");
    if (name == "kernel.domainname") continue;  // carried out with $.domainname
    const bool known = std::any_of(std::begin(kNamespaced), std::end(kNamespaced), [&](const char* prefix) { return name.starts_with(prefix); });
    const bool plain = name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./") == std::string::npos &&
                       name.find("..") == std::string::npos;
    if (!known || !plain) return UsageError(absl::StrCat(path, ": is not a setting of a namespace (kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*, net.* are)"));
    std::string file = name;
    if (name.find('/') == std::string::npos) std::replace(file.begin(), file.end(), '.', '/');
    plan.boot.sysctls.push_back({file, value});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Plan> MakePlan(const oci::Spec& spec, const SandboxOptions& options, const Caller& caller) {
  Plan plan;
  if (!spec.process.has_value()) return UsageError("the specification names no process");
  TRY_STATUS(PlanProcess(*spec.process, options, caller, plan));
  plan.boot.scheduling = TRY_STATUS(PlanScheduling(*spec.process, spec.linux_config.personality));
  for (const oci::Hook& hook : spec.hooks.start_container) {
    plan.boot.start_hooks.push_back({hook.path, hook.args, hook.env, static_cast<uint32_t>(hook.timeout.value_or(0))});
  }
  TRY_STATUS(PlanMounts(spec, options, plan));
  TRY_STATUS(PlanLimits(spec, plan));
  plan.boot.hostname = spec.hostname;
  if (spec.hostname.size() > 64) return UsageError(absl::StrCat("the host name '", spec.hostname, "' is longer than 64 bytes"));
  plan.boot.domainname = spec.domainname;
  if (spec.domainname.size() > 64) return UsageError(absl::StrCat("the domain name '", spec.domainname, "' is longer than 64 bytes"));
  plan.boot.masked_paths = spec.linux_config.masked_paths;
  plan.boot.readonly_paths = spec.linux_config.readonly_paths;
  if (options.seccomp_profile && spec.linux_config.seccomp.has_value()) plan.boot.filter = TRY_STATUS(CompileProfile(*spec.linux_config.seccomp));
  TRY_STATUS(PlanDevices(spec.linux_config.devices, plan));
  TRY_STATUS(PlanSysctls(spec.linux_config.sysctl, plan));
  plan.boot.platform = options.platform;
  plan.boot.strace = options.strace;
  plan.boot.strace_set = options.strace_set;
  // As root the gofer serves files of every user. Reading is all that it may do beyond its uid unless something is writable.
  if (caller.IsRoot()) {
    plan.gofer_capabilities = Bit(CAP_DAC_READ_SEARCH);
    if (plan.any_writable) plan.gofer_capabilities |= Bit(CAP_DAC_OVERRIDE) | Bit(CAP_CHOWN) | Bit(CAP_FOWNER) | Bit(CAP_FSETID);
  }
  return plan;
}

}  // namespace rampart::runner
