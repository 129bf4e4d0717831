// open_tree(2), move_mount(2), mount_setattr(2) (Linux: fs/namespace.c).
#include <algorithm>
#include <bit>
#include <cstring>

#include "sentry/kernel/namespace_file.h"
#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/mount.h"
#include "sentry/syscalls/mount_common.h"
#include "sentry/syscalls/mount_tree_file.h"

namespace rampart::syscalls {

using kernel::Task;

Result<vfs::Path> FindForMount(Task& task, Fd directory, UserPath path, bool follow, bool allow_empty) {
  const PathArg arg = TRY(allow_empty ? PathArg::ReadMaybeEmpty(task, directory, path) : PathArg::Read(task, directory, path));
  return arg.Find(follow, allow_empty);
}

Result<vfs::MountFlags> FlagsOfAttributes(uint64_t a) {
  vfs::MountFlags flags;
  flags.read_only = (a & abi::kMountAttrRdonly) != 0;
  flags.no_suid = (a & abi::kMountAttrNosuid) != 0;
  flags.no_dev = (a & abi::kMountAttrNodev) != 0;
  flags.no_exec = (a & abi::kMountAttrNoexec) != 0;
  flags.no_dir_atime = (a & abi::kMountAttrNodiratime) != 0;
  flags.no_symfollow = (a & abi::kMountAttrNosymfollow) != 0;
  const uint64_t atime = a & abi::kMountAttrAtime;
  if (atime != 0 && atime != abi::kMountAttrNoatime && atime != abi::kMountAttrStrictatime) return Errno::kEINVAL;
  flags.no_atime = atime == abi::kMountAttrNoatime;
  flags.relatime = atime == 0;
  return flags;
}

uint64_t AttributesOf(vfs::MountFlags f) {
  return (f.read_only ? abi::kMountAttrRdonly : 0) | (f.no_suid ? abi::kMountAttrNosuid : 0) | (f.no_dev ? abi::kMountAttrNodev : 0) |
         (f.no_exec ? abi::kMountAttrNoexec : 0) | (f.no_dir_atime ? abi::kMountAttrNodiratime : 0) | (f.no_symfollow ? abi::kMountAttrNosymfollow : 0) |
         (f.no_atime ? abi::kMountAttrNoatime : f.relatime ? 0 : abi::kMountAttrStrictatime);
}

namespace {

constexpr uint64_t kKnownAttributes = abi::kMountAttrRdonly | abi::kMountAttrNosuid | abi::kMountAttrNodev | abi::kMountAttrNoexec | abi::kMountAttrAtime | abi::kMountAttrNodiratime |
                                      abi::kMountAttrNosymfollow;

// The owner of ids would be another user namespace, of which there is none.
Result<void> CheckIdmap(Task& task, const abi::MountAttr& attr) {
  if (((attr.set | attr.clear) & abi::kMountAttrIdmap) == 0) return Ok();
  if ((attr.clear & abi::kMountAttrIdmap) != 0 || attr.userns_fd > INT32_MAX) return Errno::kEINVAL;
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, Fd{static_cast<int32_t>(attr.userns_fd)}));
  const Ref<vfs::Inode> inode = file->inode();
  const auto* ns = dynamic_cast<const kernel::NamespaceInode*>(inode.get());
  if (ns == nullptr || ns->kind() != kernel::NamespaceKind::kUser) return Errno::kEINVAL;
  return Errno::kEPERM;
}

Result<vfs::MountChange> ChangeOf(const abi::MountAttr& attr) {
  constexpr uint64_t kPropagations = abi::kMsUnbindable | abi::kMsPrivate | abi::kMsSlave | abi::kMsShared;
  if ((attr.propagation & ~kPropagations) != 0 || std::popcount(attr.propagation) > 1) return Errno::kEINVAL;
  if (((attr.set | attr.clear) & ~(kKnownAttributes | abi::kMountAttrIdmap)) != 0) return Errno::kEINVAL;
  vfs::MountChange change;
  change.atime = (attr.clear & abi::kMountAttrAtime) != 0;
  if (change.atime && (attr.clear & abi::kMountAttrAtime) != abi::kMountAttrAtime) return Errno::kEINVAL;
  if (!change.atime && (attr.set & abi::kMountAttrAtime) != 0) return Errno::kEINVAL;
  change.set = TRY(FlagsOfAttributes(attr.set));
  change.clear = TRY(FlagsOfAttributes(attr.clear & ~abi::kMountAttrAtime));
  if (attr.propagation == abi::kMsShared) change.propagation = vfs::Propagation::kShared;
  if (attr.propagation == abi::kMsPrivate) change.propagation = vfs::Propagation::kPrivate;
  if (attr.propagation == abi::kMsSlave) change.propagation = vfs::Propagation::kSlave;
  if (attr.propagation == abi::kMsUnbindable) change.propagation = vfs::Propagation::kUnbindable;
  return change;
}

}  // namespace

Result<Word> SysOpenTree(Task& task, Fd directory, UserPath path, uint32_t flags) {
  constexpr uint32_t kEmpty = static_cast<uint32_t>(abi::kAtEmptyPath), kNofollow = static_cast<uint32_t>(abi::kAtSymlinkNofollow), kNoAutomount = 0x800;
  if ((flags & ~(kEmpty | kNofollow | kNoAutomount | abi::kAtRecursive | abi::kOpenTreeClone | abi::kOpenTreeCloexec)) != 0) return Errno::kEINVAL;
  const bool clone = (flags & abi::kOpenTreeClone) != 0, recursive = (flags & abi::kAtRecursive) != 0;
  if (recursive && !clone) return Errno::kEINVAL;
  if (clone && !MayMount(task)) return Errno::kEPERM;
  const vfs::Path found = TRY(FindForMount(task, directory, path, (flags & kNofollow) == 0, (flags & kEmpty) != 0));
  const bool close_on_exec = (flags & abi::kOpenTreeCloexec) != 0;
  if (!clone) {
    const Ref<vfs::FileDescription> file = TRY(vfs::OpenPath(task, found, abi::kOPath));
    return static_cast<Word>(TRY(task.fds().Install(file, close_on_exec, task.limit(abi::Resource::kNofile))));
  }
  const Ref<vfs::MountNamespace> mounts = task.fs().mounts();
  TRY(CheckNoLoop(found, *mounts));
  const Ref<vfs::MountNamespace> tree = TRY(vfs::MountNamespace::CopyTree(found, recursive, *mounts));
  return static_cast<Word>(TRY(task.fds().Install(MakeRef<TreeDescription>(tree), close_on_exec, task.limit(abi::Resource::kNofile))));
}

Result<Word> SysMoveMount(Task& task, Fd from_directory, UserPath from_path, Fd to_directory, UserPath to_path, uint32_t flags) {
  constexpr uint32_t kKnown = abi::kMoveFromSymlinks | abi::kMoveFromAutomounts | abi::kMoveFromEmpty | abi::kMoveToSymlinks | abi::kMoveToAutomounts | abi::kMoveToEmpty |
                              abi::kMoveSetGroup | abi::kMoveBeneath;
  if (!MayMount(task)) return Errno::kEPERM;
  if ((flags & ~kKnown) != 0 || (flags & (abi::kMoveSetGroup | abi::kMoveBeneath)) == (abi::kMoveSetGroup | abi::kMoveBeneath)) return Errno::kEINVAL;
  if ((flags & abi::kMoveBeneath) != 0) return Errno::kEINVAL;  // not there
  const vfs::Path from = TRY(FindForMount(task, from_directory, from_path, (flags & abi::kMoveFromSymlinks) != 0, (flags & abi::kMoveFromEmpty) != 0));
  const vfs::Path to = TRY(FindForMount(task, to_directory, to_path, (flags & abi::kMoveToSymlinks) != 0, (flags & abi::kMoveToEmpty) != 0));
  const Ref<vfs::MountNamespace> mounts = task.fs().mounts();
  if ((flags & abi::kMoveSetGroup) != 0) {
    TRY(vfs::MountNamespace::SetGroup(from, to, *mounts));
  } else {
    TRY(mounts->Move(from, to));
  }
  return Word{0};
}

Result<Word> SysMountSetattr(Task& task, Fd directory, UserPath path, uint32_t flags, UserAddr user, uint64_t size) {
  constexpr uint32_t kEmpty = static_cast<uint32_t>(abi::kAtEmptyPath), kNofollow = static_cast<uint32_t>(abi::kAtSymlinkNofollow), kNoAutomount = 0x800;
  if ((flags & ~(kEmpty | kNofollow | kNoAutomount | abi::kAtRecursive)) != 0) return Errno::kEINVAL;
  if (size > kPageSize) return Errno::kE2BIG;
  if (size < sizeof(abi::MountAttr)) return Errno::kEINVAL;
  if (!MayMount(task)) return Errno::kEPERM;
  std::vector<std::byte> bytes(size);
  TRY(task.mm().CopyInBytes(user, bytes));
  if (std::any_of(bytes.begin() + sizeof(abi::MountAttr), bytes.end(), [](std::byte b) { return b != std::byte{0}; })) return Errno::kE2BIG;
  abi::MountAttr attr;
  std::memcpy(&attr, bytes.data(), sizeof(attr));
  if (attr.set == 0 && attr.clear == 0 && attr.propagation == 0) return Word{0};
  vfs::MountChange change = TRY(ChangeOf(attr));
  TRY(CheckIdmap(task, attr));
  change.recursive = (flags & abi::kAtRecursive) != 0;
  const vfs::Path found = TRY(FindForMount(task, directory, path, (flags & kNofollow) == 0, (flags & kEmpty) != 0));
  TRY(task.fs().mounts()->Change(found, change));
  return Word{0};
}

}  // namespace rampart::syscalls
