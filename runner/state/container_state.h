// What is remembered about a container between commands: ROOT/ID/state.json, with the specification as it was created beside it.
//
// Model. A directory is a container; whoever changes it holds its lock (flock of ROOT/ID/lock, which the kernel gives up with the holder, however that
// ends). Files are replaced by rename, so they are whole or not there. What the file says is what was true when it was written: whether the container
// still lives, only its monitor process tells (pid and start time). Order of making: directory, lock, state ("creating", with the cgroups that will be
// made); of removing: processes, cgroups, socket, specification, state, directory. After SIGKILL at any moment in between, `delete --force` ends the rest.
// Thread safety: none.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace rampart::runner {

enum class Status : uint8_t { kCreating, kCreated, kRunning, kPaused, kStopped };
const char* StatusName(Status status);

struct ContainerState {
  std::string id;
  std::string oci_version;
  std::string bundle;
  std::string rootfs;
  std::string created;              // RFC 3339, UTC
  std::string owner;                // user name or number of whoever created it
  std::map<std::string, std::string> annotations;
  Status status = Status::kCreating;  // as written; StatusOf tells the truth
  pid_t pid = 0;                    // of the monitor, whose end is the container's
  uint64_t pid_start = 0;           // field 22 of its /proc/PID/stat
  std::vector<std::string> cgroups;  // directories
  std::vector<std::string> resctrl;  // likewise, of the host's resctrl, in the order of their removal
  std::string sandbox;              // another container, in whose sandbox it runs; "": its own
  uint64_t memory_limit = 0;        // as asked for; for `events`
};

// The directory of one container.
class ContainerDirectory {
 public:
  ContainerDirectory(ContainerDirectory&&) = default;
  ContainerDirectory& operator=(ContainerDirectory&&) = default;

  // Makes it, locked. kAlreadyExists.
  static absl::StatusOr<ContainerDirectory> Create(const std::string& root, const std::string& id);
  // Opens it, and locks it if asked to: waits for whoever has it. kNotFound.
  static absl::StatusOr<ContainerDirectory> Open(const std::string& root, const std::string& id, bool lock);

  absl::StatusOr<ContainerState> Load() const;
  absl::Status Store(const ContainerState& state) const;
  absl::StatusOr<std::string> LoadSpec() const;
  absl::Status StoreSpec(const std::string& text) const;
  // Removes everything of it. Idempotent.
  absl::Status Remove();
  void Unlock() { lock_.Reset(); }

  const std::string& path() const { return path_; }
  // The name under which its control socket can be bound and connected to, however long path() is: valid while this object lives.
  std::string SocketAddress() const;
  int directory_fd() const { return directory_.get(); }
  int lock_fd() const { return lock_.get(); }

 private:
  ContainerDirectory() = default;
  absl::Status ReplaceFile(const char* name, const std::string& text) const;

  std::string path_;
  UniqueFd directory_;
  UniqueFd lock_;
};

// Whether a string may name a container: letters, digits, "_+-.", at most 200 of them, and neither "." nor "..".
absl::Status CheckId(const std::string& id);

// Names of the containers below `root`, sorted. A root that does not exist has none.
absl::StatusOr<std::vector<std::string>> ListContainers(const std::string& root);

// Whether the process that is `pid` is the one that had this start time.
bool IsAlive(pid_t pid, uint64_t start);
// Field 22 of /proc/PID/stat; 0: no such process, or a zombie.
uint64_t StartTimeOf(pid_t pid);
// What the container is now. A file that says "created" or "running" of a dead process means stopped.
Status StatusOf(const ContainerState& state);

std::string EncodeState(const ContainerState& state);
// Errors: kInvalidArgument; the text is a file that somebody may have damaged.
absl::StatusOr<ContainerState> DecodeState(const std::string& text);

}  // namespace rampart::runner
