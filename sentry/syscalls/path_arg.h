// What path arguments become: where a walk starts, held for as long as it lasts.
#pragma once

#include <string>
#include <string_view>

#include "sentry/kernel/task.h"
#include "sentry/vfs/operations.h"

namespace rampart::syscalls {

class PathArg {
 public:
  // Copies `user` in and finds the start for `dirfd`. ENAMETOOLONG, EFAULT, ENOENT (an empty path), EBADF: Linux reads the name first.
  // `dirfd_for_absolute`: RESOLVE_IN_ROOT.
  static Result<PathArg> Read(kernel::Task& task, Fd dirfd, UserPath user, bool dirfd_for_absolute = false);
  // For calls that know AT_EMPTY_PATH (and readlinkat): the lookup decides about an empty path.
  static Result<PathArg> ReadMaybeEmpty(kernel::Task& task, Fd dirfd, UserPath user);
  // The same for a text of ours.
  static Result<PathArg> Of(kernel::Task& task, Fd dirfd, std::string text, bool dirfd_for_absolute = false);

  vfs::Walk walk() const { return vfs::Walk{*task_, *mounts_, root_, start_}; }
  const std::string& text() const { return text_; }
  // AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH style lookups.
  Result<vfs::Path> Find(bool follow, bool allow_empty = false) const;

 private:
  PathArg(kernel::Task& task, Ref<vfs::MountNamespace> mounts, vfs::Path root, vfs::Path start, std::string text)
      : task_(&task), mounts_(std::move(mounts)), root_(std::move(root)), start_(std::move(start)), text_(std::move(text)) {}
  kernel::Task* task_;
  Ref<vfs::MountNamespace> mounts_;
  vfs::Path root_;
  vfs::Path start_;
  std::string text_;
};

}  // namespace rampart::syscalls
