#include "sentry/syscalls/inotify.h"

#include "abi/inotify.h"
#include "sentry/fs/inotify/inotify.h"
#include "sentry/syscalls/fd.h"
#include "sentry/vfs/operations.h"

namespace rampart::syscalls {
namespace {

constexpr uint32_t kAllBits = abi::kInAllEvents | vfs::kInUnmount | vfs::kInQOverflow | vfs::kInIgnored | abi::kInOnlydir | abi::kInDontFollow |
                              abi::kInExclUnlink | abi::kInMaskAdd | abi::kInMaskCreate | vfs::kInIsDir | abi::kInOneshot;

}  // namespace

Result<Word> SysInotifyInit(kernel::Task& task) { return SysInotifyInit1(task, 0); }

Result<Word> SysInotifyInit1(kernel::Task& task, uint32_t flags) {
  if ((flags & ~(abi::kInCloexec | abi::kInNonblock)) != 0) return Errno::kEINVAL;
  const Fd fd = TRY(task.fds().Install(fs::Inotify::Create(flags), (flags & abi::kInCloexec) != 0, task.limit(abi::Resource::kNofile)));
  return static_cast<Word>(fd);
}

Result<Word> SysInotifyAddWatch(kernel::Task& task, Fd fd, UserPath user_path, uint32_t mask) {
  if ((mask & kAllBits) == 0) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  if ((mask & abi::kInMaskAdd) != 0 && (mask & abi::kInMaskCreate) != 0) return Errno::kEINVAL;
  auto* const inotify = dynamic_cast<fs::Inotify*>(file.get());
  if (inotify == nullptr) return Errno::kEINVAL;
  const std::string path = TRY(task.CopyInPath(user_path));
  const Ref<vfs::MountNamespace> mounts = task.fs().mounts();
  const vfs::Walk walk{task, *mounts, task.fs().root(), task.fs().cwd()};
  vfs::WalkArgs args;
  args.follow_last = (mask & abi::kInDontFollow) == 0;
  args.want_directory = (mask & abi::kInOnlydir) != 0;
  const vfs::Path found = TRY(vfs::Lookup(walk, path, args));
  TRY(vfs::CheckAccess(task, found, vfs::Access::kRead));
  return static_cast<Word>(TRY(inotify->AddWatch(found, mask)));
}

Result<Word> SysInotifyRmWatch(kernel::Task& task, Fd fd, int32_t wd) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  auto* const inotify = dynamic_cast<fs::Inotify*>(file.get());
  if (inotify == nullptr) return Errno::kEINVAL;
  TRY(inotify->RemoveWatch(wd));
  return Word{0};
}

}  // namespace rampart::syscalls
