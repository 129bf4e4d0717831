// rename(2) with its flags (Linux: do_renameat2, vfs_rename, lock_rename).
#include <optional>

#include "sentry/vfs/dentry_cache.h"
#include "sentry/vfs/operations.h"
#include "sentry/vfs/inode_extras.h"
#include "sentry/vfs/permission.h"
#include "sentry/vfs/walker.h"

namespace rampart::vfs {
namespace {

// Holds what a rename needs: the filesystem's rename lock if two directories take part, and both directories' locks, the upper one first.
class RenameLock {
 public:
  RenameLock(Dentry& a, Dentry& b) ABSL_NO_THREAD_SAFETY_ANALYSIS : first_(&a), second_(&b) {
    if (&a == &b) {
      second_ = nullptr;
      DentryCache::DirMutex(a).Lock();
      return;
    }
    rename_ = &DentryCache::RenameMutex(a.inode()->fs());
    rename_->Lock();
    const bool b_above_a = DentryCache::IsBelow(b, a);
    const bool a_above_b = DentryCache::IsBelow(a, b);
    if (b_above_a || (!a_above_b && &b < &a)) std::swap(first_, second_);
    DentryCache::DirMutex(*first_).Lock();
    DentryCache::DirMutex(*second_).Lock();
  }
  ~RenameLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (second_ != nullptr) DentryCache::DirMutex(*second_).Unlock();
    DentryCache::DirMutex(*first_).Unlock();
    if (rename_ != nullptr) rename_->Unlock();
    // The order between two directories holds only until something above them moves.
    if (second_ != nullptr) {
      DentryCache::DirMutex(*second_).ForgetDeadlockInfo();
      DentryCache::DirMutex(*first_).ForgetDeadlockInfo();
    }
  }
  RenameLock(const RenameLock&) = delete;
  RenameLock& operator=(const RenameLock&) = delete;

 private:
  Dentry* first_;
  Dentry* second_;
  absl::Mutex* rename_ = nullptr;
};

struct Names {
  ParentAndName old_at;
  ParentAndName new_at;
  uint32_t flags;
  bool exchange() const { return (flags & abi::kRenameExchange) != 0; }
};

Result<void> CheckShape(const Names& names) {
  auto ordinary = [](const std::string& s) { return !s.empty() && s != "." && s != ".."; };
  if (!(names.old_at.parent.mount == names.new_at.parent.mount)) return Errno::kEXDEV;
  if (!ordinary(names.old_at.last)) return Errno::kEBUSY;
  if (!ordinary(names.new_at.last)) return (names.flags & abi::kRenameNoreplace) != 0 ? Errno::kEEXIST : Errno::kEBUSY;
  if (!names.old_at.parent.dentry->IsDirectory() || !names.new_at.parent.dentry->IsDirectory()) return Errno::kENOTDIR;
  if (names.old_at.parent.mount->read_only()) return Errno::kEROFS;
  return Ok();
}

// What both names mean now, checked for everything but rights.
Result<void> CheckObjects(const Names& names, const Dentry& source, const Dentry& target) {
  if (source.IsNegative()) return Errno::kENOENT;
  if (!target.IsNegative() && (names.flags & abi::kRenameNoreplace) != 0) return Errno::kEEXIST;
  if (names.exchange()) {
    if (target.IsNegative()) return Errno::kENOENT;
    if (!target.IsDirectory() && names.new_at.must_be_directory) return Errno::kENOTDIR;
  }
  if (!source.IsDirectory()) {
    if (names.old_at.must_be_directory) return Errno::kENOTDIR;
    if (!names.exchange() && names.new_at.must_be_directory) return Errno::kENOTDIR;
  }
  // Neither may come to lie inside itself.
  if (DentryCache::IsBelow(source, *names.new_at.parent.dentry)) return Errno::kEINVAL;
  if (!target.IsNegative() && DentryCache::IsBelow(target, *names.old_at.parent.dentry)) {
    return names.exchange() ? Errno::kEINVAL : Errno::kENOTEMPTY;
  }
  return Ok();
}

Result<void> CheckRights(Caller& caller, const MountNamespace& mounts, const Names& names, const Dentry& source, const Dentry& target) {
  const Dentry& old_dir = *names.old_at.parent.dentry;
  const Dentry& new_dir = *names.new_at.parent.dentry;
  TRY(MayDelete(caller, mounts, old_dir, source, source.IsDirectory()));
  if (target.IsNegative()) {
    TRY(MayCreate(caller, new_dir));
  } else {
    TRY(MayDelete(caller, mounts, new_dir, target, names.exchange() ? target.IsDirectory() : source.IsDirectory()));
  }
  // A directory that changes its parent has its ".." rewritten.
  if (&old_dir != &new_dir) {
    if (source.IsDirectory()) TRY(source.inode()->CheckAccess(caller, Access::kWrite));
    if (names.exchange() && target.IsDirectory()) TRY(target.inode()->CheckAccess(caller, Access::kWrite));
  }
  return Ok();
}

void Notify(Caller& caller, const Names& names, Inode& source, Inode* replaced) {
  if (!AnyWatches()) return;
  const uint32_t dir = source.IsDirectory() ? kInIsDir : 0;
  const uint32_t cookie = NextMoveCookie();
  Inode& old_dir = *names.old_at.parent.dentry->inode();
  Inode& new_dir = *names.new_at.parent.dentry->inode();
  NotifyChild(old_dir, kInMovedFrom | dir, cookie, names.old_at.last);
  NotifyChild(new_dir, kInMovedTo | dir, cookie, names.new_at.last);
  NotifySelf(source, kInMoveSelf);
  if (replaced == nullptr) return;
  if (names.exchange()) {
    const uint32_t back = NextMoveCookie();
    const uint32_t replaced_dir = replaced->IsDirectory() ? kInIsDir : 0;
    NotifyChild(new_dir, kInMovedFrom | replaced_dir, back, names.new_at.last);
    NotifyChild(old_dir, kInMovedTo | replaced_dir, back, names.old_at.last);
    NotifySelf(*replaced, kInMoveSelf);
    return;
  }
  const Result<Attr> attr = replaced->GetAttr(caller);
  if (!replaced->IsDirectory()) NotifySelf(*replaced, kInAttrib);
  if (replaced->IsDirectory() || !attr.ok() || attr->nlink == 0) NotifySelf(*replaced, kInDeleteSelf);
}

// Tells the filesystem, then the cache.
Result<void> Perform(Caller& caller, const Names& names, Dentry& source, Dentry& target) {
  Dentry& old_dir = *names.old_at.parent.dentry;
  Dentry& new_dir = *names.new_at.parent.dentry;
  Inode* replaced = target.inode().get();
  // A directory that is replaced must stay empty meanwhile.
  std::optional<absl::MutexLock> inner;
  const bool replaces_directory = !names.exchange() && target.IsDirectory();
  if (replaces_directory) inner.emplace(&DentryCache::DirMutex(target));
  TRY(old_dir.inode()->Rename(caller, names.old_at.last, *source.inode(), *new_dir.inode(), names.new_at.last, replaced, names.flags));
  if (names.exchange()) {
    DentryCache::Exchange(source, target);
    return Ok();
  }
  DentryCache::Forget(target, !target.IsNegative());
  MountNamespace::DetachAllOn(target);
  DentryCache::Move(source, new_dir, names.new_at.last);
  if (old_dir.inode()->cache_policy() == CachePolicy::kCache && (names.flags & abi::kRenameWhiteout) == 0) {
    DentryCache::Enter(old_dir, names.old_at.last, nullptr);
  }
  return Ok();
}

}  // namespace

Result<void> CheckRenameFlags(const Caller& caller, uint32_t flags) {
  if ((flags & ~(abi::kRenameNoreplace | abi::kRenameExchange | abi::kRenameWhiteout)) != 0) return Errno::kEINVAL;
  if ((flags & abi::kRenameExchange) != 0 && (flags & (abi::kRenameNoreplace | abi::kRenameWhiteout)) != 0) return Errno::kEINVAL;
  if ((flags & abi::kRenameWhiteout) != 0 && !caller.creds().HasCapability(abi::Capability::kMknod)) return Errno::kEPERM;
  return Ok();
}

Result<void> Rename(const Walk& from, std::string_view old_path, const Walk& to, std::string_view new_path, uint32_t flags) {
  TRY(CheckRenameFlags(from.caller, flags));
  Caller& caller = from.caller;
  ParentAndName old_at = TRY(LookupParent(from, old_path));
  ParentAndName new_at = TRY(LookupParent(to, new_path));
  const Names names{std::move(old_at), std::move(new_at), flags};
  TRY(CheckShape(names));
  Dentry& old_dir = *names.old_at.parent.dentry;
  Dentry& new_dir = *names.new_at.parent.dentry;
  TRY(old_dir.inode()->CheckAccess(caller, Access::kExecute));
  TRY(new_dir.inode()->CheckAccess(caller, Access::kExecute));
  RefPtr<Dentry> source, target;  // outlive the locks
  RenameLock lock(old_dir, new_dir);
  source = TRY(Walker::LookupChildLocked(caller, old_dir, names.old_at.last, ""));
  if (source->IsNegative()) return Errno::kENOENT;
  target = TRY(Walker::LookupChildLocked(caller, new_dir, names.new_at.last, ""));
  TRY(CheckObjects(names, *source, *target));
  // Two names of one object, or one name of what is made anew by each lookup: nothing happens.
  const bool same_name = &old_dir == &new_dir && names.old_at.last == names.new_at.last;
  if (same_name || source->inode() == target->inode()) return Ok();
  TRY(CheckRights(caller, from.mounts, names, *source, *target));
  const RefPtr<Inode> replaced = target->inode();
  TRY(Perform(caller, names, *source, *target));
  Notify(caller, names, *source->inode(), replaced.get());
  return Ok();
}

}  // namespace rampart::vfs
