#include "sentry/syscalls/mount.h"

#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/ipc/namespace.h"
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/path_arg.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;

constexpr uint64_t kMsRdonly = 1, kMsNosuid = 2, kMsNodev = 4, kMsNoexec = 8, kMsRemount = 32, kMsNoatime = 1024, kMsNodiratime = 2048,
                   kMsBind = 4096, kMsMove = 8192, kMsRec = 16384, kMsUnbindable = 1 << 17, kMsPrivate = 1 << 18, kMsSlave = 1 << 19,
                   kMsShared = 1 << 20, kMsStrictatime = 1 << 24;

vfs::MountFlags ToFlags(uint64_t f) {
  vfs::MountFlags flags;
  flags.read_only = (f & kMsRdonly) != 0;
  flags.no_suid = (f & kMsNosuid) != 0;
  flags.no_dev = (f & kMsNodev) != 0;
  flags.no_exec = (f & kMsNoexec) != 0;
  flags.no_atime = (f & kMsNoatime) != 0;
  flags.no_dir_atime = (f & kMsNodiratime) != 0;
  flags.relatime = (f & (kMsNoatime | kMsStrictatime)) == 0;
  return flags;
}

Result<std::string> OptionalText(Task& task, UserPath user) {
  if (!user) return std::string();
  return task.CopyInPath(user);
}

Result<void> MountNew(Task& task, vfs::MountNamespace& mounts, const vfs::Path& at, std::string source, UserPath user_type, uint64_t flags,
                      UserPath user_data) {
  const std::string type = TRY(OptionalText(task, user_type));
  const std::string data = TRY(OptionalText(task, user_data));
  if (type == "mqueue") {
    const vfs::Path& queues = task.kernel().ipc().mq_root();
    TRY(mounts.Attach(at, ShareRef(&queues.mount->fs()), queues.dentry, ToFlags(flags), std::move(source)));
    return Ok();
  }
  if (type != "tmpfs") return Errno::kENODEV;
  const mm::MemoryFile::Usage usage = task.kernel().memory_file()->usage();
  const fs::TmpfsOptions options = TRY(fs::ParseTmpfsOptions(data, fs::TmpfsOptions{}, usage.limit_bytes));
  TRY(mounts.Attach(at, fs::NewTmpfs(task.kernel().memory_file(), options), nullptr, ToFlags(flags), std::move(source)));
  return Ok();
}

}  // namespace

Result<Word> SysMount(Task& task, UserPath user_source, UserPath user_target, UserPath type, uint64_t flags, UserPath data) {
  constexpr uint64_t kMagic = 0xC0ED0000;
  if ((flags & 0xffff0000) == kMagic) flags &= 0xffff;
  if (!task.creds().HasCapability(abi::Capability::kSysAdmin)) return Errno::kEPERM;
  const PathArg target = TRY(PathArg::Read(task, kAtFdCwd, user_target));
  const vfs::Path at = TRY(target.Find(true));
  vfs::MountNamespace& mounts = target.walk().mounts;
  if ((flags & kMsRemount) != 0) {
    if (!(at.dentry == at.mount->root()) || !mounts.Contains(*at.mount)) return Errno::kEINVAL;
    at.mount->SetFlags(ToFlags(flags));
    return Word{0};
  }
  if ((flags & kMsShared) != 0) return Errno::kEINVAL;  // mounts do not propagate
  if ((flags & (kMsPrivate | kMsSlave | kMsUnbindable)) != 0 && (flags & kMsBind) == 0) return Word{0};
  const std::string source = TRY(OptionalText(task, user_source));
  if ((flags & (kMsBind | kMsMove)) != 0) {
    if (source.empty()) return Errno::kEINVAL;
    const PathArg from_arg = TRY(PathArg::Of(task, kAtFdCwd, source));
    const vfs::Path from = TRY(from_arg.Find(true));
    if ((flags & kMsBind) != 0) {
      TRY(mounts.Bind(from, at, (flags & kMsRec) != 0));
    } else {
      TRY(mounts.Move(from, at));
    }
    return Word{0};
  }
  TRY(MountNew(task, mounts, at, source.empty() ? "none" : source, type, flags, data));
  return Word{0};
}

Result<Word> SysUmount2(Task& task, UserPath user, uint32_t flags) {
  constexpr uint32_t kForce = 1, kDetach = 2, kExpire = 4, kNofollow = 8;
  if ((flags & ~(kForce | kDetach | kExpire | kNofollow)) != 0) return Errno::kEINVAL;
  if ((flags & kExpire) != 0) return (flags & (kForce | kDetach)) != 0 ? Errno::kEINVAL : Errno::kEAGAIN;
  if (!task.creds().HasCapability(abi::Capability::kSysAdmin)) return Errno::kEPERM;
  const PathArg path = TRY(PathArg::Read(task, kAtFdCwd, user));
  const vfs::Path at = TRY(path.Find((flags & kNofollow) == 0));
  TRY(path.walk().mounts.Detach(at, (flags & kDetach) != 0));
  return Word{0};
}

Result<Word> SysPivotRoot(Task& task, UserPath user_new, UserPath user_old) {
  if (!task.creds().HasCapability(abi::Capability::kSysAdmin)) return Errno::kEPERM;
  const PathArg new_arg = TRY(PathArg::Read(task, kAtFdCwd, user_new));
  const PathArg old_arg = TRY(PathArg::Read(task, kAtFdCwd, user_old));
  const vfs::WalkArgs directory{.want_directory = true};
  const vfs::Path new_root = TRY(vfs::Lookup(new_arg.walk(), new_arg.text(), directory));
  const vfs::Path put_old = TRY(vfs::Lookup(old_arg.walk(), old_arg.text(), directory));
  vfs::MountNamespace& mounts = new_arg.walk().mounts;
  const vfs::Path old_root = mounts.root();
  if (!(task.fs().root() == old_root)) return Errno::kEINVAL;  // a chroot's root is no mount
  TRY(mounts.PivotRoot(new_root, put_old));
  task.fs().SetRoot(new_root);
  if (task.fs().cwd() == old_root) task.fs().SetCwd(new_root);
  return Word{0};
}

}  // namespace rampart::syscalls
