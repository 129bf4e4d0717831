#include "sentry/syscalls/path.h"

#include <algorithm>
#include <array>

#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/kernel/blocking.h"
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/async_io.h"
#include "sentry/syscalls/path_arg.h"
#include "sentry/vfs/rename.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;

constexpr uint32_t kKnownOpenFlags = abi::kOAccMode | abi::kOCreat | abi::kOExcl | abi::kONoctty | abi::kOTrunc | abi::kOAppend |
                                     abi::kONonblock | abi::kOSync | abi::kOAsync | abi::kODirect | abi::kOLargefile | abi::kOTmpfile |
                                     abi::kONofollow | abi::kONoatime | abi::kOCloexec | abi::kOPath;

struct UserOpenHow {
  uint64_t flags;
  uint64_t mode;
  uint64_t resolve;
};

Result<Word> DoOpen(Task& task, Fd dirfd, UserPath user, uint32_t flags, uint32_t mode, uint64_t resolve) {
  constexpr uint32_t kTmpfileBit = abi::kOTmpfile & ~abi::kODirectory;
  if ((flags & abi::kOPath) == 0 && (flags & kTmpfileBit) != 0) {
    if ((flags & abi::kODirectory) == 0 || (flags & abi::kOAccMode) == abi::kORdOnly) return Errno::kEINVAL;
    if ((flags & abi::kOCreat) != 0) return Errno::kEINVAL;
  }
  if ((flags & (abi::kODirectory | abi::kOCreat)) == (abi::kODirectory | abi::kOCreat)) return Errno::kEINVAL;
  if ((flags & abi::kOPath) == 0) flags |= abi::kOLargefile;  // what is opened by name has it, and nothing else
  // In a root of its own an absolute path begins at the descriptor too.
  const PathArg path = TRY(PathArg::Read(task, dirfd, user, (resolve & vfs::kResolveInRoot) != 0));
  RefPtr<vfs::FileDescription> opened;
  const auto open = [&]() -> Result<void> {
    opened = TRY(vfs::Open(path.walk(), path.text(), flags, mode & 07777, resolve));
    return Ok();
  };
  Result<void> done = open();
  if (!done.ok() && done.error() == Errno::kEAGAIN && (flags & abi::kONonblock) == 0 && (resolve & vfs::kResolveCached) == 0) {
    const bool for_write = (flags & abi::kOAccMode) != abi::kORdOnly || (flags & abi::kOTrunc) != 0;
    done = WaitForLease(task, path, (flags & abi::kONofollow) == 0, for_write, open);
  }
  TRY(std::move(done));
  const Ref<vfs::FileDescription> file = std::move(opened).ToRef();
  const auto finish = [&] { return file->FinishOpen(task); };
  TRY(kernel::BlockOn<void>(task, *file, abi::kPollIn | abi::kPollOut, Deadline::Never(), finish));
  return static_cast<Word>(TRY(task.fds().Install(file, (flags & abi::kOCloexec) != 0, task.limit(abi::Resource::kNofile))));
}

Result<Word> CopyOutText(Task& task, UserAddr to, std::string_view text) {
  TRY(task.mm().CopyOutBytes(to, std::as_bytes(std::span(text.data(), text.size()))));
  return static_cast<Word>(text.size());
}

Result<void> CheckDirectoryToEnter(Task& task, const vfs::Path& path) {
  if (!path.dentry->IsDirectory()) return Errno::kENOTDIR;
  return vfs::CheckAccess(task, path, vfs::Access::kExecute);
}

}  // namespace

// open(2) ignores flags that it does not know.
Result<Word> SysOpen(Task& task, UserPath path, uint32_t flags, uint32_t mode) { return SysOpenat(task, kAtFdCwd, path, flags, mode); }

Result<Word> SysOpenat(Task& task, Fd dirfd, UserPath path, uint32_t flags, uint32_t mode) {
  return DoOpen(task, dirfd, path, flags & kKnownOpenFlags, mode, 0);
}

Result<Word> SysCreat(Task& task, UserPath path, uint32_t mode) {
  return SysOpenat(task, kAtFdCwd, path, abi::kOCreat | abi::kOWrOnly | abi::kOTrunc, mode);
}

Result<Word> SysOpenat2(Task& task, Fd dirfd, UserPath path, UserAddr how_address, uint64_t size) {
  if (size < sizeof(UserOpenHow)) return Errno::kEINVAL;
  if (size > 4096) return Errno::kE2BIG;
  const UserOpenHow how = TRY(task.CopyIn(UserIn<UserOpenHow>(how_address)));
  if (size > sizeof(UserOpenHow)) {
    std::vector<std::byte> rest(size - sizeof(UserOpenHow));
    TRY(task.mm().CopyInBytes(how_address + sizeof(UserOpenHow), rest));
    if (std::any_of(rest.begin(), rest.end(), [](std::byte b) { return b != std::byte{0}; })) return Errno::kE2BIG;
  }
  if ((how.flags & ~uint64_t{kKnownOpenFlags}) != 0 || (how.resolve & ~uint64_t{0x3f}) != 0) return Errno::kEINVAL;
  if ((how.resolve & vfs::kResolveBeneath) != 0 && (how.resolve & vfs::kResolveInRoot) != 0) return Errno::kEINVAL;
  const auto flags = static_cast<uint32_t>(how.flags);
  const bool creates = (flags & abi::kOCreat) != 0 || (flags & abi::kOTmpfile) == abi::kOTmpfile;
  if (creates ? (how.mode & ~uint64_t{07777}) != 0 : how.mode != 0) return Errno::kEINVAL;
  if ((flags & abi::kOPath) != 0 && (flags & ~(abi::kOPath | abi::kODirectory | abi::kONofollow | abi::kOCloexec)) != 0) return Errno::kEINVAL;
  if ((how.resolve & vfs::kResolveCached) != 0 && (creates || (flags & abi::kOTrunc) != 0)) return Errno::kEAGAIN;
  return DoOpen(task, dirfd, path, flags, static_cast<uint32_t>(how.mode), how.resolve);
}

Result<Word> SysMkdir(Task& task, UserPath path, uint32_t mode) { return SysMkdirat(task, kAtFdCwd, path, mode); }
Result<Word> SysMkdirat(Task& task, Fd dirfd, UserPath user, uint32_t mode) {
  const PathArg path = TRY(PathArg::Read(task, dirfd, user));
  TRY(vfs::MakeDirectory(path.walk(), path.text(), mode));
  return Word{0};
}

Result<Word> SysRmdir(Task& task, UserPath path) { return SysUnlinkat(task, kAtFdCwd, path, static_cast<uint32_t>(abi::kAtRemovedir)); }
Result<Word> SysUnlink(Task& task, UserPath path) { return SysUnlinkat(task, kAtFdCwd, path, 0); }
Result<Word> SysUnlinkat(Task& task, Fd dirfd, UserPath user, uint32_t flags) {
  constexpr uint32_t kRemovedir = static_cast<uint32_t>(abi::kAtRemovedir);
  if ((flags & ~kRemovedir) != 0) return Errno::kEINVAL;
  const PathArg path = TRY(PathArg::Read(task, dirfd, user));
  TRY(flags != 0 ? vfs::RemoveDirectory(path.walk(), path.text()) : vfs::Unlink(path.walk(), path.text()));
  return Word{0};
}

Result<Word> SysRename(Task& task, UserPath from, UserPath to) { return SysRenameat2(task, kAtFdCwd, from, kAtFdCwd, to, 0); }
Result<Word> SysRenameat(Task& task, Fd from_dir, UserPath from, Fd to_dir, UserPath to) {
  return SysRenameat2(task, from_dir, from, to_dir, to, 0);
}
Result<Word> SysRenameat2(Task& task, Fd from_dir, UserPath from_user, Fd to_dir, UserPath to_user, uint32_t flags) {
  TRY(vfs::CheckRenameFlags(task, flags));
  const PathArg from = TRY(PathArg::Read(task, from_dir, from_user));
  const Result<PathArg> to_read = PathArg::Read(task, to_dir, to_user);
  if (!to_read.ok()) {  // seen only once the way to the first name was walked
    TRY(vfs::LookupParent(from.walk(), from.text()));
    return to_read.error();
  }
  const PathArg& to = to_read.value();
  TRY(vfs::Rename(from.walk(), from.text(), to.walk(), to.text(), flags));
  return Word{0};
}

Result<Word> SysLink(Task& task, UserPath from, UserPath to) { return SysLinkat(task, kAtFdCwd, from, kAtFdCwd, to, 0); }
Result<Word> SysLinkat(Task& task, Fd from_dir, UserPath from_user, Fd to_dir, UserPath to_user, uint32_t flags) {
  constexpr uint32_t kFollow = static_cast<uint32_t>(abi::kAtSymlinkFollow), kEmpty = static_cast<uint32_t>(abi::kAtEmptyPath);
  if ((flags & ~(kFollow | kEmpty)) != 0) return Errno::kEINVAL;
  if ((flags & kEmpty) != 0 && !task.creds().HasCapability(abi::Capability::kDacReadSearch)) return Errno::kENOENT;
  const PathArg from = TRY((flags & kEmpty) != 0 ? PathArg::ReadMaybeEmpty(task, from_dir, from_user) : PathArg::Read(task, from_dir, from_user));
  const vfs::Path target = TRY(from.Find((flags & kFollow) != 0, (flags & kEmpty) != 0));
  const PathArg to = TRY(PathArg::Read(task, to_dir, to_user));
  TRY(vfs::Link(target, to.walk(), to.text()));
  return Word{0};
}

Result<Word> SysSymlink(Task& task, UserPath target, UserPath path) { return SysSymlinkat(task, target, kAtFdCwd, path); }
Result<Word> SysSymlinkat(Task& task, UserPath target_user, Fd dirfd, UserPath user) {
  std::string target = TRY(task.CopyInPath(target_user));
  if (target.empty()) return Errno::kENOENT;
  const PathArg path = TRY(PathArg::Read(task, dirfd, user));
  TRY(vfs::MakeSymlink(path.walk(), path.text(), std::move(target)));
  return Word{0};
}

Result<Word> SysReadlink(Task& task, UserPath path, UserAddr buffer, int32_t size) { return SysReadlinkat(task, kAtFdCwd, path, buffer, size); }
Result<Word> SysReadlinkat(Task& task, Fd dirfd, UserPath user, UserAddr buffer, int32_t size) {
  if (size <= 0) return Errno::kEINVAL;
  const PathArg path = TRY(PathArg::ReadMaybeEmpty(task, dirfd, user));
  const std::string text = TRY(vfs::ReadLink(path.walk(), path.text()));
  return CopyOutText(task, buffer, std::string_view(text).substr(0, static_cast<size_t>(size)));
}

Result<Word> SysMknod(Task& task, UserPath path, uint32_t mode, uint32_t device) { return SysMknodat(task, kAtFdCwd, path, mode, device); }
Result<Word> SysMknodat(Task& task, Fd dirfd, UserPath user, uint32_t mode, uint32_t device) {
  const uint32_t format = mode & abi::kIfMt;
  if (format == abi::kIfDir) return Errno::kEPERM;
  if (format != 0 && format != abi::kIfReg && format != abi::kIfChr && format != abi::kIfBlk && format != abi::kIfIfo && format != abi::kIfSock) {
    return Errno::kEINVAL;
  }
  const PathArg path = TRY(PathArg::Read(task, dirfd, user));
  const auto type = format == 0 ? vfs::FileType::kRegular : static_cast<vfs::FileType>(format);
  TRY(vfs::MakeNode(path.walk(), path.text(), type, mode & 07777, device));
  return Word{0};
}

Result<Word> SysGetcwd(Task& task, UserAddr buffer, uint64_t size) {
  const vfs::FsContext::View view = task.fs().view();
  if (view.cwd.dentry->IsDeleted()) return Errno::kENOENT;
  std::string text = vfs::PathText(*view.mounts, view.root, view.cwd);
  text.push_back('\0');
  if (text.size() > static_cast<size_t>(abi::kPathMax)) return Errno::kENAMETOOLONG;
  if (text.size() > size) return Errno::kERANGE;
  return CopyOutText(task, buffer, text);
}

Result<Word> SysChdir(Task& task, UserPath user) {
  const PathArg path = TRY(PathArg::Read(task, kAtFdCwd, user));
  vfs::Path found = TRY(path.Find(true));
  TRY(CheckDirectoryToEnter(task, found));
  task.fs().SetCwd(std::move(found));
  return Word{0};
}

Result<Word> SysFchdir(Task& task, Fd fd) {
  const Ref<vfs::FileDescription> file = TRY(task.fds().Get(fd));
  TRY(CheckDirectoryToEnter(task, file->path()));
  task.fs().SetCwd(file->path());
  return Word{0};
}

Result<Word> SysChroot(Task& task, UserPath user) {
  const PathArg path = TRY(PathArg::Read(task, kAtFdCwd, user));
  vfs::Path found = TRY(path.Find(true));
  TRY(CheckDirectoryToEnter(task, found));
  if (!task.creds().HasCapability(abi::Capability::kSysChroot)) return Errno::kEPERM;
  task.fs().SetRoot(std::move(found));
  return Word{0};
}

Result<Word> SysUmask(Task& task, uint32_t mask) { return static_cast<Word>(task.fs().ExchangeUmask(mask)); }

Result<Word> SysMemfdCreate(Task& task, UserPath user, uint32_t flags) {
  constexpr uint32_t kHugeSizes = 0x3fu << 26;
  constexpr uint32_t kKnown = fs::kMfdCloexec | fs::kMfdAllowSealing | fs::kMfdNoexecSeal | fs::kMfdExec;
  if ((flags & fs::kMfdHugetlb) != 0 && (flags & ~(kKnown | fs::kMfdHugetlb | kHugeSizes)) == 0) return Errno::kENODEV;  // no such pool
  if ((flags & ~kKnown) != 0) return Errno::kEINVAL;
  if ((flags & fs::kMfdExec) != 0 && (flags & fs::kMfdNoexecSeal) != 0) return Errno::kEINVAL;
  constexpr size_t kMaxName = 249;
  const std::string name = TRY(task.mm().CopyInString(user.address(), kMaxName + 1, Errno::kEINVAL));
  Ref<vfs::FileDescription> file = TRY(fs::NewMemfd(task, task.kernel().memory_file(), name, flags));
  return static_cast<Word>(TRY(task.fds().Install(std::move(file), (flags & fs::kMfdCloexec) != 0, task.limit(abi::Resource::kNofile))));
}

Result<Word> SysMemfdSecret(Task& task, uint32_t flags) {
  if ((flags & ~abi::kOCloexec) != 0) return Errno::kEINVAL;
  Ref<vfs::FileDescription> file = TRY(fs::NewSecretMemory(task, task.kernel().memory_file()));
  return static_cast<Word>(TRY(task.fds().Install(std::move(file), flags != 0, task.limit(abi::Resource::kNofile))));
}

}  // namespace rampart::syscalls
