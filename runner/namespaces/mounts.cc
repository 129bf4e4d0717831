#include "runner/namespaces/mounts.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runner/namespaces/privileges.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

// Where the new root is put together. Any directory will do: what it hides comes back when the old root is gone.
constexpr const char* kScaffolds[] = {"/tmp", "/mnt", "/run", "/var", "/usr"};

constexpr const char* kEmptyFile = "/empty";

absl::Status Mount(const char* source, const std::string& target, const char* type, unsigned long flags, const char* data = nullptr) {
  if (::mount(source, target.c_str(), type, flags, data) != 0) {
    return SystemError(absl::StrCat("mount ", type != nullptr ? type : source, " at ", target));
  }
  return absl::OkStatus();
}

// Nothing that we mount may show outside, nothing that the host mounts later may show here.
absl::Status LeavePropagation() { return Mount("none", "/", nullptr, MS_REC | MS_PRIVATE); }

// A tmpfs somewhere; returns where.
absl::StatusOr<std::string> MountScaffold() {
  absl::Status last = absl::NotFoundError("no directory to build a root in");
  for (const char* place : kScaffolds) {
    last = Mount("rampart", place, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,nr_inodes=512,mode=755");
    if (last.ok()) return std::string(place);
  }
  return last;
}

// Makes `place` the root and takes the old one away. Stacks the old root on the new one, so no directory is needed to put it in.
absl::Status PivotInto(const std::string& place) {
  if (::chdir(place.c_str()) != 0) return SystemError(absl::StrCat("enter ", place));
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return SystemError("pivot_root");
  if (::umount2(".", MNT_DETACH) != 0) return SystemError("unmount the host's root");
  if (::chdir("/") != 0) return SystemError("enter the new root");
  return absl::OkStatus();
}

absl::Status SealRoot() { return Mount("none", "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC); }

bool IsBelow(const std::string& path, const std::string& top) {
  return path == top || top == "/" || absl::StartsWith(path, top + "/");
}

// The flags that an unprivileged remount must repeat.
unsigned long KeptFlags(const std::string& path) {
  struct statvfs info{};
  if (::statvfs(path.c_str(), &info) != 0) return 0;
  unsigned long flags = 0;
  if ((info.f_flag & ST_RDONLY) != 0) flags |= MS_RDONLY;
  if ((info.f_flag & ST_NOEXEC) != 0) flags |= MS_NOEXEC;
  if ((info.f_flag & ST_NOATIME) != 0) flags |= MS_NOATIME;
  if ((info.f_flag & ST_NODIRATIME) != 0) flags |= MS_NODIRATIME;
  if ((info.f_flag & ST_RELATIME) != 0) flags |= MS_RELATIME;
  return flags;
}

// Before Linux 5.12 there is no mount_setattr: each mount below `target` by itself.
absl::Status RestrictOneByOne(const std::string& target, bool readonly) {
  const std::string text = TRY_STATUS(ReadSmallFile("/proc/self/mountinfo"));
  for (const MountInfo& mount : ParseMountInfo(text)) {
    if (!IsBelow(mount.mount_point, target)) continue;
    unsigned long flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | KeptFlags(mount.mount_point);
    if (readonly) flags |= MS_RDONLY;
    if (::mount("none", mount.mount_point.c_str(), nullptr, flags, nullptr) == 0) continue;
    // A mount under another one cannot be reached, and so needs no restriction.
    if (errno != EINVAL && errno != ENOENT && errno != EACCES) return SystemError(absl::StrCat("restrict the mount ", mount.mount_point));
  }
  return absl::OkStatus();
}

absl::Status Restrict(const std::string& target, bool readonly) {
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (readonly ? MOUNT_ATTR_RDONLY : 0);
  if (::syscall(SYS_mount_setattr, AT_FDCWD, target.c_str(), AT_RECURSIVE, &attributes, sizeof(attributes)) == 0) {
    return absl::OkStatus();
  }
  if (errno != ENOSYS) return SystemError(absl::StrCat("restrict the mounts below ", target));
  return RestrictOneByOne(target, readonly);
}

// Covers what shows the kernel below `target`, a copy of the tree at `source`. `mounts` are the host's, outermost first.
absl::Status CoverKernelFilesystems(const std::vector<MountInfo>& mounts, const std::string& source, const std::string& target,
                                    const std::string& empty_file) {
  std::vector<std::string> covered;
  for (const MountInfo& mount : mounts) {
    if (!IsKernelFilesystem(mount.type) || !IsBelow(mount.mount_point, source)) continue;
    bool hidden = false;
    for (const std::string& done : covered) hidden |= IsBelow(mount.mount_point, done);
    if (hidden) continue;
    const std::string place = target + (source == "/" ? mount.mount_point : mount.mount_point.substr(source.size()));
    struct stat info{};
    if (::lstat(place.c_str(), &info) != 0) continue;  // under another mount
    if (S_ISDIR(info.st_mode)) {
      TRY_STATUS(Mount("rampart", place, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=2,mode=755"));
    } else {
      // A single file of such a filesystem, bound somewhere: an empty file in its place.
      TRY_STATUS(Mount(empty_file.c_str(), place, nullptr, MS_BIND));
    }
    covered.push_back(mount.mount_point);
  }
  return absl::OkStatus();
}

// A detached copy of the tree at `path` with all mounts below it.
absl::StatusOr<UniqueFd> CopyTree(const std::string& path) {
  UniqueFd tree(static_cast<int>(
      ::syscall(SYS_open_tree, AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE)));
  if (!tree.valid()) return SystemError(absl::StrCat("copy the mounts of ", path));
  return tree;
}

// Something to mount `tree` on.
absl::Status MakeMountPoint(const UniqueFd& tree, const std::string& target) {
  struct stat status{};
  if (::fstat(tree.get(), &status) != 0) return SystemError(absl::StrCat("look at what goes to ", target));
  if (S_ISDIR(status.st_mode)) {
    if (::mkdir(target.c_str(), 0755) != 0) return SystemError(absl::StrCat("make ", target));
    return absl::OkStatus();
  }
  UniqueFd file(::open(target.c_str(), O_CREAT | O_RDONLY | O_CLOEXEC, 0444));
  if (!file.valid()) return SystemError(absl::StrCat("make ", target));
  return absl::OkStatus();
}

}  // namespace

absl::Status EnterEmptyRoot() {
  TRY_STATUS(LeavePropagation());
  const std::string place = TRY_STATUS(MountScaffold());
  TRY_STATUS(PivotInto(place));
  return SealRoot();
}

absl::StatusOr<std::vector<UniqueFd>> EnterExportsRoot(const std::vector<Export>& exports, bool become_root) {
  TRY_STATUS(LeavePropagation());
  const std::string info = TRY_STATUS(ReadSmallFile("/proc/self/mountinfo"));
  const std::vector<MountInfo> host_mounts = ParseMountInfo(info);
  // Copied before the scaffold can hide any of them, or show in a copy.
  std::vector<UniqueFd> trees;
  for (const Export& tree : exports) {
    if (tree.tree >= 0) trees.emplace_back(tree.tree);
    else trees.push_back(TRY_STATUS(CopyTree(tree.path)));
  }
  if (become_root) TRY_STATUS(BecomeUser(0, 0, /*drop_groups=*/true));
  const std::string place = TRY_STATUS(MountScaffold());
  UniqueFd empty(::open((place + kEmptyFile).c_str(), O_CREAT | O_RDONLY | O_CLOEXEC, 0444));
  if (!empty.valid()) return SystemError("make an empty file");

  std::vector<UniqueFd> roots;
  for (size_t i = 0; i < exports.size(); ++i) {
    const std::string target = absl::StrCat(place, "/", i);
    TRY_STATUS(MakeMountPoint(trees[i], target));
    if (::syscall(SYS_move_mount, trees[i].get(), "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
      return SystemError(absl::StrCat("bind ", exports[i].path));
    }
    TRY_STATUS(CoverKernelFilesystems(host_mounts, exports[i].path, target, place + kEmptyFile));
    TRY_STATUS(Restrict(target, exports[i].readonly));
    UniqueFd root(::open(target.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!root.valid()) return SystemError(absl::StrCat("open the bound ", exports[i].path));
    roots.push_back(std::move(root));
  }
  trees.clear();
  TRY_STATUS(PivotInto(place));
  TRY_STATUS(SealRoot());
  return roots;
}

absl::Status EnterTree(const std::string& path, bool readonly) {
  if (::unshare(CLONE_NEWNS) != 0) return SystemError("make a mount namespace");
  TRY_STATUS(LeavePropagation());
  TRY_STATUS(Mount(path.c_str(), path, nullptr, MS_BIND | MS_REC));
  TRY_STATUS(Restrict(path, readonly));
  return PivotInto(path);
}

}  // namespace rampart::runner
