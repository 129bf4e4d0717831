#include "runner/sandbox/child_config.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner/sandbox/wire.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::sentry::boot {

// In the namespace of the structs: found by the archives through argument-dependent lookup.
template <class Archive>
void Fields(Archive& ar, DonatedFile& v) {
  ar(v.guest_fd), ar(v.host_fd);
}
template <class Archive>
void Fields(Archive& ar, Rlimit& v) {
  ar(v.soft), ar(v.hard);
}
template <class Archive>
void Fields(Archive& ar, Limits& v) {
  ar(v.memory_bytes), ar(v.pids), ar(v.cpus), ar(v.cpu_quota), ar(v.cpu_period);
}
template <class Archive>
void Fields(Archive& ar, CapabilitySets& v) {
  ar(v.effective), ar(v.permitted), ar(v.inheritable), ar(v.bounding), ar(v.ambient);
}
template <class Archive>
void Fields(Archive& ar, DeviceNode& v) {
  ar(v.path), ar(v.kind), ar(v.major), ar(v.minor), ar(v.mode), ar(v.uid), ar(v.gid);
}
template <class Archive>
void Fields(Archive& ar, Sysctl& v) {
  ar(v.file), ar(v.value);
}
template <class Archive>
void Fields(Archive& ar, FilterInstruction& v) {
  ar(v.code), ar(v.if_true), ar(v.if_false), ar(v.value);
}
template <class Archive>
void Fields(Archive& ar, Identity& v) {
  ar(v.uid), ar(v.gid), ar(v.groups), ar(v.capabilities), ar(v.no_new_privs);
}
template <class Archive>
void Fields(Archive& ar, Mount& v) {
  ar(v.type), ar(v.destination), ar(v.attach), ar(v.source), ar(v.shared), ar(v.attach_is_directory), ar(v.readonly), ar(v.nosuid), ar(v.nodev), ar(v.noexec);
  ar(v.noatime), ar(v.nodiratime), ar(v.strictatime), ar(v.nosymfollow), ar(v.propagation), ar(v.propagation_is_recursive);
  ar(v.overlay), ar(v.access), ar(v.size_limit), ar(v.mode);
}
template <class Archive>
void Fields(Archive& ar, Scheduling& v) {
  ar(v.policy), ar(v.nice), ar(v.reset_on_fork), ar(v.io_priority), ar(v.personality), ar(v.oom_score_adj);
}
template <class Archive>
void Fields(Archive& ar, StartHook& v) {
  ar(v.path), ar(v.argv), ar(v.environment), ar(v.timeout_seconds);
}
template <class Archive>
void Fields(Archive& ar, BootConfig& v) {
  ar(v.gofer_fd), ar(v.control_fd), ar(v.log_fd), ar(v.stats_fd), ar(v.platform_fds), ar(v.files);
  ar(v.argv), ar(v.environment), ar(v.cwd), ar(v.identity), ar(v.umask), ar(v.rlimits);
  ar(v.ignored_signals), ar(v.blocked_signals), ar(v.terminal_is_controlling);
  ar(v.container), ar(v.program_must_exist), ar(v.hostname), ar(v.domainname), ar(v.mounts), ar(v.devices), ar(v.masked_paths), ar(v.readonly_paths);
  ar(v.sysctls), ar(v.filter), ar(v.executable), ar(v.scheduling), ar(v.start_hooks), ar(v.hook_state_before), ar(v.hook_state_after);
  ar(v.limits), ar(v.host_clock_is_tsc);
  ar(v.platform), ar(v.strace), ar(v.strace_set), ar(v.log_level);
}

}  // namespace rampart::sentry::boot

namespace rampart::runner {

template <class Archive>
void Fields(Archive& ar, SecurityLabels& v) {
  ar(v.profile), ar(v.selinux);
}
template <class Archive>
void Fields(Archive& ar, SentryChild& v) {
  ar(v.host_uid), ar(v.host_gid), ar(v.change_user), ar(v.processors), ar(v.self_test), ar(v.labels), ar(v.boot);
}
template <class Archive>
void Fields(Archive& ar, GoferExport& v) {
  ar(v.name), ar(v.path), ar(v.readonly), ar(v.tree);
}
template <class Archive>
void Fields(Archive& ar, GoferChild& v) {
  ar(v.keep), ar(v.become_root), ar(v.channel_fd), ar(v.log_level), ar(v.labels), ar(v.exports);
}

namespace {

template <class T>
std::string EncodeAny(const T& config) {
  WireWriter writer;
  writer(config);
  return writer.bytes();
}

template <class T>
absl::StatusOr<T> DecodeAny(std::string_view bytes) {
  T config;
  WireReader reader(bytes);
  reader(config);
  if (!reader.Complete()) return absl::InvalidArgumentError("the configuration from the runner is malformed");
  return config;
}

}  // namespace

std::string Encode(const SentryChild& config) { return EncodeAny(config); }
std::string Encode(const GoferChild& config) { return EncodeAny(config); }
absl::StatusOr<SentryChild> DecodeSentry(std::string_view bytes) { return DecodeAny<SentryChild>(bytes); }
absl::StatusOr<GoferChild> DecodeGofer(std::string_view bytes) { return DecodeAny<GoferChild>(bytes); }

absl::StatusOr<UniqueFd> StoreConfig(const std::string& bytes) {
  UniqueFd fd(::memfd_create("rampart-config", MFD_CLOEXEC));
  if (!fd.valid()) return SystemError("make a memory file");
  if (!WriteAll(fd.get(), bytes)) return SystemError("fill a memory file");
  return fd;
}

absl::StatusOr<std::string> LoadConfig(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError("this is an internal command: it is started by sentry-run, not by hand");
  }
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return SystemError("read the configuration");
    done += static_cast<size_t>(n);
  }
  return bytes;
}

}  // namespace rampart::runner
