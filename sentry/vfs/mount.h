// Mount and MountNamespace: where filesystems are attached (mount_namespaces(7)).
// Thread safety: any thread. Lock order: MountNamespace::mu_ before any dentry lock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "sentry/vfs/dentry.h"

namespace rampart::vfs {

struct MountFlags {
  bool read_only = false, no_suid = false, no_dev = false, no_exec = false, no_atime = false, no_dir_atime = false, relatime = true;
};

class Mount final : public RefCounted {
 public:
  Mount(Ref<Filesystem> fs, Ref<Dentry> root, MountFlags flags, std::string source);
  Filesystem& fs() const { return *fs_; }
  const Ref<Dentry>& root() const { return root_; }
  MountFlags flags() const;
  void SetFlags(MountFlags flags);
  uint64_t id() const { return id_; }
  const std::string& source() const { return source_; }

 private:
  friend class MountNamespace;
  const Ref<Filesystem> fs_;
  const Ref<Dentry> root_;
  const uint64_t id_;
  const std::string source_;
  mutable absl::Mutex mu_;
  MountFlags flags_ ABSL_GUARDED_BY(mu_);
  RefPtr<Mount> parent_;        // guarded by the namespace's mu_; null: the namespace's root
  RefPtr<Dentry> mountpoint_;   // guarded by the namespace's mu_
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
  // umount2(2): detaches the mount whose root `at` is. EINVAL if it is none, EBUSY while in use unless `lazy`.
  Result<void> Detach(const Path& at, bool lazy);
  // Moves a mount (MS_MOVE); pivot_root(2).
  Result<void> Move(const Path& from, const Path& to);
  Result<void> PivotRoot(const Path& new_root, const Path& put_old);

  // The topmost mount on (mount, dentry), or null. Cheap when the dentry carries no mount.
  RefPtr<Mount> MountedOn(const Mount& mount, const Dentry& dentry) const;
  // The path below which `mount` hangs, or nothing for the root mount.
  std::optional<Path> MountpointOf(const Mount& mount) const;
  // For /proc/*/mounts and mountinfo, in order of mounting, those reachable below `root`.
  std::vector<MountInfo> List(const Path& root) const;

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  MountNamespace() = default;
  using Key = std::pair<const Mount*, const Dentry*>;
  mutable absl::Mutex mu_;
  absl::flat_hash_map<Key, Ref<Mount>> mounts_ ABSL_GUARDED_BY(mu_);
  RefPtr<Mount> root_ ABSL_GUARDED_BY(mu_);
};

}  // namespace rampart::vfs
