#include "runner/runsc/config.h"

#include <ctime>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

// What an image's author may say of his own container: nothing that opens the sandbox.
constexpr const char* kSafeFlags[] = {"debug", "strace", "strace-syscalls", "overlay2", "oci-seccomp", "file-access", "file-access-mounts", "platform"};

void DeclareIgnored(Flags& flags) {
  flags.Ignored("log-packets", true, "there is no network stack yet");
  flags.Ignored("gso", true, "there is no network stack yet");
  flags.Ignored("software-gso", true, "there is no network stack yet");
  flags.Ignored("tx-checksum-offload", true, "there is no network stack yet");
  flags.Ignored("rx-checksum-offload", true, "there is no network stack yet");
  flags.Ignored("qdisc", false, "there is no network stack yet");
  flags.Ignored("num-network-channels", false, "there is no network stack yet");
  flags.Ignored("fdlimit", false, "the gofer's descriptors are limited by RLIMIT_NOFILE of whoever starts runsc");
  flags.Ignored("dcache", false, "cached names follow the container's memory limit");
  flags.Ignored("directfs", true, "files that may be donated are always opened once and then used without the gofer");
  flags.Ignored("watchdog-action", false, "there is no watchdog: tasks are host threads");
  flags.Ignored("panic-signal", false, "the processes end by their own signals");
  flags.Ignored("panic-log", false, "what ends a process is in --debug-log and --log");
  flags.Ignored("debug-log-format", false, "there is one format");
  flags.Ignored("debug-to-user-log", true, "there is no user log");
  flags.Ignored("strace-log-size", false, "arguments are shortened as strace(1) does");
  flags.Ignored("strace-event", true, "there are no events");
  flags.Ignored("alsologtostderr", true, "errors always go to standard error too");
  flags.Ignored("cpu-num-from-quota", true, "the number of processors inside always follows the quota");
  flags.Ignored("profile", true, "use perf(1) on the sentry");
  flags.Ignored("ref-leak-mode", false, "for gVisor's developers");
  flags.Ignored("vfs2", true, "deprecated by gVisor");
  flags.Ignored("fuse", true, "deprecated by gVisor");
  flags.Ignored("lisafs", true, "deprecated by gVisor");
  flags.Ignored("cgroupfs", true, "deprecated by gVisor");
  flags.Ignored("buffer-pooling", true, "deprecated by gVisor");
}

}  // namespace

Flags GlobalFlags(Config& config) {
  Flags flags;
  flags.String("root", &config.root, "where states are kept: /var/run/runsc as root, $XDG_RUNTIME_DIR/runsc otherwise");
  flags.String("log", &config.log, "append errors to this file as well as to standard error");
  flags.String("log-format", &config.log_format, "text, json or json-k8s");
  flags.Bool("debug", &config.debug, "log what the sandbox's processes do, to --debug-log or standard error of runsc");
  flags.String("debug-log", &config.debug_log, "file, or directory when it ends in '/', for the processes' log; %ID%, %COMMAND% and %TIMESTAMP% are filled in");
  flags.Bool("strace", &config.strace, "log system calls, to --debug-log");
  flags.String("strace-syscalls", &config.strace_syscalls, "only these, comma-separated");
  flags.String("platform", &config.platform, "ptrace, kvm, or auto: the first that works here");
  flags.String("network", &config.network, "none: loopback inside only. sandbox and host are not there yet");
  flags.String("file-access", &config.file_access, "exclusive: nobody else changes the root while the container lives; shared: look each time");
  flags.String("file-access-mounts", &config.file_access_mounts, "the same for bind mounts");
  flags.Bool("overlay", &config.overlay, "as --overlay2=all:memory");
  flags.String("overlay2", &config.overlay2, "none: writes go to the host's root; root:memory: they stay in memory; all:memory: those to bind mounts too");
  flags.String("host-uds", &config.host_uds, "none: sockets of the host cannot be used. Others are not there yet");
  flags.Bool("rootless", &config.rootless, "run as an ordinary user (found out by itself)");
  flags.Bool("ignore-cgroups", &config.ignore_cgroups, "make no cgroups: memory and tasks are limited inside only");
  flags.Bool("systemd-cgroup", &config.systemd_cgroup, "linux.cgroupsPath is SLICE:PREFIX:NAME (found out by itself)");
  flags.Bool("oci-seccomp", &config.oci_seccomp, "enforce linux.seccomp inside");
  flags.Bool("allow-suid", &config.allow_suid, "honour set-user-ID bits of the root's files");
  flags.Bool("net-raw", &config.net_raw, "let containers have CAP_NET_RAW");
  flags.Bool("allow-flag-override", &config.allow_flag_override, "let annotations (dev.gvisor.flag.NAME) set any flag, not only safe ones");
  flags.Bool("version", &config.show_version, "print the version");
  flags.Alias("v");
  flags.Bool("help", &config.show_help, "print this");
  flags.Alias("h");
  DeclareIgnored(flags);
  return flags;
}

absl::Status CheckConfig(const Config& config) {
  const auto one_of = [](const char* flag, const std::string& value, std::initializer_list<const char*> known) -> absl::Status {
    if (std::any_of(known.begin(), known.end(), [&](const char* one) { return value == one; })) return absl::OkStatus();
    std::string list;
    for (const char* one : known) absl::StrAppend(&list, list.empty() ? "" : ", ", one);
    return UsageError(absl::StrCat("--", flag, "=", value, ": one of ", list, " is expected"));
  };
  TRY_STATUS(one_of("log-format", config.log_format, {"text", "json", "json-k8s"}));
  TRY_STATUS(one_of("file-access", config.file_access, {"exclusive", "shared"}));
  TRY_STATUS(one_of("file-access-mounts", config.file_access_mounts, {"exclusive", "shared"}));
  if (config.network == "sandbox" || config.network == "host") {
    return UsageError(absl::StrCat("--network=", config.network, " is not there yet: containers have their own loopback only (--network=none, the default)"));
  }
  TRY_STATUS(one_of("network", config.network, {"none"}));
  if (config.host_uds != "none") return UsageError(absl::StrCat("--host-uds=", config.host_uds, " is not there yet: only none is"));
  if (config.overlay2 == "root:self" || config.overlay2 == "all:self" || absl::StrContains(config.overlay2, "dir=") ||
      absl::StrContains(config.overlay2, "size=")) {
    return UsageError(absl::StrCat("--overlay2=", config.overlay2, " is not there yet: use root:memory (the default), all:memory, or none"));
  }
  return one_of("overlay2", config.overlay2, {"none", "root:memory", "all:memory"});
}

absl::StatusOr<std::string> ChooseRoot(const Config& config, uint32_t uid) {
  if (!config.root.empty()) return config.root;
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (uid == 0 && !config.rootless) return std::string("/var/run/runsc");
  if (runtime != nullptr && runtime[0] == '/') return absl::StrCat(runtime, "/runsc");
  if (uid == 0) return std::string("/var/run/runsc");
  return UsageError("there is no place for states: XDG_RUNTIME_DIR is not set; set it, or give --root DIR");
}

absl::Status ApplyAnnotations(const oci::Spec& spec, Config& config) {
  static constexpr absl::string_view kPrefix = "dev.gvisor.flag.";
  Flags flags = GlobalFlags(config);
  for (const auto& [key, value] : spec.annotations) {
    if (!absl::StartsWith(key, kPrefix)) continue;
    const std::string name = key.substr(kPrefix.size());
    const bool safe = std::find(std::begin(kSafeFlags), std::end(kSafeFlags), name) != std::end(kSafeFlags) &&
                      !(name == "oci-seccomp" && value != "true") && !(name == "overlay2" && value == "none");
    if (!safe && !config.allow_flag_override) {
      return UsageError(absl::StrCat("$.annotations['", key, "']: this flag may be set so only with --allow-flag-override"));
    }
    if (const absl::Status set = flags.Set(name, value); !set.ok()) return UsageError(absl::StrCat("$.annotations['", key, "']: ", set.message()));
  }
  return CheckConfig(config);
}

SandboxOptions OptionsOf(const Config& config, const std::string& id, const std::string& command) {
  SandboxOptions options;
  options.platform = config.platform == "auto" ? "" : config.platform;
  options.overlay_root = config.overlay2 != "none" || config.overlay;
  options.overlay_binds = config.overlay2 == "all:memory" || config.overlay;
  options.root_is_shared = config.file_access == "shared";
  options.binds_are_exclusive = config.file_access_mounts == "exclusive";
  options.root_is_nosuid = !config.allow_suid;
  options.seccomp_profile = config.oci_seccomp;
  options.drop_net_raw = !config.net_raw;
  options.strace = config.strace;
  options.strace_set = config.strace_syscalls;
  options.quiet = true;
  options.devices_may_be_bound = true;
  if ((config.debug || config.strace) && !config.debug_log.empty()) {
    std::string log = config.debug_log;
    if (absl::EndsWith(log, "/")) absl::StrAppend(&log, "runsc.log.%TIMESTAMP%.%COMMAND%");
    const std::string now = absl::StrCat(std::time(nullptr));
    options.debug_log = absl::StrReplaceAll(log, {{"%ID%", id}, {"%COMMAND%", command}, {"%TIMESTAMP%", now}});
  }
  return options;
}

}  // namespace rampart::runner
