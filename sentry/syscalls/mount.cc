#include "sentry/syscalls/mount.h"

#include <algorithm>

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/namespace_file.h"
#include "sentry/syscalls/mount_common.h"

namespace rampart::syscalls {

using kernel::Task;

bool ApplyCommonOption(const vfs::FsOption& option, uint32_t& flags) {
  struct Row {
    const char* name;
    uint32_t flag;
    bool on;
  };
  using Fs = vfs::Filesystem;
  static constexpr Row kRows[] = {{"ro", Fs::kSbReadOnly, true},          {"rw", Fs::kSbReadOnly, false},       {"sync", Fs::kSbSynchronous, true},
                                  {"async", Fs::kSbSynchronous, false},   {"dirsync", Fs::kSbDirSync, true},    {"mand", Fs::kSbMandatoryLocks, true},
                                  {"nomand", Fs::kSbMandatoryLocks, false}, {"lazytime", Fs::kSbLazyTime, true}, {"nolazytime", Fs::kSbLazyTime, false}};
  for (const Row& row : kRows) {
    if (option.has_value || option.key != row.name) continue;
    flags = row.on ? flags | row.flag : flags & ~row.flag;
    return true;
  }
  return false;
}

Result<void> Reconfigure(vfs::Filesystem& fs, const std::vector<vfs::FsOption>& options, uint32_t flags) {
  const std::vector<vfs::FsOption> present = vfs::SplitOptions(fs.Options());
  std::vector<vfs::FsOption> news;
  for (const vfs::FsOption& option : options) {
    const bool there = std::any_of(present.begin(), present.end(), [&](const vfs::FsOption& p) { return p.Text() == option.Text(); });
    if (!there && !ApplyCommonOption(option, flags)) news.push_back(option);
  }
  TRY(fs.Reconfigure(news));
  return fs.SetFlags(flags);
}

Result<void> CheckNoLoop(const vfs::Path& from, const vfs::MountNamespace& mounts) {
  const RefPtr<vfs::Inode>& inode = from.dentry->inode();
  const auto* file = dynamic_cast<const kernel::NamespaceInode*>(inode.get());
  if (file == nullptr || file->kind() != kernel::NamespaceKind::kMnt) return Ok();
  const auto* meant = static_cast<const vfs::MountNamespace*>(file->object().get());
  return meant->id() > mounts.id() ? Result<void>(Ok()) : Errno::kEINVAL;
}

namespace {

constexpr uint64_t kSuperFlags = abi::kMsRdonly | abi::kMsSynchronous | abi::kMsMandlock | abi::kMsDirsync | abi::kMsLazytime;

vfs::MountFlags ToFlags(uint64_t f) {
  vfs::MountFlags flags;
  flags.read_only = (f & abi::kMsRdonly) != 0;
  flags.no_suid = (f & abi::kMsNosuid) != 0;
  flags.no_dev = (f & abi::kMsNodev) != 0;
  flags.no_exec = (f & abi::kMsNoexec) != 0;
  flags.no_atime = (f & abi::kMsNoatime) != 0;
  flags.no_dir_atime = (f & abi::kMsNodiratime) != 0;
  flags.no_symfollow = (f & abi::kMsNosymfollow) != 0;
  flags.relatime = (f & (abi::kMsNoatime | abi::kMsStrictatime)) == 0;
  return flags;
}

// copy_mount_string: EINVAL for what is too long.
Result<std::string> CopyInText(Task& task, UserPath user) {
  if (!user) return std::string();
  return task.mm().CopyInString(user.address(), abi::kPathMax, Errno::kEINVAL);
}

// A page of options, which need not end in a zero and may run into memory that is not there.
Result<std::string> CopyInData(Task& task, UserPath user) {
  if (!user) return std::string();
  std::string data(kPageSize, '\0');
  const uint64_t first = kPageSize - user.address() % kPageSize;
  TRY(task.mm().CopyInBytes(user.address(), std::as_writable_bytes(std::span(data)).first(first)));
  if (data.find('\0') >= first && first < kPageSize) {
    (void)task.mm().CopyInBytes(user.address() + first, std::as_writable_bytes(std::span(data)).subspan(first));
  }
  data.back() = '\0';
  return data.substr(0, data.find('\0'));
}

Result<void> MountNew(const PathArg& target, const vfs::Path& at, std::string source, const std::string& type_name, uint64_t flags,
                      const std::string& data) {
  if (type_name.empty()) return Errno::kEINVAL;
  const vfs::FilesystemType* const type = vfs::FilesystemTypes::Get().Find(type_name);
  if (type == nullptr) return Errno::kENODEV;
  vfs::FsLog log;
  const vfs::Walk walk = target.walk();
  vfs::FsRequest request{.walk = walk, .source = source, .options = {}, .log = log};
  auto super = static_cast<uint32_t>(flags & kSuperFlags);
  for (vfs::FsOption& option : vfs::SplitOptions(data)) {
    if (ApplyCommonOption(option, super)) continue;
    TRY(type->Check(option, log));
    request.options.push_back(std::move(option));
  }
  vfs::MadeFilesystem made = TRY(type->Make(request));
  if (!made.shared) TRY(made.fs->SetFlags(super));
  TRY(walk.mounts.Attach(at, made.fs, made.root, ToFlags(flags), source.empty() ? "none" : std::move(source)));
  return Ok();
}

Result<void> Remount(Task& task, vfs::MountNamespace& mounts, const vfs::Path& at, uint64_t flags, const std::string& data) {
  (void)task;
  vfs::MountChange change;
  change.set = ToFlags(flags);
  change.clear = vfs::MountFlags{true, true, true, true, true, true, true, true};
  // What is not asked for stays: here the times of access alone.
  change.atime = (flags & (abi::kMsNoatime | abi::kMsNodiratime | abi::kMsRelatime | abi::kMsStrictatime)) != 0;
  if (!change.atime) change.set.no_dir_atime = at.mount->flags().no_dir_atime;
  if ((flags & abi::kMsBind) != 0) return mounts.Change(at, change);
  if (!(at.dentry == at.mount->root()) || !mounts.Contains(*at.mount)) return Errno::kEINVAL;
  if (at.mount->read_only_locked() && !change.set.read_only) return Errno::kEPERM;
  vfs::Filesystem& fs = at.mount->fs();
  const uint32_t super = (fs.flags() & ~static_cast<uint32_t>(kSuperFlags)) | static_cast<uint32_t>(flags & kSuperFlags);
  TRY(Reconfigure(fs, vfs::SplitOptions(data), super));
  return mounts.Change(at, change);
}

Result<void> ChangePropagation(vfs::MountNamespace& mounts, const vfs::Path& at, uint64_t flags) {
  vfs::MountChange change;
  change.recursive = (flags & abi::kMsRec) != 0;
  // One of them alone, with MS_REC and MS_SILENT at most.
  switch (flags & ~(abi::kMsRec | abi::kMsSilent)) {
    case abi::kMsShared: change.propagation = vfs::Propagation::kShared; break;
    case abi::kMsPrivate: change.propagation = vfs::Propagation::kPrivate; break;
    case abi::kMsSlave: change.propagation = vfs::Propagation::kSlave; break;
    case abi::kMsUnbindable: change.propagation = vfs::Propagation::kUnbindable; break;
    default: return Errno::kEINVAL;
  }
  return mounts.Change(at, change);
}

Result<void> BindOrMove(Task& task, vfs::MountNamespace& mounts, const vfs::Path& at, const std::string& source, uint64_t flags) {
  if (source.empty()) return Errno::kEINVAL;
  const PathArg arg = TRY(PathArg::Of(task, kAtFdCwd, source));
  const vfs::Path from = TRY(arg.Find(true));
  if ((flags & abi::kMsBind) == 0) return mounts.Move(from, at);
  TRY(CheckNoLoop(from, mounts));
  TRY(mounts.Bind(from, at, (flags & abi::kMsRec) != 0));
  return Ok();
}

}  // namespace

Result<Word> SysMount(Task& task, UserPath user_source, UserPath user_target, UserPath user_type, uint64_t flags, UserPath user_data) {
  const std::string type = TRY(CopyInText(task, user_type));
  const std::string source = TRY(CopyInText(task, user_source));
  const std::string data = TRY(CopyInData(task, user_data));
  if ((flags & abi::kMsMagicMask) == abi::kMsMagic) flags &= ~abi::kMsMagicMask;
  const PathArg target = TRY(PathArg::Read(task, kAtFdCwd, user_target));
  const vfs::Path at = TRY(target.Find(true));
  if (!MayMount(task)) return Errno::kEPERM;
  vfs::MountNamespace& mounts = target.walk().mounts;
  if ((flags & abi::kMsRemount) != 0) {
    TRY(Remount(task, mounts, at, flags, data));
  } else if ((flags & abi::kMsBind) != 0) {
    TRY(BindOrMove(task, mounts, at, source, flags));
  } else if ((flags & (abi::kMsShared | abi::kMsPrivate | abi::kMsSlave | abi::kMsUnbindable)) != 0) {
    TRY(ChangePropagation(mounts, at, flags));
  } else if ((flags & abi::kMsMove) != 0) {
    TRY(BindOrMove(task, mounts, at, source, flags));
  } else {
    TRY(MountNew(target, at, source, type, flags, data));
  }
  return Word{0};
}

Result<Word> SysUmount2(Task& task, UserPath user, uint32_t flags) {
  if ((flags & ~(abi::kMntForce | abi::kMntDetach | abi::kMntExpire | abi::kUmountNofollow)) != 0) return Errno::kEINVAL;
  const PathArg path = TRY(PathArg::Read(task, kAtFdCwd, user));
  const bool expire = (flags & abi::kMntExpire) != 0, lazy = (flags & abi::kMntDetach) != 0;
  const vfs::WalkArgs args{.follow_last = (flags & abi::kUmountNofollow) == 0, .resolve = expire ? vfs::kResolveQuietly : 0};
  vfs::Path at = TRY(vfs::Lookup(path.walk(), path.text(), args));
  // Linux: LOOKUP_MOUNTPOINT. What covers "." is meant too (pivot_root(".", ".") leaves the old root there).
  while (const RefPtr<vfs::Mount> over = vfs::MountNamespace::MountedOn(*at.mount, *at.dentry, expire)) at = {over.ToRef(), over->root()};
  if (!MayMount(task)) return Errno::kEPERM;
  vfs::MountNamespace& mounts = path.walk().mounts;
  if (!(at.dentry == at.mount->root()) || !mounts.Contains(*at.mount)) return Errno::kEINVAL;
  const bool own_root = at.mount == task.fs().root().mount;
  if (expire && (own_root || (flags & (abi::kMntForce | abi::kMntDetach)) != 0)) return Errno::kEINVAL;
  // Of one's own root Linux only makes the filesystem read-only.
  if (own_root && !lazy) {
    TRY(at.mount->fs().SetFlags(at.mount->fs().flags() | vfs::Filesystem::kSbReadOnly));
    return Word{0};
  }
  TRY(mounts.Detach(at, expire ? vfs::Umount::kExpire : lazy ? vfs::Umount::kLazy : vfs::Umount::kIfUnused));
  return Word{0};
}

Result<Word> SysPivotRoot(Task& task, UserPath user_new, UserPath user_old) {
  if (!MayMount(task)) return Errno::kEPERM;
  const PathArg new_arg = TRY(PathArg::Read(task, kAtFdCwd, user_new));
  const vfs::WalkArgs directory{.want_directory = true};
  const vfs::Path new_root = TRY(vfs::Lookup(new_arg.walk(), new_arg.text(), directory));
  const PathArg old_arg = TRY(PathArg::Read(task, kAtFdCwd, user_old));
  const vfs::Path put_old = TRY(vfs::Lookup(old_arg.walk(), old_arg.text(), directory));
  const vfs::Path root = task.fs().root();
  TRY(new_arg.walk().mounts.PivotRoot(root, new_root, put_old));
  // Everybody who stood on the old root.
  for (const Ref<kernel::ThreadGroup>& group : task.kernel().Groups()) {
    for (const Ref<Task>& one : group->Tasks()) {
      if (const RefPtr<vfs::FsContext> fs = one->GetFs()) fs->Replace(root, new_root);
    }
  }
  return Word{0};
}

}  // namespace rampart::syscalls
