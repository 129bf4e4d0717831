// Dentry, Mount, Path: names. All belong to the VFS core; filesystems only see them as tokens.
//
// Model: Linux's dcache. A dentry is a name in a directory, positive (has an inode) or negative. Children are found in their parent's map, under
// the parent's lock; parent and name change only under the filesystem's rename lock. Unused dentries are kept for speed and dropped by a bounded LRU.
// Lock order: rename lock → directory operation locks (parent before child, else by address) → Dentry::mu_ → LRU lock.
// Thread safety: any thread.
#pragma once

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

  RefPtr<Inode> inode() const;           // null: negative
  RefPtr<Dentry> parent() const;         // null: root or anonymous
  std::string name() const;
  bool IsAnonymous() const { return anonymous_; }
  // Unlinked: /proc/self/fd shows " (deleted)".
  bool IsDeleted() const;

  ~Dentry() override;

 private:
  friend class DentryCache;  // sentry/vfs/dentry.cc: the only code that changes names
  Dentry() = default;
  void OnLastRef() override;

  mutable absl::Mutex mu_;
  RefPtr<Inode> inode_ ABSL_GUARDED_BY(mu_);
  RefPtr<Dentry> parent_ ABSL_GUARDED_BY(mu_);
  std::string name_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, Dentry*> children_ ABSL_GUARDED_BY(mu_);
  bool deleted_ ABSL_GUARDED_BY(mu_) = false;
  bool anonymous_ = false;               // immutable
  std::atomic<int> mounts_here_{0};      // > 0: some mount namespace has a mount on it
  absl::Mutex dir_mu_;                   // one change of this directory at a time; taken before mu_
};

class Mount;
// An object as a path reaches it.
struct Path {
  Ref<Mount> mount;
  Ref<Dentry> dentry;
  bool operator==(const Path& o) const { return mount == o.mount && dentry == o.dentry; }
};

}  // namespace rampart::vfs
