#include "sentry/syscalls/path_arg.h"

namespace rampart::syscalls {

Result<PathArg> PathArg::Read(kernel::Task& task, Fd dirfd, UserPath user, bool dirfd_for_absolute) {
  std::string text = TRY(task.CopyInPath(user));
  if (text.empty()) return Errno::kENOENT;
  return Of(task, dirfd, std::move(text), dirfd_for_absolute);
}

Result<PathArg> PathArg::ReadMaybeEmpty(kernel::Task& task, Fd dirfd, UserPath user) { return Of(task, dirfd, TRY(task.CopyInPath(user))); }

Result<PathArg> PathArg::Of(kernel::Task& task, Fd dirfd, std::string text, bool dirfd_for_absolute) {
  vfs::FsContext::View view = task.fs().view();
  if (dirfd != kAtFdCwd && (text.empty() || text[0] != '/' || dirfd_for_absolute)) {
    const Ref<vfs::FileDescription> directory = TRY(task.fds().Get(dirfd));
    view.cwd = directory->path();
  }
  return PathArg(task, std::move(view.mounts), std::move(view.root), std::move(view.cwd), std::move(text));
}

Result<vfs::Path> PathArg::Find(bool follow, bool allow_empty) const {
  return vfs::Lookup(walk(), text_, vfs::WalkArgs{.follow_last = follow, .allow_empty = allow_empty});
}

}  // namespace rampart::syscalls
