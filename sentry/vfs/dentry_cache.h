// DentryCache: the only code that changes names. Internal to sentry/vfs (tests set its limit).
// Thread safety and lock order: see dentry.h. "dir lock" is DirMutex(directory).
#pragma once

#include <string_view>

#include "sentry/vfs/dentry.h"

namespace rampart::vfs {

class DentryCache {
 public:
  static absl::Mutex& DirMutex(Dentry& directory) ABSL_LOCK_RETURNED(directory.dir_mu_) { return directory.dir_mu_; }
  static absl::Mutex& RenameMutex(Filesystem& fs) { return fs.rename_mu_; }

  // What the cache knows of `name`: a positive or negative dentry, or null for "unknown".
  static RefPtr<Dentry> Find(Dentry& directory, std::string_view name);
  // Enters what has been found out, in place of what was there (which stays alive for those who hold it). REQUIRES: dir lock.
  static Ref<Dentry> Enter(Dentry& directory, std::string_view name, RefPtr<Inode> inode);
  // Forgets a name; `deleted`: it no longer exists. REQUIRES: the parent's dir lock if `deleted`.
  static void Forget(Dentry& dentry, bool deleted);
  // Follows a rename that has happened: `dentry` becomes `name` in `directory`; what was there has been removed. REQUIRES: both dir locks, and
  // the rename lock if the directories differ.
  static void Move(Dentry& dentry, Dentry& directory, std::string_view name);
  static void Exchange(Dentry& a, Dentry& b);
  // Whether `dentry` is `ancestor` or lies below it. Stable under the rename lock.
  static bool IsBelow(const Dentry& ancestor, const Dentry& dentry);

  // Drops every unused dentry below `directory` (when its filesystem is no longer mounted).
  static void PruneBelow(Dentry& directory);
  // The number of cached dentries above which unused ones are dropped.
  static void SetLimit(size_t dentries);
  static size_t CountForTesting();

 private:
  static void Push(Dentry& dentry);
  static void Pop(Dentry& dentry);
  static void Detach(Dentry& dentry, Dentry& parent);
  static bool TryEvict(const Ref<Dentry>& dentry);
  static void EvictSome();
};

}  // namespace rampart::vfs
