// The mount namespaces of the two confined processes, and of a container's monitor. The first two functions run in the process that is to be confined, in
// its own new mount namespace, with CAP_SYS_ADMIN in its user namespace.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace rampart::runner {

// Leaves this process with a root that is an empty, read-only tmpfs and nothing else mounted. Working directory "/".
absl::Status EnterEmptyRoot();

// A tree of the host that the gofer may see.
struct Export {
  std::string path;      // absolute; on the host
  bool readonly = true;
  int tree = -1;         // a detached copy of the mounts there, which is closed; -1: it is made
};

// Leaves this process with a root that holds the exported trees and nothing else, under names that nobody needs, and returns for each export,
// in order, an O_PATH descriptor of its root. Host mounts below a tree come along, read-only where it is; kernel filesystems (proc, sysfs, devpts,
// cgroup, …) are covered by empty directories: the sandbox has its own. All mounts are nosuid and nodev.
absl::StatusOr<std::vector<UniqueFd>> EnterExportsRoot(const std::vector<Export>& exports, bool become_root = false);

// Leaves this process in a mount namespace of its own whose root is the tree at `path`: nosuid, nodev, and read-only if asked for. Working directory "/".
// kPermissionDenied: this process may not make mount namespaces; nothing has changed.
absl::Status EnterTree(const std::string& path, bool readonly);

// One line of /proc/self/mountinfo.
struct MountInfo {
  std::string mount_point;
  std::string type;
};
// Octal escapes are decoded. Malformed lines are left out.
std::vector<MountInfo> ParseMountInfo(const std::string& text);

// Whether a filesystem type shows the kernel rather than files.
bool IsKernelFilesystem(const std::string& type);

}  // namespace rampart::runner
