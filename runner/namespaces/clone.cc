#include "runner/namespaces/clone.h"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

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
