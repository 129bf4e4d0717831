// Dentry, Mount, Path: names. All belong to the VFS core; filesystems only see them as tokens.
//
// Model: Linux's dcache. A dentry is a name in a directory, positive (has an inode) or negative, for its whole life: when a name starts or
// stops to exist, its dentry is replaced, so inode() needs no lock. Children are found in their parent's map, under the parent's lock; parent and
// name change (rename) only with both directories' operation locks held. The cache holds one reference to each dentry that can be found; a
// clock over all of them drops unused ones when there are too many.
// Lock order: Filesystem::rename_mu_ → directory operation locks (parent before child, else by address) → Dentry::mu_ (parent before child)
// → the cache's clock lock.
// Thread safety: any thread.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "base/ref.h"
#include "sentry/vfs/inode.h"

namespace rampart::vfs {

class Dentry final : public RefCounted {
 public:
  // The root of a filesystem, or the only name of an anonymous object ("pipe:[12]", shown as it is).
  static Ref<Dentry> NewRoot(Ref<Inode> inode);
  static Ref<Dentry> NewAnonymous(Ref<Inode> inode, std::string shown_name);
  // A name that never could be found (O_TMPFILE): below `parent`, and already deleted.
  static Ref<Dentry> NewUnlinked(Ref<Dentry> parent, Ref<Inode> inode, std::string name);

  const RefPtr<Inode>& inode() const { return inode_; }  // null: negative; immutable
  bool IsNegative() const { return inode_ == nullptr; }
  bool IsDirectory() const { return inode_ != nullptr && inode_.get()->IsDirectory(); }
  RefPtr<Dentry> parent() const;         // null: root or anonymous
  std::string name() const;
  bool IsAnonymous() const { return anonymous_; }
  // Unlinked: /proc/self/fd shows " (deleted)".
  bool IsDeleted() const { return deleted_.load(std::memory_order_acquire); }
  // Some mount namespace has a mount on it (a hint for walks; EBUSY for removal).
  bool IsMountpoint() const { return mounts_here_.load(std::memory_order_acquire) > 0; }

  ~Dentry() override;

 private:
  friend class DentryCache;  // sentry/vfs/dentry_cache.h: the only code that changes names
  friend class MountTree;     // sentry/vfs/mount_tree.h
  Dentry(RefPtr<Inode> inode, RefPtr<Dentry> parent, std::string name, bool anonymous);
  void OnLastRef() override;

  const RefPtr<Inode> inode_;
  const bool anonymous_;
  bool cached_ = false;                       // in the clock; guarded by the clock lock
  std::atomic<bool> deleted_{false};          // written under the parent's operation lock
  std::atomic<bool> recently_used_{false};    // the clock's bit
  std::atomic<int> mounts_here_{0};
  mutable absl::Mutex mu_;
  RefPtr<Dentry> parent_ ABSL_GUARDED_BY(mu_);
  std::string name_ ABSL_GUARDED_BY(mu_);     // unchanged while in the parent's map, whose keys point into it
  absl::flat_hash_map<std::string_view, Dentry*> children_ ABSL_GUARDED_BY(mu_);
  absl::Mutex dir_mu_;                        // one change of this directory at a time; taken before mu_
  Dentry* clock_next_ = nullptr;              // guarded by the clock lock
  Dentry* clock_prev_ = nullptr;
};

class Mount;
// An object as a path reaches it.
struct Path {
  Ref<Mount> mount;
  Ref<Dentry> dentry;
  bool operator==(const Path& o) const { return mount == o.mount && dentry == o.dentry; }
};

}  // namespace rampart::vfs
