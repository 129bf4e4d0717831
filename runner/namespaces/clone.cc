#include "runner/namespaces/clone.h"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

absl::Status ExplainCloneFailure(int error) {
  switch (error) {
    case EPERM:
      return SystemError(
          "this host does not let you make user namespaces (look at the sysctls kernel.unprivileged_userns_clone and "
          "kernel.apparmor_restrict_unprivileged_userns, or at the seccomp profile of the container that this runs in; or run as root)",
          error);
    case ENOSPC:
    case EUSERS:
      return SystemError("the host's limit of namespaces is reached (raise the sysctls user.max_*_namespaces)", error);
    case EINVAL:
      return SystemError("the host's kernel lacks one of the user, pid, mount, network, ipc and uts namespaces", error);
    default:
      return SystemError("cannot start a process", error);
  }
}

}  // namespace

uint64_t AllNamespaces() { return CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS; }

absl::StatusOr<pid_t> PidInProc(const Child& child) {
  const std::string text = TRY_STATUS(ReadSmallFile(absl::StrCat("/proc/self/fdinfo/", child.pidfd.get())));
  pid_t pid = 0;
  const size_t at = text.find("\nPid:\t");
  const size_t begin = at == std::string::npos ? text.size() : at + 6;
  if (!absl::SimpleAtoi(text.substr(begin, text.find('\n', begin) - begin), &pid) || pid <= 0) {
    return absl::NotFoundError("a confined process cannot be found in /proc (is /proc of this PID namespace?)");
  }
  return pid;
}

absl::StatusOr<Child> CloneChild(uint64_t namespaces, absl::FunctionRef<void()> in_child) {
  int pidfd = -1;
  // clone(2), not clone3: containers' seccomp profiles answer the latter with ENOSYS because they cannot look at its flags.
  const long pid = ::syscall(SYS_clone, namespaces | CLONE_PIDFD | SIGCHLD, nullptr, &pidfd, nullptr, 0L);
  if (pid < 0) return ExplainCloneFailure(errno);
  if (pid == 0) {
    in_child();
    ::_exit(125);
  }
  return Child{static_cast<pid_t>(pid), UniqueFd(pidfd)};
}

}  // namespace rampart::runner
