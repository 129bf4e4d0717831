#include "runner/namespaces/security_label.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

constexpr char kSelinuxCheck[] = "/sys/fs/selinux/context";  // takes contexts that the policy knows

// AppArmor's own directory first: where several security modules are stacked the plain file is another's.
UniqueFd OpenAppArmor() {
  UniqueFd fd(::open("/proc/self/attr/apparmor/current", O_WRONLY | O_CLOEXEC));
  return fd.valid() ? std::move(fd) : UniqueFd(::open("/proc/self/attr/current", O_WRONLY | O_CLOEXEC));
}

// One write(2), as these files want it. 0, or the errno.
int Say(int fd, const std::string& text) { return ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : errno; }

bool HostHasAppArmor() {
  const auto enabled = ReadSmallFile("/sys/module/apparmor/parameters/enabled");
  return enabled.ok() && absl::StartsWith(*enabled, "Y");
}

absl::Status ExplainProfile(const std::string& profile, int error) {
  const std::string name = absl::StrCat("the AppArmor profile '", profile, "'");
  if (error == ENOENT) return absl::NotFoundError(absl::StrCat(name, " is not loaded: load it (apparmor_parser -r FILE), or name another"));
  if (error == EACCES || error == EPERM) {
    return absl::PermissionDeniedError(absl::StrCat(name, " may not be taken on under that of whoever starts the container: allow change_profile there"));
  }
  return SystemError(absl::StrCat("take on ", name), error);
}

absl::Status ExplainLabel(const std::string& label, int error) {
  const std::string name = absl::StrCat("the SELinux label '", label, "'");
  if (error == EINVAL) return UsageError(absl::StrCat(name, " is not known to the host's policy: name another"));
  if (error == EACCES || error == EPERM) {
    return absl::PermissionDeniedError(absl::StrCat(name, " may not be taken on: allow it in the host's policy (process setcurrent and dyntransition)"));
  }
  return SystemError(absl::StrCat("take on ", name), error);
}

bool IsOneWord(const std::string& text) { return text.size() <= 1024 && text.find_first_of(std::string("\0\n", 2)) == std::string::npos; }

}  // namespace

bool IsUnconfined(const std::string& profile) { return profile.empty() || profile == "unconfined"; }

absl::Status CheckProfile(const std::string& profile) {
  if (IsUnconfined(profile)) return absl::OkStatus();
  if (!IsOneWord(profile)) return UsageError("this is no name of an AppArmor profile");
  if (!HostHasAppArmor()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the AppArmor profile '", profile, "' is named, and the host's kernel has no AppArmor: leave it out, or switch AppArmor on (apparmor=1)"));
  }
  const UniqueFd fd = OpenAppArmor();
  if (!fd.valid()) return SystemError("open /proc/self/attr/current");
  const int error = Say(fd.get(), absl::StrCat("permprofile ", profile));
  return error == 0 ? absl::OkStatus() : ExplainProfile(profile, error);
}

std::string PartOfProfile(const std::string& profile, const std::string& part) {
  if (IsUnconfined(profile)) return "";
  std::string name = absl::StrCat(profile, "//", part);
  return CheckProfile(name).ok() ? name : profile;
}

absl::Status CheckSelinuxLabel(const std::string& label) {
  if (label.empty()) return absl::OkStatus();
  if (!IsOneWord(label)) return UsageError("this is no SELinux label");
  struct statfs info {};
  if (::statfs("/sys/fs/selinux", &info) != 0 || info.f_type != SELINUX_MAGIC) {
    return absl::FailedPreconditionError(
        absl::StrCat("the SELinux label '", label, "' is named, and SELinux is disabled on the host or its kernel has none: leave it out, or switch SELinux on"));
  }
  const UniqueFd fd(::open(kSelinuxCheck, O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return SystemError(absl::StrCat("open ", kSelinuxCheck));
  const int error = Say(fd.get(), label);
  return error == 0 ? absl::OkStatus() : ExplainLabel(label, error);
}

absl::StatusOr<LabelChange> LabelChange::Prepare(const SecurityLabels& labels) {
  LabelChange out;
  out.labels_ = labels;
  if (!IsUnconfined(labels.profile)) {
    out.apparmor_ = OpenAppArmor();
    if (!out.apparmor_.valid()) return SystemError("open /proc/self/attr/current");
  }
  if (!labels.selinux.empty()) {
    out.selinux_ = UniqueFd(::open("/proc/self/attr/current", O_WRONLY | O_CLOEXEC));
    if (!out.selinux_.valid()) return SystemError("open /proc/self/attr/current");
  }
  return out;
}

absl::Status LabelChange::Carry() && {
  const UniqueFd apparmor = std::move(apparmor_);
  const UniqueFd selinux = std::move(selinux_);
  if (selinux.valid()) {
    if (const int error = Say(selinux.get(), labels_.selinux); error != 0) return ExplainLabel(labels_.selinux, error);
  }
  if (apparmor.valid()) {
    if (const int error = Say(apparmor.get(), absl::StrCat("changeprofile ", labels_.profile)); error != 0) return ExplainProfile(labels_.profile, error);
  }
  return absl::OkStatus();
}

}  // namespace rampart::runner
