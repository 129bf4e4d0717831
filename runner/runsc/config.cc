#include "runner/runsc/config.h"

#include <ctime>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "runner/namespaces/id_map.h"
#include "runner/sandbox/plan.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

// What an image's author may say of his own container: nothing that opens the sandbox.
constexpr const char* kSafeFlags[] = {"debug", "strace", "strace-syscalls", "overlay2", "oci-seccomp", "file-access", "file-access-mounts", "platform"};

// gVisor's flags that have nothing to do here, each with the reason: a configuration that was written for it works unchanged.
struct IgnoredFlag {
  const char* name;
  bool is_bool;
  const char* why;
};
constexpr char kNoNetwork[] = "there is no network stack yet";
constexpr char kUsePerf[] = "use perf(1) on the sentry";
constexpr char kNoMetrics[] = "there is no metrics server: use runsc events";
constexpr char kDeprecated[] = "deprecated by gVisor";
constexpr char kForDevelopers[] = "for gVisor's developers";
constexpr IgnoredFlag kIgnored[] = {
    {"log-packets", true, kNoNetwork}, {"pcap-log", false, kNoNetwork}, {"gso", true, kNoNetwork}, {"software-gso", true, kNoNetwork},
    {"gvisor-gro", true, kNoNetwork}, {"tx-checksum-offload", true, kNoNetwork}, {"rx-checksum-offload", true, kNoNetwork}, {"qdisc", false, kNoNetwork},
    {"qdisc-tbf-rate", false, kNoNetwork}, {"qdisc-tbf-burst", false, kNoNetwork}, {"num-network-channels", false, kNoNetwork},
    {"network-processors-per-channel", false, kNoNetwork}, {"EXPERIMENTAL-xdp", false, kNoNetwork}, {"reproduce-nat", true, kNoNetwork},
    {"reproduce-nftables", true, kNoNetwork}, {"net-disconnect-ok", true, kNoNetwork}, {"pause-external-networking", true, kNoNetwork},
    {"allow-packet-socket-write", true, kNoNetwork}, {"gofer-network-namespace", false, "the gofer's network namespace is always a new, empty one"},
    {"allow-connected-on-save", true, "sandboxes cannot be saved yet"}, {"allow-live-tcp-migration", true, "sandboxes cannot be saved yet"},
    {"restore-spec-validation", false, "sandboxes cannot be saved yet"},
    {"fdlimit", false, "the gofer's descriptors are limited by RLIMIT_NOFILE of whoever starts runsc"},
    {"dcache", false, "cached names follow the container's memory limit"},
    {"directfs", true, "files that may be donated are always opened once and then used without the gofer"},
    {"host-fifo", false, "FIFOs of the host cannot be used"}, {"iouring", true, "applications have no io_uring"},
    {"mount-cgroup-v2", true, "containers are shown no cgroups of their own yet"}, {"shared-root", true, "states are always shared between versions"},
    {"watchdog-action", false, "there is no watchdog: tasks are host threads"},
    {"panic-signal", false, "the processes end by their own signals"}, {"panic-log", false, "what ends a process is in --debug-log and --log"},
    {"traceback", false, "what ends a process is in --debug-log and --log"}, {"debug-command", false, "only the sandbox's processes write debug logs"},
    {"debug-log-format", false, "there is one format"}, {"debug-to-user-log", true, "there is no user log"}, {"coverage-report", false, kForDevelopers},
    {"strace-log-size", false, "arguments are shortened as strace(1) does"}, {"strace-event", true, "there are no events"},
    {"alsologtostderr", true, "errors always go to standard error too"},
    {"cpu-num-from-quota", true, "the number of processors inside always follows the quota"},
    {"platform_device_path", false, "KVM is always /dev/kvm"}, {"systrap-disable-syscall-patching", true, "that platform is not there yet"},
    {"systrap-disable-fast-path", true, "that platform is not there yet"}, {"kvm-use-cpu-nums", true, "virtual processors follow the threads"},
    {"enable-core-tags", true, "core scheduling is not there yet"}, {"app-huge-pages", true, "the host decides about huge pages"},
    {"control-rpc-stop-timeout", false, "a sandbox is given ten seconds to answer"},
    {"gvisor-marker-file", true, "nothing inside says gVisor"}, {"override-procs", false, "nothing in /proc can be replaced"},
    {"character-device-policy", false, "only devices of the kernel inside can be opened"}, {"pod-init-config", false, "there are no trace sessions"},
    {"allow-rootfs-tar-annotation", true, "a root is a directory"}, {"host-settings", false, "no settings of the host are changed"},
    {"sidecar-release-enforcement-policy", false, "gVisor's own releases"},
    {"profile", true, kUsePerf}, {"profile-block", false, kUsePerf}, {"profile-cpu", false, kUsePerf}, {"profile-heap", false, kUsePerf},
    {"profile-mutex", false, kUsePerf}, {"profile-gc-interval", false, kUsePerf}, {"trace", false, kUsePerf},
    {"metric-server", false, kNoMetrics}, {"final-metrics-log", false, kNoMetrics}, {"profiling-metrics", false, kNoMetrics},
    {"profiling-metrics-log", false, kNoMetrics}, {"profiling-metrics-rate-us", false, kNoMetrics}, {"ref-leak-mode", false, kForDevelopers},
    {"nvproxy", true, "devices of the host cannot be used"}, {"tpuproxy", true, "devices of the host cannot be used"},
    {"rdmaproxy", true, "devices of the host cannot be used"},
    {"vfs2", true, kDeprecated}, {"fuse", true, kDeprecated}, {"lisafs", true, kDeprecated}, {"cgroupfs", true, kDeprecated},
    {"buffer-pooling", true, kDeprecated}, {"fsgofer-host-uds", true, kDeprecated}, {"save-restore-netstack", true, kDeprecated}};

// "all:memory,size=2g" → what of it is carried out. Nothing when it is not understood.
struct OverlayChoice {
  bool root = false;
  bool binds = false;
  uint64_t size = 0;
};
std::optional<OverlayChoice> ParseOverlay(const std::string& text) {
  OverlayChoice out;
  if (text == "none") return out;
  std::vector<std::string> parts = absl::StrSplit(text, ',');
  const std::vector<std::string> choice = absl::StrSplit(parts[0], absl::MaxSplits(':', 1));
  if (choice.size() != 2 || (choice[0] != "root" && choice[0] != "all") || (choice[1] != "memory" && choice[1] != "self")) return std::nullopt;
  out.root = true;
  out.binds = choice[0] == "all";
  for (size_t i = 1; i < parts.size(); ++i) {
    if (!absl::StartsWith(parts[i], "size=")) return std::nullopt;
    const auto size = ParseSize(parts[i].substr(5));
    if (!size.ok()) return std::nullopt;
    out.size = *size;
  }
  return out;
}

}  // namespace

bool InUserNamespace() {
  const auto text = ReadSmallFile("/proc/self/uid_map");
  const auto map = text.ok() ? ParseIdMap(*text) : text.status();
  return map.ok() && (map->size() != 1 || (*map)[0].count != UINT32_MAX);
}

Flags GlobalFlags(Config& config) {
  Flags flags;
  flags.String("root", &config.root, "where states are kept: /var/run/runsc as root, $XDG_RUNTIME_DIR/runsc otherwise");
  flags.String("log", &config.log, "append errors to this file as well as to standard error");
  flags.String("log-format", &config.log_format, "text, json or json-k8s");
  flags.Bool("debug", &config.debug, "log what the sandbox's processes do, to --debug-log or standard error of runsc");
  flags.String("debug-log", &config.debug_log, "file, or directory when it ends in '/', for the processes' log; %ID%, %COMMAND% and %TIMESTAMP% are filled in");
  flags.Bool("strace", &config.strace, "log system calls, to --debug-log");
  flags.String("strace-syscalls", &config.strace_syscalls, "only these, comma-separated");
  flags.String("platform", &config.platform, "ptrace, kvm, or auto: the best that works here; systrap is taken for auto");
  flags.String("network", &config.network, "none: loopback inside only; sandbox: what the container's network namespace has, which may be nothing but a loopback yet. host is not there yet");
  flags.String("file-access", &config.file_access, "exclusive: nobody else changes the root while the container lives; shared: look each time");
  flags.String("file-access-mounts", &config.file_access_mounts, "the same for bind mounts");
  flags.Bool("overlay", &config.overlay, "as --overlay2=all:memory");
  flags.String("overlay2", &config.overlay2, "none: writes go to the host's root; root:memory: they stay in memory; all:memory: those to bind mounts too; ,size=N: at most so many "
               "bytes each. self means memory here; dir= is not there yet");
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
  for (const IgnoredFlag& one : kIgnored) flags.Ignored(one.name, one.is_bool, one.why);
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
  if (config.network == "host") return UsageError("--network=host is not there yet: containers have their own loopback only (--network=none, the default)");
  TRY_STATUS(one_of("network", config.network, {"none", "sandbox"}));
  if (config.host_uds != "none") return UsageError(absl::StrCat("--host-uds=", config.host_uds, " is not there yet: only none is"));
  if (ParseOverlay(config.overlay2).has_value()) return absl::OkStatus();
  return UsageError(absl::StrCat("--overlay2=", config.overlay2, ": none, root:memory or all:memory is expected, the latter two with ,size=N or without (dir= is not there yet)"));
}

absl::StatusOr<std::string> ChooseRoot(const Config& config, uint32_t uid) {
  if (!config.root.empty()) return config.root;
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (uid == 0 && !config.rootless && !InUserNamespace()) return std::string("/var/run/runsc");
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
  options.platform = config.platform == "auto" || config.platform == "systrap" ? "" : config.platform;
  const OverlayChoice overlay = ParseOverlay(config.overlay2).value_or(OverlayChoice{.root = true});
  options.overlay_root = overlay.root || config.overlay;
  options.overlay_binds = overlay.binds || config.overlay;
  options.overlay_size = overlay.size;
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
