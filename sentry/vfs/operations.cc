// Operations that make and remove names (Linux: fs/namei.c).
#include "sentry/vfs/operations.h"

#include "sentry/vfs/dentry_cache.h"
#include "sentry/vfs/inode_extras.h"
#include "sentry/vfs/permission.h"
#include "sentry/vfs/walker.h"

namespace rampart::vfs {
namespace {

bool IsOrdinaryName(const std::string& last) { return !last.empty() && last != "." && last != ".."; }

uint32_t DirBit(const Inode& inode) { return inode.IsDirectory() ? kInIsDir : 0; }

// Finds where a new name goes, checks that it may, and calls make(directory inode, name) → Ref<Inode> under the directory's lock.
template <class MakeFn>
Result<Path> MakeName(const Walk& walk, std::string_view path, bool is_directory, MakeFn make, const Mount* only = nullptr) {
  ParentAndName at = TRY(LookupParent(walk, path));
  if (!IsOrdinaryName(at.last)) return Errno::kEEXIST;
  if (!at.parent.dentry->IsDirectory()) return Errno::kENOTDIR;
  Dentry& directory = *at.parent.dentry;
  TRY(directory.inode()->CheckAccess(walk.caller, Access::kExecute));
  absl::MutexLock lock(&DentryCache::DirMutex(directory));
  const Ref<Dentry> child = TRY(Walker::LookupChildLocked(walk.caller, directory, at.last, ""));
  if (!child->IsNegative()) return Errno::kEEXIST;
  if (at.must_be_directory && !is_directory) return Errno::kENOENT;
  if (at.parent.mount->read_only()) return Errno::kEROFS;
  if (only != nullptr && at.parent.mount.get() != only) return Errno::kEXDEV;
  TRY(MayCreate(walk.caller, directory));
  Result<Ref<Inode>> made = make(*directory.inode(), at.last);
  if (!made.ok()) {
    if (made.error() == Errno::kEEXIST) DentryCache::Forget(*child, false);
    return made.error();
  }
  const uint32_t event = kInCreate | DirBit(*made.value());
  Ref<Dentry> dentry = DentryCache::Enter(directory, at.last, std::move(made).value());
  NotifyChild(*directory.inode(), event, 0, at.last);
  return Path{at.parent.mount, std::move(dentry)};
}

// After a name has gone: the cache knows that it is not there, where the cache's word counts.
void EnterRemoved(Dentry& directory, Dentry& victim, const std::string& name) {
  DentryCache::Forget(victim, true);
  MountNamespace::DetachAllOn(victim);  // those of other namespaces; ours would have kept it
  if (directory.inode()->cache_policy() == CachePolicy::kCache) DentryCache::Enter(directory, name, nullptr);
}

void NotifyRemoved(Caller& caller, Inode& directory, Inode& victim, const std::string& name) {
  if (!AnyWatches()) return;
  NotifyChild(directory, kInDelete | DirBit(victim), 0, name);
  const Result<Attr> attr = victim.GetAttr(caller);
  const bool last_name = victim.IsDirectory() || !attr.ok() || attr->nlink == 0;
  if (!victim.IsDirectory()) NotifySelf(victim, kInAttrib);  // the number of links has changed
  if (last_name) NotifySelf(victim, kInDeleteSelf);
}

}  // namespace

Result<void> MakeDirectory(const Walk& walk, std::string_view path, uint32_t mode) {
  const auto make = [&](Inode& directory, const std::string& name) -> Result<Ref<Inode>> {
    const CreateArgs args = TRY(NewObjectArgs(walk.caller, directory, FileType::kDirectory, mode & 01777));
    return directory.Create(walk.caller, name, args);
  };
  TRY(MakeName(walk, path, true, make));
  return Ok();
}

Result<void> MakeNode(const Walk& walk, std::string_view path, FileType type, uint32_t mode, uint64_t rdev) {
  const auto make = [&](Inode& directory, const std::string& name) -> Result<Ref<Inode>> {
    const bool device = type == FileType::kCharDevice || type == FileType::kBlockDevice;
    // A character device 0:0 is a whiteout, which anybody may make.
    if (device && !(type == FileType::kCharDevice && rdev == 0) && !walk.caller.creds().HasCapability(abi::Capability::kMknod)) {
      return Errno::kEPERM;
    }
    CreateArgs args = TRY(NewObjectArgs(walk.caller, directory, type, mode));
    args.rdev = device ? rdev : 0;
    return directory.Create(walk.caller, name, args);
  };
  TRY(MakeName(walk, path, false, make));
  return Ok();
}

Result<void> MakeSymlink(const Walk& walk, std::string_view path, std::string target) {
  if (target.empty()) return Errno::kENOENT;
  const auto make = [&](Inode& directory, const std::string& name) -> Result<Ref<Inode>> {
    CreateArgs args = TRY(NewObjectArgs(walk.caller, directory, FileType::kSymlink, 0777));
    args.permissions = 0777;
    args.target = std::move(target);
    return directory.Create(walk.caller, name, args);
  };
  TRY(MakeName(walk, path, false, make));
  return Ok();
}

Result<Path> BindSocketNode(const Walk& walk, std::string_view path, uint32_t mode) {
  Result<Path> made = MakeName(walk, path, false, [&](Inode& directory, const std::string& name) -> Result<Ref<Inode>> {
    const CreateArgs args = TRY(NewObjectArgs(walk.caller, directory, FileType::kSocket, mode));
    return directory.Create(walk.caller, name, args);
  });
  if (!made.ok() && made.error() == Errno::kEEXIST) return Errno::kEADDRINUSE;
  return made;
}

Result<void> Link(const Path& target, const Walk& to, std::string_view new_path) {
  const auto make = [&](Inode& directory, const std::string& name) -> Result<Ref<Inode>> {
    Ref<Inode> inode = target.dentry->inode().ToRef();
    if (&inode->fs() != &directory.fs()) return Errno::kEXDEV;
    if (inode->IsDirectory()) return Errno::kEPERM;
    InodeExtras* extras = inode->extras_if_any();
    if (extras == nullptr || !extras->linkable.exchange(false, std::memory_order_relaxed)) {
      const Attr attr = TRY(inode->GetAttr(to.caller));
      if (attr.nlink == 0) return Errno::kENOENT;
    }
    TRY(directory.Link(to.caller, name, *inode));
    NotifySelf(*inode, kInAttrib);
    return inode;
  };
  TRY(MakeName(to, new_path, false, make, target.mount.get()));
  return Ok();
}

Result<void> Unlink(const Walk& walk, std::string_view path) {
  const ParentAndName at = TRY(LookupParent(walk, path));
  if (!IsOrdinaryName(at.last)) return Errno::kEISDIR;
  if (!at.parent.dentry->IsDirectory()) return Errno::kENOTDIR;
  if (at.parent.mount->read_only()) return Errno::kEROFS;
  Dentry& directory = *at.parent.dentry;
  TRY(directory.inode()->CheckAccess(walk.caller, Access::kExecute));
  RefPtr<Dentry> victim;  // outlives the lock: its last reference may close files elsewhere
  absl::MutexLock lock(&DentryCache::DirMutex(directory));
  victim = TRY(Walker::LookupChildLocked(walk.caller, directory, at.last, ""));
  if (victim->IsNegative()) return Errno::kENOENT;
  if (at.must_be_directory) return victim->IsDirectory() ? Errno::kEISDIR : Errno::kENOTDIR;
  TRY(MayDelete(walk.caller, walk.mounts, directory, *victim, false));
  TRY(directory.inode()->Unlink(walk.caller, at.last, *victim->inode()));
  EnterRemoved(directory, *victim, at.last);
  NotifyRemoved(walk.caller, *directory.inode(), *victim->inode(), at.last);
  return Ok();
}

Result<void> RemoveDirectory(const Walk& walk, std::string_view path) {
  const ParentAndName at = TRY(LookupParent(walk, path));
  if (at.last == "..") return Errno::kENOTEMPTY;
  if (at.last == ".") return Errno::kEINVAL;
  if (at.last.empty()) return Errno::kEBUSY;
  if (!at.parent.dentry->IsDirectory()) return Errno::kENOTDIR;
  if (at.parent.mount->read_only()) return Errno::kEROFS;
  Dentry& directory = *at.parent.dentry;
  TRY(directory.inode()->CheckAccess(walk.caller, Access::kExecute));
  RefPtr<Dentry> victim;
  absl::MutexLock lock(&DentryCache::DirMutex(directory));
  victim = TRY(Walker::LookupChildLocked(walk.caller, directory, at.last, ""));
  if (victim->IsNegative()) return Errno::kENOENT;
  TRY(MayDelete(walk.caller, walk.mounts, directory, *victim, true));
  {
    // Nothing may be made in it between the filesystem's check for emptiness and the mark that it is gone.
    absl::MutexLock inner(&DentryCache::DirMutex(*victim));
    TRY(directory.inode()->RemoveDirectory(walk.caller, at.last, *victim->inode()));
    EnterRemoved(directory, *victim, at.last);
  }
  DentryCache::PruneBelow(*victim);  // its negative names
  NotifyRemoved(walk.caller, *directory.inode(), *victim->inode(), at.last);
  return Ok();
}

}  // namespace rampart::vfs
