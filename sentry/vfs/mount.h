// Mount and MountNamespace: where filesystems are attached (mount_namespaces(7), Documentation/filesystems/sharedsubtree.rst).
//
// Model: Linux's. A mount shows a subtree of a filesystem on a dentry of another mount; a namespace owns its root mount, each mount those that hang on
// it. A shared mount is in a peer group: what is mounted or unmounted below one of the group happens below its peers and, one way, below its slaves. A
// tree in no task's namespace (open_tree, fsmount) is a detached namespace of its own.
// Thread safety: any thread. One lock (mount_tree.h) guards the trees and groups of all namespaces, so that a path can be shown without knowing its
// namespace; walks take it only where something is mounted. Lock order: a leaf, except that dentries' own locks are taken under it. What a change
// lets go of is released after it.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "sentry/vfs/dentry.h"

namespace rampart::vfs {

class MountNamespace;
class MountTree;
class PeerGroup;

struct MountFlags {
  bool read_only = false, no_suid = false, no_dev = false, no_exec = false, no_atime = false, no_dir_atime = false, relatime = true;
  bool no_symfollow = false;
  // "ro,nosuid,relatime", as in /proc/PID/mountinfo.
  std::string Text() const;
};

class Mount final : public RefCounted {
 public:
  Mount(Ref<Filesystem> fs, Ref<Dentry> root, MountFlags flags, std::string source);
  Filesystem& fs() const { return *fs_; }
  const Ref<Dentry>& root() const { return root_; }
  ~Mount() override;
  // The mount's own; its filesystem may be read-only besides.
  MountFlags flags() const { return Unpack(flags_.load(std::memory_order_acquire)); }
  void SetFlags(MountFlags flags) { flags_.store(Pack(flags)); }
  bool read_only() const { return (flags_.load(std::memory_order_acquire) & 1) != 0 || fs_->read_only(); }
  uint64_t id() const { return id_; }
  // Never used twice (STATX_MNT_ID_UNIQUE); above every id().
  uint64_t unique_id() const { return id_ + kUniqueOffset; }
  static constexpr uint64_t kUniqueOffset = uint64_t{1} << 32;
  const std::string& source() const { return source_; }
  // Read-only for good, also in copies: what the sandbox shows of the host to be read alone. Before it is attached.
  void LockReadOnly() { read_only_locked_ = true; }
  bool read_only_locked() const { return read_only_locked_; }

  // An open file writes through it: while any does, it cannot become read-only. EROFS.
  Result<void> AcquireWrite();
  void ReleaseWrite();
  bool has_writers() const { return writers_.load() > 0; }

 private:
  friend class MountNamespace;
  friend class MountTree;
  friend class PeerGroup;
  static uint8_t Pack(MountFlags flags);
  static MountFlags Unpack(uint8_t bits);

  const Ref<Filesystem> fs_;
  const Ref<Dentry> root_;
  const uint64_t id_;
  const std::string source_;
  bool read_only_locked_ = false;      // immutable once shared
  std::atomic<uint8_t> flags_;
  std::atomic<int> writers_{0};
  std::atomic<bool> expiring_{false};  // umount2(MNT_EXPIRE) has been here; anybody who walks in takes it back
  // Guarded by the mount lock.
  MountNamespace* ns_ = nullptr;       // null: attached nowhere
  Mount* parent_ = nullptr;            // whose children_ holds this; null: a namespace's root, or attached nowhere
  RefPtr<Dentry> mountpoint_;          // on parent_
  absl::flat_hash_map<const Dentry*, Ref<Mount>> children_;  // by mountpoint
  RefPtr<PeerGroup> peers_;            // null: not shared
  RefPtr<PeerGroup> master_;           // of a mount that is not shared itself: whose events it receives
  bool unbindable_ = false;
};

enum class Propagation : uint8_t { kPrivate, kShared, kSlave, kUnbindable };

// Changes of a mount's own flags (mount_setattr(2), MS_REMOUNT|MS_BIND).
struct MountChange {
  MountFlags set{.relatime = false};    // flags that come
  MountFlags clear{.relatime = false};  // flags that go, before that
  bool atime = false;                   // no_atime and relatime of `set` replace those that are there
  std::optional<Propagation> propagation = std::nullopt;
  bool recursive = false;
  MountFlags Apply(MountFlags flags) const;
};

// One mount as /proc and statmount(2) show it.
struct MountInfo {
  Ref<Mount> mount;
  uint64_t parent_id;              // its own, of a namespace's root
  std::string mountpoint;          // as seen from `root`
  std::string root;                // within the filesystem
  int shared = 0, master = 0, propagate_from = 0;  // ids of peer groups, 0: none
  bool unbindable = false;
};

enum class Umount : uint8_t { kIfUnused, kLazy, kExpire };

class MountNamespace final : public RefCounted {
 public:
  static Ref<MountNamespace> Create(Ref<Filesystem> root_fs, MountFlags flags, std::string source);
  // A private copy (CLONE_NEWNS); *translate maps the caller's root and cwd to their copies. ENOSPC.
  Result<Ref<MountNamespace>> Clone(std::vector<Path*> translate) const;
  // A detached tree (fsmount(2)): `mount` alone.
  static Ref<MountNamespace> NewDetached(Ref<Mount> mount);
  // open_tree(2) with OPEN_TREE_CLONE: a copy of the subtree at `from`. EINVAL: unbindable, or not attached.
  static Result<Ref<MountNamespace>> CopyTree(const Path& from, bool recursive, const MountNamespace& caller);

  uint64_t id() const { return id_; }
  bool detached() const { return detached_; }
  Path root() const;
  // The root with what is mounted upon it: where a process that enters the namespace stands.
  Path top() const;
  // Attaches `fs` (or the subtree at `fs_root`) on `at`. Errors: ENOENT, ENOTDIR (types differ), EINVAL (not in this namespace), EBUSY (the same
  // filesystem is there already), ENOSPC.
  Result<Ref<Mount>> Attach(const Path& at, Ref<Filesystem> fs, RefPtr<Dentry> fs_root, MountFlags flags, std::string source);
  // umount2(2): detaches the mount whose root `at` is. EINVAL if it is none; EBUSY while in use unless lazy (`at` itself, the caller's only
  // reference to it, does not count); EAGAIN from the first kExpire.
  Result<void> Detach(const Path& at, Umount how);
  // A bind mount: the subtree at `from` on `at`; `recursive` with the mounts below it. The topmost of the new mounts.
  Result<Ref<Mount>> Bind(const Path& from, const Path& at, bool recursive);
  // Moves a mount (MS_MOVE, move_mount(2)), also the root of a detached tree, which is then empty. EINVAL, EBUSY, ENOTDIR, ELOOP.
  Result<void> Move(const Path& from, const Path& to);
  // pivot_root(2) of a process whose root directory is `root`. EINVAL, EBUSY, ENOENT.
  Result<void> PivotRoot(const Path& root, const Path& new_root, const Path& put_old);
  // EINVAL: `at` is not the root of a mount in this namespace, or of a detached tree. EPERM: it stays read-only. EBUSY: it has writers.
  Result<void> Change(const Path& at, const MountChange& change);
  // MOVE_MOUNT_SET_GROUP: puts the private mount `to` into the propagation of `from`. EINVAL.
  static Result<void> SetGroup(const Path& from, const Path& to, const MountNamespace& caller);

  // The topmost mount on (mount, dentry), or null. Cheap when the dentry carries no mount. `quietly`: no use that MNT_EXPIRE minds.
  static RefPtr<Mount> MountedOn(const Mount& mount, const Dentry& dentry, bool quietly = false);
  // Whether a mount of this namespace is on `dentry`.
  bool HasMountOn(const Dentry& dentry) const;
  // After the last name of `dentry` has gone: takes off what is mounted on it anywhere.
  static void DetachAllOn(const Dentry& dentry);
  // The path below which `mount` hangs, or nothing for a root mount. Of whatever namespace `mount` is in.
  static std::optional<Path> MountpointOf(const Mount& mount);
  // Whether `mount` is attached in this namespace.
  bool Contains(const Mount& mount) const;
  // Whether it is the root of a detached tree: what move_mount(2) may attach.
  static bool IsDetachedRoot(const Path& path);
  // Those reachable below `root`, in order of mounting.
  std::vector<MountInfo> List(const Path& root) const;
  // Of one mount, or of those that hang on it; ENOENT when it is not below `root` here.
  Result<MountInfo> Find(uint64_t unique_id, const Path& root) const;
  // Takes the whole of a detached tree apart, if it has not moved.
  void Dissolve();

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  friend class MountTree;
  explicit MountNamespace(bool detached);
  ~MountNamespace() override;

  const uint64_t id_;
  const bool detached_;
  // Guarded by the mount lock.
  std::map<uint64_t, Mount*> mounts_;  // all of them, by id
  RefPtr<Mount> root_;                 // null: a detached tree that was moved or taken apart
};

}  // namespace rampart::vfs
