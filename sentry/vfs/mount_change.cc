// The changes that mount(2), umount2(2), pivot_root(2), move_mount(2) and mount_setattr(2) make (Linux: fs/namespace.c).
#include <algorithm>
#include <cstring>
#include <utility>

#include "sentry/vfs/dentry_cache.h"
#include "sentry/vfs/mount_tree.h"

namespace rampart::vfs {
namespace {

// Files that mean a namespace belong to no mount namespace, and yet may be bound to a name.
bool IsNamespaceFile(const Path& path) { return std::strcmp(path.mount->fs().type(), "nsfs") == 0; }

bool Gone(const Dentry& dentry) { return dentry.IsNegative() || dentry.IsDeleted(); }

}  // namespace

Result<Ref<Mount>> MountNamespace::Attach(const Path& where, Ref<Filesystem> fs, RefPtr<Dentry> fs_root, MountFlags flags, std::string source) {
  Ref<Dentry> root = fs_root != nullptr ? fs_root.ToRef() : Dentry::NewRoot(fs->root());
  const Ref<Mount> mount = MakeRef<Mount>(std::move(fs), std::move(root), flags, std::move(source));
  Drop drop;
  absl::MutexLock lock(&MountTree::mu());
  if (Gone(*where.dentry)) return Errno::kENOENT;
  const Path at = MountTree::Topmost(where);
  if (at.mount->ns_ != this) return Errno::kEINVAL;
  if (&at.mount->fs() == &mount->fs() && at.dentry == at.mount->root_) return Errno::kEBUSY;
  if (mount->root_->IsDirectory() != at.dentry->IsDirectory()) return Errno::kENOTDIR;
  TRY(MountTree::AttachTree(mount, at, drop));
  return mount;
}

Result<void> MountNamespace::Detach(const Path& at, Umount how) {
  Drop drop;
  absl::MutexLock lock(&MountTree::mu());
  Mount& mount = *at.mount;
  if (!(at.dentry == mount.root_) || mount.ns_ != this) return Errno::kEINVAL;
  constexpr uint32_t kTreeAndCaller = 2;
  if (how == Umount::kExpire) {
    if (mount.RefCountForTesting() > kTreeAndCaller) return Errno::kEBUSY;
    if (!mount.expiring_.exchange(true)) return Errno::kEAGAIN;
  }
  if (mount.parent_ == nullptr) return how == Umount::kLazy ? Errno::kEINVAL : Errno::kEBUSY;
  if (how != Umount::kLazy && MountTree::IsBusy(mount, kTreeAndCaller)) return Errno::kEBUSY;
  MountTree::DetachTree(mount, drop);
  return Ok();
}

Result<Ref<MountNamespace>> MountNamespace::CopyTree(const Path& from, bool recursive, const MountNamespace& caller) {
  Ref<MountNamespace> made = Ref<MountNamespace>::Adopt(new MountNamespace(true));
  absl::MutexLock lock(&MountTree::mu());
  if (from.mount->unbindable_ || (from.mount->ns_ != &caller && !IsNamespaceFile(from))) return Errno::kEINVAL;
  const Ref<Mount> copy = MountTree::Copy(*from.mount, from.dentry, recursive, /*keep_unbindable=*/false);
  made->root_ = copy;
  MountTree::SetNamespace(*copy, made.get());
  return made;
}

Result<Ref<Mount>> MountNamespace::Bind(const Path& from, const Path& where, bool recursive) {
  Drop drop;
  absl::MutexLock lock(&MountTree::mu());
  if (Gone(*where.dentry)) return Errno::kENOENT;
  const Path at = MountTree::Topmost(where);
  if (at.mount->ns_ != this || from.mount->unbindable_) return Errno::kEINVAL;
  if (from.mount->ns_ != this && !IsNamespaceFile(from)) return Errno::kEINVAL;
  const Ref<Mount> top = MountTree::Copy(*from.mount, from.dentry, recursive, /*keep_unbindable=*/false);
  const Result<void> attached = from.dentry->IsDirectory() != at.dentry->IsDirectory() ? Errno::kENOTDIR : MountTree::AttachTree(top, at, drop);
  if (attached.ok()) return top;
  MountTree::Discard(*top, drop);
  drop.mounts.emplace_back(top);
  return attached.error();
}

Result<void> MountNamespace::Move(const Path& from, const Path& to) {
  Drop drop;
  absl::MutexLock lock(&MountTree::mu());
  if (Gone(*to.dentry)) return Errno::kENOENT;
  const Path at = MountTree::Topmost(to);
  Mount& mount = *from.mount;
  const bool attached = mount.parent_ != nullptr;
  if (at.mount->ns_ != this || mount.ns_ == nullptr) return Errno::kEINVAL;
  if (attached ? mount.ns_ != this : !mount.ns_->detached_) return Errno::kEINVAL;
  if (!(from.dentry == mount.root_) || mount.root_->IsDirectory() != at.dentry->IsDirectory()) return Errno::kEINVAL;
  if (attached && mount.parent_->peers_ != nullptr) return Errno::kEINVAL;
  if (at.mount->peers_ != nullptr) {
    const std::vector<Mount*> tree = MountTree::Subtree(mount);
    if (std::any_of(tree.begin(), tree.end(), [](const Mount* m) { return m->unbindable_; })) return Errno::kEINVAL;
  }
  if (MountTree::IsAncestor(mount, *at.mount)) return Errno::kELOOP;
  MountNamespace& left = *mount.ns_;
  TRY(MountTree::AttachTree(from.mount, at, drop));
  if (!attached) {
    drop.mounts.push_back(std::move(left.root_));
    left.root_ = nullptr;
  }
  return Ok();
}

Result<void> MountNamespace::PivotRoot(const Path& root, const Path& new_root, const Path& put_old) {
  Drop drop;
  absl::MutexLock lock(&MountTree::mu());
  const Path old = MountTree::Topmost(put_old);
  Mount& fresh = *new_root.mount;
  Mount& former = *root.mount;
  const auto shared = [](const Mount* m) { return m != nullptr && m->peers_ != nullptr; };
  if (shared(old.mount.get()) || shared(fresh.parent_) || shared(former.parent_)) return Errno::kEINVAL;
  if (former.ns_ != this || fresh.ns_ != this) return Errno::kEINVAL;
  if (Gone(*new_root.dentry) || Gone(*old.dentry)) return Errno::kENOENT;
  if (&fresh == &former || old.mount.get() == &former) return Errno::kEBUSY;
  if (!(root.dentry == former.root_)) return Errno::kEINVAL;  // the caller's root is no mount
  if (!(new_root.dentry == fresh.root_) || fresh.parent_ == nullptr) return Errno::kEINVAL;
  if (!MountTree::IsReachable(*old.mount, *old.dentry, new_root)) return Errno::kEINVAL;
  if (!MountTree::IsReachable(fresh, *new_root.dentry, root)) return Errno::kEINVAL;
  const Ref<Mount> hold_fresh = new_root.mount, hold_former = root.mount;
  Mount* const above = former.parent_;
  const RefPtr<Dentry> where = former.mountpoint_;
  MountTree::Unhang(fresh, drop);
  if (above != nullptr) MountTree::Unhang(former, drop);
  MountTree::Hang(hold_former, *old.mount, old.dentry);
  if (above != nullptr) {
    MountTree::Hang(hold_fresh, *above, where.ToRef());
  } else {
    root_ = hold_fresh;
  }
  return Ok();
}

Result<void> MountNamespace::Change(const Path& at, const MountChange& change) {
  absl::MutexLock lock(&MountTree::mu());
  Mount& top = *at.mount;
  if (!(at.dentry == top.root_) || top.ns_ == nullptr) return Errno::kEINVAL;
  if ((top.parent_ != nullptr || !top.ns_->detached_) && top.ns_ != this) return Errno::kEINVAL;
  std::vector<Mount*> targets{&top};
  if (change.recursive) targets = MountTree::Subtree(top);
  for (const Mount* mount : targets) {
    if (mount->read_only_locked_ && !change.Apply(mount->flags()).read_only) return Errno::kEPERM;
  }
  std::vector<MountFlags> before;
  for (Mount* mount : targets) {
    before.push_back(mount->flags());
    const MountFlags after = change.Apply(before.back());
    mount->SetFlags(after);
    // The flag first, then the count: whoever opens for writing does it the other way round.
    if (!after.read_only || before.back().read_only || mount->writers_.load() == 0) continue;
    for (size_t i = 0; i < before.size(); ++i) targets[i]->SetFlags(before[i]);
    return Errno::kEBUSY;
  }
  if (change.propagation) {
    for (Mount* mount : targets) MountTree::SetPropagation(*mount, *change.propagation);
  }
  return Ok();
}

Result<void> MountNamespace::SetGroup(const Path& from, const Path& to, const MountNamespace& caller) {
  absl::MutexLock lock(&MountTree::mu());
  Mount& source = *from.mount;
  Mount& target = *to.mount;
  if (!(from.dentry == source.root_) || !(to.dentry == target.root_)) return Errno::kEINVAL;
  if (source.ns_ != &caller || target.ns_ != &caller) return Errno::kEINVAL;
  if (target.peers_ != nullptr || target.master_ != nullptr) return Errno::kEINVAL;
  if (source.peers_ == nullptr && source.master_ == nullptr) return Errno::kEINVAL;
  if (&source.fs() != &target.fs()) return Errno::kEINVAL;
  if (!DentryCache::IsBelow(*source.root_, *target.root_)) return Errno::kEINVAL;
  if (source.peers_ != nullptr) {
    MountTree::Join(*source.peers_, target);
  } else {
    MountTree::Enslave(target, *source.master_);
  }
  return Ok();
}

}  // namespace rampart::vfs
