#include "runner/namespaces/join.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "absl/strings/str_cat.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

struct Name {
  const char* word;
  int type;
};
constexpr Name kNames[] = {{"cgroup", CLONE_NEWCGROUP}, {"ipc", CLONE_NEWIPC}, {"mount", CLONE_NEWNS}, {"network", CLONE_NEWNET},
                           {"pid", CLONE_NEWPID},       {"user", CLONE_NEWUSER}, {"time", CLONE_NEWTIME}, {"uts", CLONE_NEWUTS}};

}  // namespace

absl::StatusOr<ForeignNamespace> OpenNamespace(const std::string& type, const std::string& path) {
  ForeignNamespace out;
  for (const Name& name : kNames) {
    if (type == name.word) out.type = name.type;
  }
  out.fd = UniqueFd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!out.fd.valid()) return SystemError(absl::StrCat("open '", path, "'"));
  const int found = ::ioctl(out.fd.get(), NS_GET_NSTYPE);
  if (found < 0) return UsageError(absl::StrCat("'", path, "' is not a namespace"));
  if (found != out.type) return UsageError(absl::StrCat("'", path, "' is a namespace of another type than ", type));
  return out;
}

absl::StatusOr<ForeignNamespace> OwnNamespace(const std::string& type) {
  return OpenNamespace(type, absl::StrCat("/proc/self/ns/", type == "network" ? "net" : type == "mount" ? "mnt" : type));
}

absl::Status EnterNamespace(const ForeignNamespace& ns) {
  if (::setns(ns.fd.get(), ns.type) == 0) return absl::OkStatus();
  return SystemError("join a namespace");
}

absl::Status InPidNamespace(const ForeignNamespace* ns, absl::FunctionRef<absl::Status()> make) {
  if (ns == nullptr) return make();
  const UniqueFd own(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
  if (!own.valid()) return SystemError("open /proc/self/ns/pid");
  TRY_STATUS(EnterNamespace(*ns));
  const absl::Status made = make();
  if (::setns(own.get(), CLONE_NEWPID) != 0 && made.ok()) return SystemError("come back from a PID namespace");
  return made;
}

}  // namespace rampart::runner
