// Mount and MountNamespace: where filesystems are attached (mount_namespaces(7)).
// Thread safety: any thread. One lock (mount.cc) guards the trees of all namespaces, so that a path can be shown without knowing its namespace; walks
// take it only where something is mounted. Lock order: a leaf, except that Detach looks at dentries under it.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "sentry/vfs/dentry.h"

namespace rampart::vfs {

struct MountFlags {
  bool read_only = false, no_suid = false, no_dev = false, no_exec = false, no_atime = false, no_dir_atime = false, relatime = true;
  // "ro,nosuid,relatime", as in /proc/mounts.
  std::string Text() const;
};

class Mount final : public RefCounted {
 public:
  Mount(Ref<Filesystem> fs, Ref<Dentry> root, MountFlags flags, std::string source);
  Filesystem& fs() const { return *fs_; }
  const Ref<Dentry>& root() const { return root_; }
  ~Mount() override;
  MountFlags flags() const { return Unpack(flags_.load(std::memory_order_acquire)); }
  void SetFlags(MountFlags flags) { flags_.store(Pack(flags), std::memory_order_release); }
  bool read_only() const { return (flags_.load(std::memory_order_acquire) & 1) != 0; }
  uint64_t id() const { return id_; }
  const std::string& source() const { return source_; }

 private:
  friend class MountNamespace;
  const Ref<Filesystem> fs_;
  const Ref<Dentry> root_;
  const uint64_t id_;
  const std::string source_;
  static uint8_t Pack(MountFlags flags);
  static MountFlags Unpack(uint8_t bits);
  std::atomic<uint8_t> flags_;
  // Guarded by the mount lock.
  RefPtr<Mount> parent_;        // null: a namespace's root, or detached
  RefPtr<Dentry> mountpoint_;
};

struct MountInfo {
  Ref<Mount> mount;
  uint64_t parent_id;
  std::string mountpoint;  // as seen from `root`
};

class MountNamespace final : public RefCounted {
 public:
  static Ref<MountNamespace> Create(Ref<Filesystem> root_fs, MountFlags flags, std::string source);
  // A private copy (CLONE_NEWNS); *translate maps the caller's root and cwd to their copies.
  Ref<MountNamespace> Clone(std::vector<Path*> translate);

  Path root() const;
  // Attaches `fs` (or the subtree at `fs_root`) on `at`. Errors: ENOTDIR/EISDIR as types differ, EBUSY.
  Result<Ref<Mount>> Attach(const Path& at, Ref<Filesystem> fs, RefPtr<Dentry> fs_root, MountFlags flags, std::string source);
  // umount2(2): detaches the mount whose root `at` is. EINVAL if it is none, EBUSY while in use unless `lazy` (`at` itself, the caller's only
  // reference to it, does not count).
  Result<void> Detach(const Path& at, bool lazy);
  // A bind mount: the subtree at `from` on `at`; `recursive` with the mounts below it.
  Result<Ref<Mount>> Bind(const Path& from, const Path& at, bool recursive);
  // Moves a mount (MS_MOVE); pivot_root(2). EINVAL, EBUSY, ENOTDIR, ELOOP.
  Result<void> Move(const Path& from, const Path& to);
  Result<void> PivotRoot(const Path& new_root, const Path& put_old);

  // The topmost mount on (mount, dentry), or null. Cheap when the dentry carries no mount.
  RefPtr<Mount> MountedOn(const Mount& mount, const Dentry& dentry) const;
  // The path below which `mount` hangs, or nothing for a root mount. Of whatever namespace `mount` is in.
  static std::optional<Path> MountpointOf(const Mount& mount);
  // Whether `mount` is attached in this namespace.
  bool Contains(const Mount& mount) const;
  // For /proc/*/mounts and mountinfo, in order of mounting, those reachable below `root`.
  std::vector<MountInfo> List(const Path& root) const;

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  MountNamespace() = default;
  ~MountNamespace() override;
  using Key = std::pair<const Mount*, const Dentry*>;
  void Hang(Ref<Mount> mount, const Path& at);                       // under the mount lock
  void Unhang(Mount& mount, std::vector<RefPtr<RefCounted>>& drop);  // under the mount lock; what to release after it
  std::vector<Mount*> ChildrenOf(const Mount& mount) const;          // under the mount lock
  bool ContainsLocked(const Mount& mount) const;                      // under the mount lock
  // Guarded by the mount lock.
  absl::flat_hash_map<Key, Ref<Mount>> mounts_;
  RefPtr<Mount> root_;
};

}  // namespace rampart::vfs
