// The VFS's operations on paths: what open, stat, rename … do between decoding their arguments and the filesystem's Inode.
// Permission checks, mount flags, symlink rules (40 links: ELOOP; protected symlinks are off as in a container), trailing slashes, "..",
// RESOLVE_* of openat2: all here. Paths are at most 4095 bytes and symlink rules those of path_resolution(7).
// Thread safety: any thread.
#pragma once

#include <string>
#include <string_view>

#include "sentry/vfs/fs_context.h"

namespace rampart::vfs {

// openat2(2).
inline constexpr uint64_t kResolveNoXdev = 1, kResolveNoMagiclinks = 2, kResolveNoSymlinks = 4, kResolveBeneath = 8, kResolveInRoot = 16,
                          kResolveCached = 32;
// Ours: a walk that umount2(MNT_EXPIRE) does not take for a use of what is mounted.
inline constexpr uint64_t kResolveQuietly = uint64_t{1} << 32;

// How a path is walked.
struct WalkArgs {
  bool follow_last = true;          // follow a symlink in last place
  bool allow_empty = false;         // AT_EMPTY_PATH: "" is `start` itself
  bool want_directory = false;      // ENOTDIR otherwise (also set by a trailing slash)
  uint64_t resolve = 0;             // openat2's RESOLVE_*
};

// One view for a walk: the caller, its root and the directory that relative paths start from.
struct Walk {
  Caller& caller;
  MountNamespace& mounts;
  Path root;
  Path start;
};

// "a/b" → parent directory and last component for operations that make or remove a name. `last` may be "." or ".." or carry
// must_be_directory (trailing slash); each operation has its own errno for those.
struct ParentAndName {
  Path parent;
  std::string last;
  bool must_be_directory;
};

Result<Path> Lookup(const Walk& walk, std::string_view path, const WalkArgs& args);
Result<ParentAndName> LookupParent(const Walk& walk, std::string_view path, uint64_t resolve = 0);

Result<Ref<FileDescription>> Open(const Walk& walk, std::string_view path, uint32_t flags, uint32_t mode, uint64_t resolve = 0);
// Opens what a path already names (execve, /proc/self/fd/N); checks access and mount flags.
Result<Ref<FileDescription>> OpenPath(Caller& caller, const Path& path, uint32_t flags);
Result<void> MakeDirectory(const Walk& walk, std::string_view path, uint32_t mode);
Result<void> MakeNode(const Walk& walk, std::string_view path, FileType type, uint32_t mode, uint64_t rdev);
Result<void> MakeSymlink(const Walk& walk, std::string_view path, std::string target);
Result<void> Link(const Path& target, const Walk& to, std::string_view new_path);
Result<void> Unlink(const Walk& walk, std::string_view path);
Result<void> RemoveDirectory(const Walk& walk, std::string_view path);
// renameat2's flags, which are judged before the names are read: EINVAL, EPERM.
Result<void> CheckRenameFlags(const Caller& caller, uint32_t flags);
Result<void> Rename(const Walk& from, std::string_view old_path, const Walk& to, std::string_view new_path, uint32_t flags);
Result<std::string> ReadLink(const Walk& walk, std::string_view path);
// A socket name for bind(2): makes the node and returns its path.
Result<Path> BindSocketNode(const Walk& walk, std::string_view path, uint32_t mode);

Result<void> CheckAccess(Caller& caller, const Path& path, Access wanted);   // with the mount's read-only flag
Result<Attr> GetAttr(Caller& caller, const Path& path);
// chmod/chown/utimes/truncate on what a path names: ownership rules, set-id clearing, EROFS, EPERM; then the inode's SetAttr.
Result<void> ChangeMode(Caller& caller, const Path& path, uint32_t permissions);
Result<void> ChangeOwner(Caller& caller, const Path& path, std::optional<abi::Uid> uid, std::optional<abi::Gid> gid);
struct TimeChange {
  enum Kind : uint8_t { kOmit, kNow, kSet } kind = kNow;
  Nanos value = 0;
};
Result<void> ChangeTimes(Caller& caller, const Path& path, TimeChange atime, TimeChange mtime);
Result<void> Truncate(Caller& caller, const Path& path, uint64_t size);
// ftruncate(2): the right to write was checked when it was opened.
Result<void> TruncateOpened(Caller& caller, const Path& path, uint64_t size);
// After a write by somebody without CAP_FSETID: clears set-user-id and, for group executables, set-group-id. Cheap when there is nothing to clear.
Result<void> DropPrivilegeBits(Caller& caller, Inode& inode);
// xattr(7): the rules of the namespaces (user., trusted., security., system.), then the inode's function. ENODATA, EPERM, EACCES, EOPNOTSUPP.
Result<std::string> GetXattr(Caller& caller, const Path& path, std::string_view name);
Result<void> SetXattr(Caller& caller, const Path& path, std::string_view name, std::string_view value, uint32_t flags);
Result<std::vector<std::string>> ListXattr(Caller& caller, const Path& path);
Result<void> RemoveXattr(Caller& caller, const Path& path, std::string_view name);

// The text that getcwd and /proc show for `path` seen from `root`: "(unreachable)/x" outside it, " (deleted)" after unlinked names.
std::string PathText(const MountNamespace& mounts, const Path& root, const Path& path);

// inotify: tells watches on `path`'s inode and its parent. Called by the core and by file implementations on data changes. Cheap without watches.
void NotifyWatches(const Path& path, uint32_t inotify_mask);

// Opening of device nodes: filesystems' nodes carry only numbers; drivers register here at boot.
using DeviceOpener = Result<Ref<FileDescription>> (*)(Caller& caller, const Path& path, uint32_t flags, void* driver);
class DeviceRegistry {
 public:
  static DeviceRegistry& Get();
  void Register(FileType type, uint32_t major, uint32_t first_minor, uint32_t count, DeviceOpener opener, void* driver);
  Result<Ref<FileDescription>> Open(Caller& caller, const Path& path, FileType type, uint64_t rdev, uint32_t flags);  // ENXIO
};
// Opening of FIFOs: sentry/fs/pipe registers itself at boot.
using FifoOpener = Result<Ref<FileDescription>> (*)(Caller& caller, const Path& path, uint32_t flags);
void RegisterFifoOpener(FifoOpener opener);
Result<Ref<FileDescription>> OpenFifo(Caller& caller, const Path& path, uint32_t flags);  // ENXIO when none is registered

// A pseudo filesystem for objects without names (pipes, sockets, eventfds…): makes the Path of a new anonymous inode shown as `name`.
Path NewAnonymousPath(Ref<Inode> inode, std::string shown_name);
// An Inode for such an object with fixed attributes.
Ref<Inode> NewAnonymousInode(FileType type, uint32_t permissions, abi::Uid uid, abi::Gid gid);

}  // namespace rampart::vfs
