#include "runner/state/stand_in.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

constexpr char kPrefix[] = "exec.";

// exec.PID.START
std::string FileName() { return absl::StrCat(kPrefix, ::getpid(), ".", StartTimeOf(::getpid())); }

std::vector<std::string> FileNames(int directory_fd) {
  std::vector<std::string> names;
  UniqueFd fd(::openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return names;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::fdopendir(fd.get()), &::closedir);
  if (!directory) return names;
  (void)fd.Release();
  while (const dirent* entry = ::readdir(directory.get())) {
    if (absl::StartsWith(entry->d_name, kPrefix)) names.emplace_back(entry->d_name);
  }
  return names;
}

}  // namespace

absl::Status AddStandIn(const ContainerDirectory& directory) {
  const UniqueFd fd(::openat(directory.directory_fd(), FileName().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return SystemError("write down the executed process");
  return absl::OkStatus();
}

void RemoveStandIn(const ContainerDirectory& directory) { (void)::unlinkat(directory.directory_fd(), FileName().c_str(), 0); }

std::vector<pid_t> StandIns(const ContainerDirectory& directory) {
  std::vector<pid_t> out;
  for (const std::string& name : FileNames(directory.directory_fd())) {
    const std::string numbers = name.substr(std::strlen(kPrefix));
    const size_t dot = numbers.find('.');
    pid_t pid = 0;
    uint64_t start = 0;
    if (dot == std::string::npos || !absl::SimpleAtoi(numbers.substr(0, dot), &pid) || !absl::SimpleAtoi(numbers.substr(dot + 1), &start)) continue;
    if (IsAlive(pid, start)) out.push_back(pid);
  }
  std::sort(out.begin(), out.end());
  return out;
}

absl::Status ForgetStandIns(int directory_fd) {
  for (const std::string& name : FileNames(directory_fd)) {
    if (::unlinkat(directory_fd, name.c_str(), 0) != 0 && errno != ENOENT) return SystemError(absl::StrCat("remove ", name));
  }
  return absl::OkStatus();
}

}  // namespace rampart::runner
