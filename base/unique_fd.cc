#include "base/unique_fd.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace rampart {

void UniqueFd::Reset(int fd) {
  const int old = std::exchange(fd_, fd);
  if (old >= 0) {
    const int saved = errno;
    ::close(old);  // EINTR and EIO leave it closed on Linux: never retried
    errno = saved;
  }
}

Result<UniqueFd> UniqueFd::Duplicate() const { return FdFromHost(::fcntl(fd_, F_DUPFD_CLOEXEC, 0)); }

Result<UniqueFd> FdFromHost(int fd_or_minus_one) {
  if (fd_or_minus_one < 0) return ErrnoFromHost(errno);
  return UniqueFd(fd_or_minus_one);
}

}  // namespace rampart
