// Host calls that glibc 2.36 does not wrap, and a bounded C string for names.
#pragma once

#include <fcntl.h>

#include <cstring>
#include <string_view>

#include "base/unique_fd.h"
#include "gofer/protocol/types.h"

namespace rampart::gofer {

// A protocol name as the kernel wants it. REQUIRES: IsValidName(name), or name is "".
class CName {
 public:
  explicit CName(std::string_view name) {
    CHECK(name.size() <= kMaxName);
    if (!name.empty()) std::memcpy(text_, name.data(), name.size());
    text_[name.size()] = '\0';
  }
  const char* c_str() const { return text_; }

 private:
  char text_[kMaxName + 1];
};

// openat2(2) of a single name beneath `dirfd`; never follows a symbolic link: with O_PATH|O_NOFOLLOW it opens the link itself.
Result<UniqueFd> OpenBeneath(int dirfd, const char* name, int flags, uint32_t mode);
// Opens descriptor `fd` of this process anew through the directory /proc/self/fd.
Result<UniqueFd> OpenThroughProc(int proc_self_fd, int fd, int flags);
// fchmodat2(2) on the descriptor itself: ENOSYS before Linux 6.6.
Result<void> ChmodPathFd(int fd, uint32_t mode);

}  // namespace rampart::gofer
