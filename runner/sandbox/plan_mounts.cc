#include "runner/sandbox/plan_mounts.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

using sentry::boot::FileAccess;
using sentry::boot::Mount;

// The host's real path of a source, so that the gofer exports what the caller meant.
absl::StatusOr<std::string> Resolve(const std::string& path, const std::string& role) {
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr) {
    if (errno == ENOENT) return absl::NotFoundError(absl::StrCat(role, " '", path, "' does not exist on the host: create it, or name another"));
    return SystemError(absl::StrCat(role, " '", path, "'"));
  }
  return std::string(resolved);
}

absl::StatusOr<bool> IsDirectory(const std::string& path, const std::string& role) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return SystemError(absl::StrCat(role, " '", path, "'"));
  if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode)) {
    return UsageError(absl::StrCat(role, " '", path, "' is neither a directory nor a regular file"));
  }
  return S_ISDIR(info.st_mode);
}

// A character device of the host that the kernel inside has too: podman without root binds them.
bool IsKnownDevice(const std::string& path, struct stat& info) {
  return ::stat(path.c_str(), &info) == 0 && S_ISCHR(info.st_mode) && KernelHasDevice(major(info.st_rdev), minor(info.st_rdev));
}

// A word for propagation ("rshared"). False: it is none.
bool ApplyPropagation(const std::string& word, Mount& mount) {
  using sentry::boot::MountPropagation;
  struct Word {
    const char* name;
    MountPropagation propagation;
  };
  static constexpr Word kWords[] = {{"private", MountPropagation::kPrivate},
                                    {"shared", MountPropagation::kShared},
                                    {"slave", MountPropagation::kSlave},
                                    {"unbindable", MountPropagation::kUnbindable}};
  for (const Word& one : kWords) {
    const bool recursive = word == absl::StrCat("r", one.name);
    if (word != one.name && !recursive) continue;
    mount.propagation = one.propagation;
    mount.propagation_is_recursive = recursive;
    return true;
  }
  return false;
}

absl::Status ApplyOption(const std::string& option, Mount& mount) {
  const auto fail = [&](absl::string_view why) {
    return UsageError(absl::StrCat("the mount at ", mount.destination, ": option '", option, "' ", why));
  };
  if (option == "ro" || option == "rro") mount.readonly = true;
  else if (option == "rw" || option == "rrw") mount.readonly = false;
  else if (option == "nosuid" || option == "rnosuid") mount.nosuid = true;
  else if (option == "suid" || option == "rsuid") mount.nosuid = false;
  else if (option == "nodev" || option == "rnodev") mount.nodev = true;
  else if (option == "dev" || option == "rdev") mount.nodev = false;
  else if (option == "noexec" || option == "rnoexec") mount.noexec = true;
  else if (option == "exec" || option == "rexec") mount.noexec = false;
  else if (option == "noatime" || option == "rnoatime") mount.noatime = true, mount.strictatime = false;
  else if (option == "strictatime" || option == "rstrictatime") mount.strictatime = true, mount.noatime = false;
  else if (option == "relatime" || option == "rrelatime" || option == "atime" || option == "ratime") mount.noatime = mount.strictatime = false;
  else if (option == "nodiratime" || option == "rnodiratime") mount.nodiratime = true;
  else if (option == "diratime" || option == "rdiratime") mount.nodiratime = false;
  else if (option == "nosymfollow" || option == "rnosymfollow") mount.nosymfollow = true;
  else if (option == "symfollow" || option == "rsymfollow") mount.nosymfollow = false;
  else if (ApplyPropagation(option, mount)) return absl::OkStatus();
  else if (option == "exclusive") mount.access = FileAccess::kExclusive;
  else if (option == "overlay") mount.overlay = true;
  else if (absl::StartsWith(option, "size=")) {
    const auto size = ParseSize(option.substr(5));
    if (!size.ok()) return fail(absl::StrCat("does not fit: ", size.status().message()));
    mount.size_limit = *size;
  } else if (absl::StartsWith(option, "mode=")) {
    mount.mode = 0;
    const std::string digits = option.substr(5);
    if (digits.empty() || digits.size() > 4 || digits.find_first_not_of("01234567") != std::string::npos) return fail("must be octal");
    for (const char digit : digits) mount.mode = mount.mode * 8 + static_cast<uint32_t>(digit - '0');
  } else {
    // Of no effect here: filesystems inside are in memory or the gofer's. norelatime and nostrictatime ask for what is the default.
    static constexpr const char* kIgnored[] = {"bind", "rbind", "async", "norelatime", "nostrictatime", "rnorelatime", "rnostrictatime", "newinstance", "defaults",
                                               "sync", "dirsync", "lazytime", "nolazytime", "mand", "nomand", "silent", "loud", "iversion", "noiversion", "tmpcopyup", "idmap", "ridmap"};
    for (const char* known : kIgnored) {
      if (option == known) return absl::OkStatus();
    }
    for (const char* prefix : {"ptmxmode=", "gid=", "uid=", "nr_inodes=", "nr_blocks=", "hidepid=", "subset="}) {
      if (absl::StartsWith(option, prefix)) return absl::OkStatus();
    }
    return fail("is not known");
  }
  return absl::OkStatus();
}

bool IsBind(const oci::Mount& mount) {
  if (mount.type == "bind") return true;
  for (const std::string& option : mount.options) {
    if (option == "bind" || option == "rbind") return true;
  }
  return false;
}

void AddExport(Plan& plan, Mount& mount, const std::string& name, const std::string& source) {
  const bool readonly = mount.readonly || mount.overlay;
  mount.type = "gofer";
  mount.attach = name;
  plan.exports.push_back({name, source, readonly});
  plan.any_writable = plan.any_writable || !readonly;
}

absl::Status PlanRoot(const oci::Root& root, const std::string& propagation, const SandboxOptions& options, Plan& plan) {
  const std::string source = TRY_STATUS(Resolve(root.path, "the root"));
  if (!TRY_STATUS(IsDirectory(source, "the root"))) return UsageError(absl::StrCat("the root '", root.path, "' is not a directory"));
  Mount mount;
  mount.destination = "/";
  mount.overlay = options.overlay_root;
  if (mount.overlay) mount.size_limit = options.overlay_size;
  mount.readonly = root.readonly;
  mount.nosuid = options.root_is_nosuid;
  mount.access = options.root_is_shared ? FileAccess::kShared : FileAccess::kExclusive;
  if (!propagation.empty() && !ApplyPropagation(propagation, mount)) {
    return UsageError(absl::StrCat("$.linux.rootfsPropagation: '", propagation, "' is not a propagation (private, slave, shared, unbindable are, and with an r before them)"));
  }
  AddExport(plan, mount, "root", source);
  plan.boot.mounts.push_back(mount);
  return absl::OkStatus();
}

bool HasOption(const oci::Mount& mount, std::string_view word) { return std::find(mount.options.begin(), mount.options.end(), word) != mount.options.end(); }

std::vector<IdRange> RangesOf(const std::vector<oci::IdMapping>& mappings) {
  std::vector<IdRange> out;
  for (const oci::IdMapping& one : mappings) out.push_back({one.container_id, one.host_id, one.size});
  return out;
}

// To whom the files of an idmapped mount belong: as it says itself, else as the container's user namespace does.
absl::Status PlanOwners(const oci::Mount& wanted, const oci::LinuxConfig& config, GoferExport* out) {
  const bool below = HasOption(wanted, "ridmap");
  const bool own = !wanted.uid_mappings.empty();
  if (!own && !below && !HasOption(wanted, "idmap")) return absl::OkStatus();
  const auto fault = [&](const char* why) { return UsageError(absl::StrCat("the mount at ", wanted.destination, ": ", why)); };
  if (out == nullptr) return fault("only bind mounts can be idmapped");
  out->owners = own ? IdMaps{RangesOf(wanted.uid_mappings), RangesOf(wanted.gid_mappings)} : IdMaps{RangesOf(config.uid_mappings), RangesOf(config.gid_mappings)};
  out->owners_below = below;
  if (out->owners.uids.empty()) return fault("idmap needs uidMappings and gidMappings, of the mount or of $.linux");
  return absl::OkStatus();
}

absl::Status PlanMount(const oci::Mount& wanted, const oci::LinuxConfig& config, const SandboxOptions& options, Plan& plan) {
  Mount mount;
  mount.destination = CleanPath(wanted.destination);
  if (mount.destination == "/") return UsageError("a mount at / would hide the root: name the root instead");
  for (const std::string& option : wanted.options) TRY_STATUS(ApplyOption(option, mount));
  struct stat info {};
  if (options.devices_may_be_bound && IsBind(wanted) && IsKnownDevice(wanted.source, info)) {
    plan.boot.devices.push_back({.path = mount.destination, .major = major(info.st_rdev), .minor = minor(info.st_rdev), .mode = info.st_mode & 0777});
    return absl::OkStatus();
  }
  if (IsBind(wanted)) {
    const std::string source = TRY_STATUS(Resolve(wanted.source, "the source of a bind,"));
    mount.attach_is_directory = TRY_STATUS(IsDirectory(source, "the source of a bind,"));
    bool exclusive = options.binds_are_exclusive;
    mount.overlay = mount.overlay || (options.overlay_binds && !mount.readonly);
    mount.size_limit = mount.overlay ? options.overlay_size : 0;
    for (const std::string& option : wanted.options) exclusive = exclusive || option == "exclusive";
    mount.access = exclusive ? FileAccess::kExclusive : FileAccess::kShared;
    AddExport(plan, mount, absl::StrCat("bind", plan.exports.size()), source);
    TRY_STATUS(PlanOwners(wanted, config, &plan.exports.back()));
  } else {
    TRY_STATUS(PlanOwners(wanted, config, nullptr));
    static constexpr const char* kOurs[] = {"tmpfs", "proc", "sysfs", "devtmpfs", "devpts", "mqueue", "cgroup2"};
    for (const char* type : kOurs) {
      if (wanted.type == type) mount.type = type;
    }
    if (wanted.type == "cgroup") mount.type = "cgroup2";  // which the specification leaves to us
    if (mount.type == "cgroup2") mount.readonly = true;
    if (wanted.type == "tmpfs" && wanted.destination == "/dev") mount.type = "devtmpfs";
    if (mount.type.empty()) {
      return UsageError(absl::StrCat("the mount at ", mount.destination, ": type '", wanted.type,
                                     "' is not known (bind, tmpfs, proc, sysfs, devtmpfs, devpts, mqueue, cgroup are)"));
    }
  }
  if (!IsBind(wanted)) mount.source = wanted.source;
  if (mount.type == "tmpfs") mount.shared = wanted.shared;
  plan.boot.mounts.push_back(mount);
  return absl::OkStatus();
}

}  // namespace

bool KernelHasDevice(int64_t major, int64_t minor) {
  static constexpr int kMemory[] = {3, 5, 7, 8, 9};  // null, zero, full, random, urandom
  if (major == 1) return std::find(std::begin(kMemory), std::end(kMemory), minor) != std::end(kMemory);
  return major == 5 && (minor == 0 || minor == 2);  // tty, ptmx
}

absl::Status PlanMounts(const oci::Spec& spec, const SandboxOptions& options, Plan& plan) {
  if (!spec.root.has_value()) return UsageError("the specification names no root");
  TRY_STATUS(PlanRoot(*spec.root, spec.linux_config.rootfs_propagation, options, plan));
  for (const oci::Mount& mount : spec.mounts) TRY_STATUS(PlanMount(mount, spec.linux_config, options, plan));
  return absl::OkStatus();
}

}  // namespace rampart::runner
