#include "gofer/server/host_calls.h"

#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace rampart::gofer {
namespace {

constexpr long kSysFchmodat2 = 452;
constexpr int kOpenRetries = 16;

Result<UniqueFd> OpenAt2(int dirfd, const char* name, const open_how& how) {
  for (int i = 0; i < kOpenRetries; ++i) {
    const long fd = ::syscall(SYS_openat2, dirfd, name, &how, sizeof(how));
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    if (errno != EINTR && errno != EAGAIN) return ErrnoFromHost(errno);  // EAGAIN: a rename raced with the resolution
  }
  return Errno::kEAGAIN;
}

}  // namespace

Result<UniqueFd> OpenBeneath(int dirfd, const char* name, int flags, uint32_t mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_NOFOLLOW | O_CLOEXEC);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
  return OpenAt2(dirfd, name, how);
}

Result<UniqueFd> OpenThroughProc(int proc_self_fd, int fd, int flags) {
  char number[16];
  std::snprintf(number, sizeof(number), "%d", fd);
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  return OpenAt2(proc_self_fd, number, how);
}

Result<void> ChmodPathFd(int fd, uint32_t mode) {
  if (::syscall(kSysFchmodat2, fd, "", mode, AT_EMPTY_PATH) != 0) return ErrnoFromHost(errno);
  return Ok();
}

}  // namespace rampart::gofer
