#include "runner/sandbox/spawn.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "runner/monitor/caller_signals.h"
#include "runner/namespaces/privileges.h"
#include "runner/sandbox/child_config.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

// What the sanitizers' runtimes read; nothing else of the caller's environment reaches a confined process.
bool IsSanitizerVariable(const char* variable) {
  static constexpr const char* kPrefixes[] = {"ASAN_", "UBSAN_", "TSAN_", "LSAN_"};
  return std::any_of(std::begin(kPrefixes), std::end(kPrefixes),
                     [&](const char* prefix) { return std::strncmp(variable, prefix, std::strlen(prefix)) == 0; });
}

[[noreturn]] void Fail(const char* what) {
  const int error = errno;
  ::dprintf(2, "sentry-run: cannot start a confined process: %s: %s\n", what, std::strerror(error));
  ::_exit(125);
}

// Sources may have the numbers of targets, so all are first moved out of the way.
void ArrangeDescriptors(std::vector<Donation> donations) {
  int highest = 0;
  for (const Donation& donation : donations) highest = std::max(highest, donation.target);
  for (Donation& donation : donations) {
    donation.source = ::fcntl(donation.source, F_DUPFD_CLOEXEC, highest + 1);
    if (donation.source < 0) Fail("arrange descriptors");
  }
  for (const Donation& donation : donations) {
    if (::dup2(donation.source, donation.target) < 0) Fail("arrange descriptors");
  }
  std::sort(donations.begin(), donations.end(), [](const Donation& a, const Donation& b) { return a.target < b.target; });
  unsigned next = 0;
  for (const Donation& donation : donations) {
    const auto target = static_cast<unsigned>(donation.target);
    if (target > next) ::syscall(SYS_close_range, next, target - 1, 0);
    next = target + 1;
  }
  if (::syscall(SYS_close_range, next, ~0u, 0) != 0) Fail("close descriptors");
}

[[noreturn]] void Execute(const char* name, const std::vector<Donation>& donations) {
  ::setsid();
  ArrangeDescriptors(donations);
  char go = 0;
  ssize_t n = 0;
  while ((n = ::recv(kReportFd, &go, 1, 0)) < 0 && errno == EINTR) {
  }
  if (n != 1) ::_exit(125);  // the runner is gone, or has given up
  if (!RaiseAmbientCapabilities()) Fail("keep capabilities");
  if (!DieWithParent().ok()) Fail("ask to die with the runner");
  CallerSignals::ResetInChild();
  ::umask(022);
  std::vector<char*> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (IsSanitizerVariable(*variable)) environment.push_back(*variable);
  }
  environment.push_back(nullptr);
  char* const argv[] = {const_cast<char*>(name), nullptr};
  ::execve("/proc/self/exe", argv, environment.data());
  Fail("execute /proc/self/exe (is /proc mounted?)");
}

}  // namespace

absl::StatusOr<Child> Spawn(const char* name, const std::vector<Donation>& donations) {
  return CloneChild(AllNamespaces(), [&] { Execute(name, donations); });
}

absl::Status Release(const Child& child, const IdMaps& maps, bool privileged, int report_fd) {
  const pid_t pid = TRY_STATUS(PidInProc(child));
  TRY_STATUS(WriteIdMaps(pid, maps, privileged));
  const char go = 1;
  if (::send(report_fd, &go, 1, MSG_NOSIGNAL) != 1) return SystemError("start a confined process");
  return absl::OkStatus();
}

}  // namespace rampart::runner
