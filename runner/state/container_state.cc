#include "runner/state/container_state.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runner/state/stand_in.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

constexpr char kStateFile[] = "state.json";
constexpr char kSpecFile[] = "config.json";
constexpr char kLockFile[] = "lock";
constexpr char kSocketFile[] = "control.sock";

absl::StatusOr<UniqueFd> OpenDirectory(const std::string& path, const std::string& id) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.valid()) return fd;
  if (errno == ENOENT) return absl::NotFoundError(absl::StrCat("container '", id, "' does not exist"));
  return SystemError(absl::StrCat("open ", path));
}

absl::Status MakeDirectories(const std::string& path) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), 0711) != 0 && errno != EEXIST) return SystemError(absl::StrCat("make the directory ", part, " (choose another with --root)"));
    if (slash == std::string::npos) return absl::OkStatus();
  }
}

}  // namespace

const char* StatusName(Status status) {
  switch (status) {
    case Status::kCreating:
      return "creating";
    case Status::kCreated:
      return "created";
    case Status::kRunning:
      return "running";
    case Status::kPaused:
      return "paused";
    case Status::kStopped:
      break;
  }
  return "stopped";
}

absl::Status CheckId(const std::string& id) {
  constexpr size_t kMost = 200;
  const auto good = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || std::strchr("_+-.", c) != nullptr; };
  if (id.empty()) return UsageError("the container's name is empty");
  if (id.size() > kMost || id == "." || id == ".." || id[0] == '-' || !std::all_of(id.begin(), id.end(), good)) {
    return UsageError(absl::StrCat("'", id.substr(0, kMost), "' cannot name a container: use letters, digits and _+-. (at most ", kMost, ")"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ContainerDirectory> ContainerDirectory::Create(const std::string& root, const std::string& id) {
  TRY_STATUS(CheckId(id));
  TRY_STATUS(MakeDirectories(root));
  ContainerDirectory out;
  out.path_ = absl::StrCat(root, "/", id);
  if (::mkdir(out.path_.c_str(), 0711) != 0) {
    if (errno == EEXIST) {
      return absl::AlreadyExistsError(absl::StrCat("container '", id, "' exists already: choose another name, or end it with `runsc delete --force ", id, "`"));
    }
    return SystemError(absl::StrCat("make the directory ", out.path_));
  }
  out.directory_ = TRY_STATUS(OpenDirectory(out.path_, id));
  out.lock_ = UniqueFd(::openat(out.directory_.get(), kLockFile, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!out.lock_.valid() || ::flock(out.lock_.get(), LOCK_EX) != 0) return SystemError(absl::StrCat("lock ", out.path_));
  return out;
}

absl::StatusOr<ContainerDirectory> ContainerDirectory::Open(const std::string& root, const std::string& id, bool lock) {
  TRY_STATUS(CheckId(id));
  ContainerDirectory out;
  out.path_ = absl::StrCat(root, "/", id);
  out.directory_ = TRY_STATUS(OpenDirectory(out.path_, id));
  if (!lock) return out;
  out.lock_ = UniqueFd(::openat(out.directory_.get(), kLockFile, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!out.lock_.valid()) {
    if (errno == ENOENT) return absl::NotFoundError(absl::StrCat("container '", id, "' does not exist"));
    return SystemError(absl::StrCat("lock ", out.path_));
  }
  while (::flock(out.lock_.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return SystemError(absl::StrCat("lock ", out.path_));
  }
  // Whoever had it may have removed the container, and somebody may have made another of its name.
  struct stat ours {};
  struct stat there {};
  if (::fstat(out.directory_.get(), &ours) != 0 || ::stat(out.path_.c_str(), &there) != 0 || ours.st_ino != there.st_ino) {
    return absl::NotFoundError(absl::StrCat("container '", id, "' does not exist"));
  }
  return out;
}

absl::Status ContainerDirectory::ReplaceFile(const char* name, const std::string& text) const {
  const std::string scratch = absl::StrCat(name, ".new");
  const UniqueFd fd(::openat(directory_.get(), scratch.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid() || !WriteAll(fd.get(), text)) return SystemError(absl::StrCat("write ", path_, "/", name));
  if (::renameat(directory_.get(), scratch.c_str(), directory_.get(), name) != 0) return SystemError(absl::StrCat("write ", path_, "/", name));
  return absl::OkStatus();
}

absl::StatusOr<ContainerState> ContainerDirectory::Load() const {
  const std::string text = TRY_STATUS(ReadSmallFile(absl::StrCat("/proc/self/fd/", directory_.get(), "/", kStateFile)));
  auto state = DecodeState(text);
  if (!state.ok()) return absl::InvalidArgumentError(absl::StrCat(path_, "/", kStateFile, " is damaged: ", state.status().message()));
  return state;
}

absl::Status ContainerDirectory::Store(const ContainerState& state) const { return ReplaceFile(kStateFile, EncodeState(state)); }
absl::Status ContainerDirectory::StoreSpec(const std::string& text) const { return ReplaceFile(kSpecFile, text); }
absl::StatusOr<std::string> ContainerDirectory::LoadSpec() const {
  return ReadWholeFile(absl::StrCat("/proc/self/fd/", directory_.get(), "/", kSpecFile), size_t{16} << 20);
}

std::string ContainerDirectory::SocketAddress() const { return absl::StrCat("/proc/self/fd/", directory_.get(), "/", kSocketFile); }

absl::Status ContainerDirectory::Remove() {
  TRY_STATUS(ForgetStandIns(directory_.get()));
  for (const char* name : {kSocketFile, kSpecFile, "config.json.new", "state.json.new", kStateFile, kLockFile}) {
    if (::unlinkat(directory_.get(), name, 0) != 0 && errno != ENOENT) return SystemError(absl::StrCat("remove ", path_, "/", name));
  }
  if (::rmdir(path_.c_str()) != 0 && errno != ENOENT) return SystemError(absl::StrCat("remove ", path_));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListContainers(const std::string& root) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(root.c_str()), &::closedir);
  if (!directory) {
    if (errno == ENOENT) return names;
    return SystemError(absl::StrCat("read the directory ", root));
  }
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string name = entry->d_name;
    if (CheckId(name).ok() && entry->d_type == DT_DIR) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

uint64_t StartTimeOf(pid_t pid) {
  if (pid <= 0) return 0;
  const auto text = ReadSmallFile(absl::StrCat("/proc/", pid, "/stat"));
  if (!text.ok()) return 0;
  // The name in parentheses may hold anything.
  const size_t end = text->rfind(')');
  if (end == std::string::npos) return 0;
  const std::vector<absl::string_view> fields = absl::StrSplit(absl::string_view(*text).substr(end + 1), ' ', absl::SkipEmpty());
  constexpr size_t kStartTime = 19;  // field 22; the first here is field 3
  uint64_t start = 0;
  if (fields.size() <= kStartTime || fields[0] == "Z" || fields[0] == "X" || !absl::SimpleAtoi(fields[kStartTime], &start)) return 0;
  return start;
}

bool IsAlive(pid_t pid, uint64_t start) { return start != 0 && StartTimeOf(pid) == start; }

Status StatusOf(const ContainerState& state) {
  if (state.status == Status::kStopped || !IsAlive(state.pid, state.pid_start)) {
    return state.status == Status::kCreating && state.pid == 0 ? Status::kCreating : Status::kStopped;
  }
  return state.status;
}

}  // namespace rampart::runner
