#include "platform/ptrace/probe.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/errno.h"
#include "base/unique_fd.h"
#include "platform/ptrace/tracee.h"

namespace rampart::platform::ptrace {
namespace {

// Yama's level: '0'..'3', or 0 when the host has no Yama, or its /proc is not to be seen.
char ReadYamaScope() {
  const UniqueFd fd(open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC));
  char level = 0;
  if (!fd.valid() || read(fd.get(), &level, 1) != 1) return 0;
  return level;
}

char noted_scope = 0;  // written before there are threads

// What a stub goes through: seize, stop, run until a system call that is not carried out.
Result<void> TryOn(pid_t child) {
  TRY(Seize(child));
  TRY(StopSeized(child));
  TRY(WaitFor(child));
  TRY(Resume(child, PTRACE_SYSEMU));
  const WaitStatus status = TRY(WaitFor(child));
  if (!status.syscall()) return Errno::kENOTSUP;
  return Ok();
}

std::string Explain(Errno error) {
  if (error == Errno::kEPERM || error == Errno::kEACCES) {
    const char scope = noted_scope != 0 ? noted_scope : ReadYamaScope();
    if (scope == '2' || scope == '3') {
      return absl::StrCat("ptrace is forbidden by kernel.yama.ptrace_scope=", absl::string_view(&scope, 1),
                          "; set it to 1 (sysctl kernel.yama.ptrace_scope=1) or choose another platform (--platform=kvm)");
    }
    return "ptrace is refused (EPERM), usually by the seccomp profile or LSM of an enclosing container; start that container with "
           "--cap-add=SYS_PTRACE or --security-opt seccomp=unconfined, or choose another platform (--platform=kvm)";
  }
  if (error == Errno::kEIO || error == Errno::kENOTSUP || error == Errno::kENOSYS) {
    return "this kernel has no PTRACE_SYSEMU (a nested sandbox?); choose another platform (--platform=kvm)";
  }
  return absl::StrCat("a test of ptrace failed: ", ErrnoText(error), "; choose another platform (--platform=kvm)");
}

}  // namespace

void NoteHost() { noted_scope = ReadYamaScope(); }

std::string WhyUnavailable() {
  const long child = syscall(SYS_clone, 0L, nullptr, nullptr, nullptr, 0L);
  if (child == 0) {
    for (;;) syscall(SYS_getppid);
  }
  if (child < 0) return std::string("cannot make a process to test ptrace: ") + ErrnoText(ErrnoFromHost(errno));
  const auto pid = static_cast<pid_t>(child);
  const Result<void> tried = TryOn(pid);
  syscall(SYS_tgkill, pid, pid, SIGKILL);
  for (;;) {
    const Result<WaitStatus> status = WaitFor(pid);
    if (!status.ok() || status->dead()) break;
  }
  return tried.ok() ? std::string() : Explain(tried.error());
}

}  // namespace rampart::platform::ptrace
