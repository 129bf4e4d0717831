#include "runner/util/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "runner/util/status.h"

namespace rampart::runner {

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  constexpr size_t kLimit = 1 << 20;
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return SystemError(absl::StrCat("open ", path));
  std::string text;
  char block[4096];
  while (text.size() < kLimit) {
    const ssize_t n = ::read(fd.get(), block, sizeof(block));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError(absl::StrCat("read ", path));
    if (n == 0) break;
    text.append(block, static_cast<size_t>(n));
  }
  return text;
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path, size_t limit) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return SystemError(absl::StrCat("open ", path));
  std::string text;
  char block[65536];
  for (;;) {
    const ssize_t n = ::read(fd.get(), block, sizeof(block));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError(absl::StrCat("read ", path));
    if (n == 0) return text;
    text.append(block, static_cast<size_t>(n));
    if (text.size() > limit) return UsageError(absl::StrCat(path, " is longer than ", limit, " bytes"));
  }
}

absl::Status WriteSmallFile(const std::string& path, std::string_view text) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return SystemError(absl::StrCat("open ", path));
  ssize_t n = 0;
  do {
    n = ::write(fd.get(), text.data(), text.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0) return SystemError(absl::StrCat("write '", std::string(text), "' to ", path));
  return absl::OkStatus();
}

absl::Status MakeParents(const std::string& path) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) return SystemError(absl::StrCat("make the directory ", part));
  }
  return absl::OkStatus();
}

bool WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace rampart::runner
