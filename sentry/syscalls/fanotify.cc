// Linux: fs/notify/fanotify/fanotify_user.c, as built without permission events (CONFIG_FANOTIFY_ACCESS_PERMISSIONS).
#include "sentry/syscalls/fanotify.h"

#include "sentry/fs/fanotify/fanotify.h"
#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/path_arg.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;

constexpr uint32_t kInitFlags =
    fs::kFanCloexec | fs::kFanNonblock | fs::kFanClassContent | fs::kFanClassPreContent | fs::kFanUnlimitedQueue | fs::kFanUnlimitedMarks;
// What the descriptors of events may be opened with.
constexpr uint32_t kEventFlags = abi::kOAccMode | abi::kOAppend | abi::kONonblock | abi::kOSync | abi::kODsync | abi::kOCloexec | abi::kOLargefile |
                                 abi::kONoatime;
constexpr uint32_t kKinds = fs::kFanMarkMount | fs::kFanMarkFilesystem;
constexpr uint32_t kMarkFlags = fs::kFanMarkAdd | fs::kFanMarkRemove | fs::kFanMarkDontFollow | fs::kFanMarkOnlydir | kKinds | fs::kFanMarkIgnoredMask |
                                fs::kFanMarkIgnoredSurvModify | fs::kFanMarkFlush;
constexpr uint64_t kMaskBits = fs::kFanEvents | fs::kFanEventOnChild | fs::kFanOnDir;

Result<vfs::Path> FindMarked(Task& task, uint32_t flags, Fd dirfd, UserPath user) {
  if (user.address() == 0) {
    const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, dirfd));
    if ((flags & fs::kFanMarkOnlydir) != 0 && !file->inode()->IsDirectory()) return Errno::kENOTDIR;
    TRY(vfs::CheckAccess(task, file->path(), vfs::Access::kRead));
    return file->path();
  }
  const PathArg path = TRY(PathArg::Read(task, dirfd, user));
  vfs::WalkArgs args;
  args.follow_last = (flags & fs::kFanMarkDontFollow) == 0;
  args.want_directory = (flags & fs::kFanMarkOnlydir) != 0;
  vfs::Path found = TRY(vfs::Lookup(path.walk(), path.text(), args));
  TRY(vfs::CheckAccess(task, found, vfs::Access::kRead));
  return found;
}

}  // namespace

Result<Word> SysFanotifyInit(Task& task, uint32_t flags, uint32_t event_flags) {
  // Who has no capability could only ask for reports by file handle, which are not there.
  if (!task.creds().HasCapability(abi::Capability::kSysAdmin)) return Errno::kEPERM;
  if ((flags & ~kInitFlags) != 0) return Errno::kEINVAL;
  constexpr uint32_t kClasses = fs::kFanClassContent | fs::kFanClassPreContent;
  if ((flags & kClasses) == kClasses) return Errno::kEINVAL;
  if ((event_flags & ~kEventFlags) != 0 || (event_flags & abi::kOAccMode) == abi::kOAccMode) return Errno::kEINVAL;
  Ref<vfs::FileDescription> file = fs::Fanotify::Create(flags, event_flags);
  return static_cast<Word>(TRY(task.fds().Install(std::move(file), (flags & fs::kFanCloexec) != 0, task.limit(abi::Resource::kNofile))));
}

Result<Word> SysFanotifyMark(Task& task, Fd fanotify, uint32_t flags, uint64_t mask, Fd dirfd, UserPath path) {
  if ((mask >> 32) != 0 || (flags & ~kMarkFlags) != 0) return Errno::kEINVAL;
  const uint32_t kind = flags & kKinds;
  if (kind == kKinds) return Errno::kEINVAL;
  const uint32_t command = flags & (fs::kFanMarkAdd | fs::kFanMarkRemove | fs::kFanMarkFlush);
  if (command == fs::kFanMarkFlush) {
    if ((flags & ~(kKinds | fs::kFanMarkFlush)) != 0) return Errno::kEINVAL;
  } else if ((command != fs::kFanMarkAdd && command != fs::kFanMarkRemove) || mask == 0) {
    return Errno::kEINVAL;
  }
  if ((mask & ~kMaskBits) != 0) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fanotify));
  auto* const instance = dynamic_cast<fs::Fanotify*>(file.get());
  if (instance == nullptr) return Errno::kEINVAL;
  if (command == fs::kFanMarkFlush) {
    instance->Flush(kind);
    return Word{0};
  }
  const vfs::Path found = TRY(FindMarked(task, flags, dirfd, path));
  const auto wanted = static_cast<uint32_t>(mask);
  if (command == fs::kFanMarkAdd) {
    TRY(instance->Mark(found, kind, flags, wanted));
  } else {
    TRY(instance->Unmark(found, kind, flags, wanted));
  }
  return Word{0};
}

}  // namespace rampart::syscalls
