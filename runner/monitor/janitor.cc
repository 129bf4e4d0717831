#include "runner/monitor/janitor.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner/cgroup/cgroup.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

[[noreturn]] void RunJanitor(int lifeline, const std::vector<std::string>& directories) {
  ::setsid();
  ::prctl(PR_SET_NAME, "rampart-janitor");
  ::dup2(lifeline, 0);
  ::syscall(SYS_close_range, 1, ~0u, 0);
  char byte = 0;
  while (::read(0, &byte, 1) < 0 && errno == EINTR) {
  }
  for (const std::string& directory : directories) RemoveCgroupDirectory(directory, 1000);
  ::_exit(0);
}

}  // namespace

absl::StatusOr<Janitor> Janitor::Start(const std::vector<std::string>& directories) {
  Janitor janitor;
  if (directories.empty()) return janitor;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return SystemError("make a pipe");
  const UniqueFd theirs(ends[0]);
  janitor.lifeline_ = UniqueFd(ends[1]);
  janitor.process_ = TRY_STATUS(CloneChild(0, [&] { RunJanitor(theirs.get(), directories); }));
  return janitor;
}

Janitor::~Janitor() {
  if (!lifeline_.valid()) return;
  lifeline_.Reset();
  while (::waitpid(process_.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace rampart::runner
