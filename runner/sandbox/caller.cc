#include "runner/sandbox/caller.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <string_view>

#include "base/unique_fd.h"

namespace rampart::runner {
namespace {

std::vector<sentry::boot::Rlimit> ReadRlimits() {
  std::vector<sentry::boot::Rlimit> limits;
  for (int resource = 0; resource < sentry::boot::kRlimits; ++resource) {
    rlimit limit{RLIM_INFINITY, RLIM_INFINITY};
    ::getrlimit(static_cast<__rlimit_resource>(resource), &limit);
    limits.push_back({limit.rlim_cur, limit.rlim_max});
  }
  return limits;
}

}  // namespace

Caller InspectCaller() {
  Caller caller;
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) {
      caller.has_terminal = caller.has_terminal || ::isatty(fd) == 1;
      continue;
    }
    caller.standard_open[fd] = false;
    [[maybe_unused]] const int placeholder = ::open("/dev/null", O_RDWR);  // the lowest free number: fd
  }
  caller.uid = ::getuid();
  caller.gid = ::getgid();
  gid_t groups[NGROUPS_MAX];
  const int count = ::getgroups(NGROUPS_MAX, groups);
  if (count > 0) caller.groups.assign(groups, groups + count);
  caller.umask = ::umask(022);
  ::umask(caller.umask);
  caller.rlimits = ReadRlimits();
  char path[PATH_MAX];
  if (::getcwd(path, sizeof(path)) != nullptr && path[0] == '/') caller.cwd = path;
  char name[HOST_NAME_MAX + 1];
  if (::gethostname(name, sizeof(name)) == 0) caller.hostname = name;
  for (char** variable = environ; *variable != nullptr; ++variable) caller.environment.emplace_back(*variable);
  return caller;
}

bool HostClockIsTsc() {
  const auto file = FdFromHost(::open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC));
  if (!file.ok()) return false;
  std::array<char, 32> text{};
  const ssize_t n = ::read(file->get(), text.data(), text.size());
  return n > 0 && std::string_view(text.data(), static_cast<size_t>(n)) == "tsc\n";
}

}  // namespace rampart::runner
