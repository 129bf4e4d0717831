#include "sentry/vfs/mount_tree.h"

#include <algorithm>
#include <map>

#include "absl/container/flat_hash_set.h"
#include "sentry/vfs/dentry_cache.h"

namespace rampart::vfs {
namespace {

// Which mounts hang on a dentry, in whatever namespace. Under the mount lock.
using MountpointIndex = absl::flat_hash_map<const Dentry*, std::vector<Mount*>>;
MountpointIndex& Mountpoints() {
  static MountpointIndex* const index = new MountpointIndex;
  return *index;
}

}  // namespace

absl::Mutex& MountTree::mu() {
  static absl::Mutex* const mu = new absl::Mutex;
  return *mu;
}

Mount* MountTree::ChildOn(const Mount& mount, const Dentry& dentry) {
  const auto it = mount.children_.find(&dentry);
  return it == mount.children_.end() ? nullptr : it->second.get();
}

std::vector<Mount*> MountTree::ChildrenOf(const Mount& mount) {
  std::vector<Mount*> children;
  children.reserve(mount.children_.size());
  for (const auto& [dentry, child] : mount.children_) children.push_back(child.get());
  std::sort(children.begin(), children.end(), [](const Mount* a, const Mount* b) { return a->id() < b->id(); });
  return children;
}

std::vector<Mount*> MountTree::Subtree(Mount& top) {
  std::vector<Mount*> all{&top};
  for (size_t i = 0; i < all.size(); ++i) {
    const std::vector<Mount*> children = ChildrenOf(*all[i]);
    all.insert(all.end(), children.begin(), children.end());
  }
  return all;
}

bool MountTree::IsAncestor(const Mount& ancestor, const Mount& mount) {
  for (const Mount* at = &mount; at != nullptr; at = at->parent_) {
    if (at == &ancestor) return true;
  }
  return false;
}

void MountTree::Hang(Ref<Mount> mount, Mount& parent, const Ref<Dentry>& dentry) {
  // Before the look at IsDeleted() that follows: whoever removes the name looks at this after having marked it.
  dentry->mounts_here_.fetch_add(1);
  Mountpoints()[dentry.get()].push_back(mount.get());
  mount->parent_ = &parent;
  mount->mountpoint_ = dentry;
  parent.children_.insert_or_assign(dentry.get(), std::move(mount));
}

void MountTree::Unhang(Mount& mount, Drop& drop) {
  Dentry* const dentry = mount.mountpoint_.get();
  dentry->mounts_here_.fetch_sub(1);
  const auto here = Mountpoints().find(dentry);
  std::erase(here->second, &mount);
  if (here->second.empty()) Mountpoints().erase(here);
  const auto it = mount.parent_->children_.find(dentry);
  drop.mounts.emplace_back(std::move(it->second));
  mount.parent_->children_.erase(it);
  drop.dentries.push_back(std::move(mount.mountpoint_));
  mount.mountpoint_ = nullptr;
  mount.parent_ = nullptr;
}

void MountTree::SetNamespace(Mount& top, MountNamespace* ns) {
  for (Mount* mount : Subtree(top)) {
    if (mount->ns_ != nullptr) mount->ns_->mounts_.erase(mount->id());
    mount->ns_ = ns;
    if (ns != nullptr) ns->mounts_[mount->id()] = mount;
  }
}

bool MountTree::InSight(const Mount& mount, const Dentry& dentry) { return DentryCache::IsBelow(*mount.root_, dentry); }

bool MountTree::IsReachable(const Mount& mount, const Dentry& dentry, const Path& root) {
  const Mount* at = &mount;
  const Dentry* on = &dentry;
  while (at != root.mount.get()) {
    if (at->parent_ == nullptr) return false;
    on = at->mountpoint_.get();
    at = at->parent_;
  }
  return DentryCache::IsBelow(*root.dentry, *on);
}

Path MountTree::Topmost(const Path& at) {
  Path top = at;
  while (Mount* next = ChildOn(*top.mount, *top.dentry)) top = Path{ShareRef(next), next->root_};
  return top;
}

Ref<Mount> MountTree::CopyOne(const Mount& original, const Ref<Dentry>& root, As as) {
  Ref<Mount> copy = MakeRef<Mount>(original.fs_, root, original.flags(), original.source_);
  copy->read_only_locked_ = original.read_only_locked_;
  copy->unbindable_ = original.unbindable_;
  if (original.peers_ != nullptr) {
    if (as == As::kPeer) {
      Join(*original.peers_, *copy);
    } else {
      Enslave(*copy, *original.peers_);
    }
  } else if (original.master_ != nullptr) {
    Enslave(*copy, *original.master_);
  }
  return copy;
}

Ref<Mount> MountTree::Copy(Mount& top, const Ref<Dentry>& root, bool recursive, bool keep_unbindable, As as, Pairs* pairs) {
  Ref<Mount> twin = CopyOne(top, root, as);
  Pairs todo;
  if (recursive) todo.emplace_back(&top, twin.get());
  for (size_t i = 0; i < todo.size(); ++i) {
    const auto [original, copy] = todo[i];
    for (Mount* child : ChildrenOf(*original)) {
      if (child->unbindable_ && !keep_unbindable) continue;
      if (original == &top && !DentryCache::IsBelow(*root, *child->mountpoint_)) continue;
      Ref<Mount> made = CopyOne(*child, child->root_, as);
      todo.emplace_back(child, made.get());
      Hang(std::move(made), *copy, child->mountpoint_.ToRef());
    }
  }
  if (pairs != nullptr) *pairs = std::move(todo);
  return twin;
}

void MountTree::TakeOut(Mount& mount, Drop& drop) {
  SetPropagation(mount, Propagation::kPrivate);
  if (mount.ns_ != nullptr) mount.ns_->mounts_.erase(mount.id());
  mount.ns_ = nullptr;
  if (mount.parent_ != nullptr) Unhang(mount, drop);
}

void MountTree::Discard(Mount& top, Drop& drop) {
  const std::vector<Mount*> all = Subtree(top);
  for (auto it = all.rbegin(); it != all.rend(); ++it) TakeOut(**it, drop);
}

void MountTree::HangUnder(Ref<Mount> tree, Mount& parent, const Ref<Dentry>& dentry, Drop& drop) {
  Mount* const there = ChildOn(parent, *dentry);
  Mount& top = *tree;
  if (there == nullptr) return Hang(std::move(tree), parent, dentry);
  // What was there comes to lie on the newcomer.
  Ref<Mount> hold = ShareRef(there);
  Unhang(*there, drop);
  Hang(std::move(tree), parent, dentry);
  Hang(std::move(hold), top, top.root_);
}

Result<void> MountTree::AttachTree(Ref<Mount> top, const Path& at, Drop& drop) {
  Mount& parent = *at.mount;
  if (parent.ns_ == nullptr) return Errno::kEINVAL;
  const std::vector<Mount*> tree = Subtree(*top);
  std::map<MountNamespace*, size_t> more;
  more[parent.ns_] += top->ns_ == parent.ns_ ? 0 : tree.size();
  for (const Mount* receiver : Receivers(parent)) {
    if (Receives(*receiver, at)) more[receiver->ns_] += tree.size();
  }
  for (const auto& [ns, count] : more) {
    if (ns->mounts_.size() + count > kMaxMounts) return Errno::kENOSPC;
  }
  std::vector<Place> places;
  if (parent.peers_ != nullptr) {
    for (Mount* mount : tree) MakeShared(*mount);
    CopyTo(*parent.peers_, *top, As::kPeer, at, &parent, places);
  }
  Mount& moved = *top;
  if (moved.parent_ != nullptr) Unhang(moved, drop);
  HangUnder(std::move(top), parent, at.dentry, drop);
  SetNamespace(moved, parent.ns_);
  for (Place& place : places) {
    Mount& copy = *place.tree;
    HangUnder(std::move(place.tree), *place.parent, at.dentry, drop);
    SetNamespace(copy, place.parent->ns_);
  }
  return Ok();
}

std::vector<Mount*> MountTree::WithReceivers(Mount& top) {
  std::vector<Mount*> chosen = Subtree(top);
  absl::flat_hash_set<const Mount*> set(chosen.begin(), chosen.end()), seen = set;
  const auto has = [&](const Mount* m) { return set.contains(m); };
  std::vector<Mount*> candidates;
  for (const Mount* mount : chosen) {
    if (mount->parent_ == nullptr) continue;
    for (const Mount* receiver : Receivers(*mount->parent_)) {
      Mount* child = ChildOn(*receiver, *mount->mountpoint_);
      if (child != nullptr && seen.insert(child).second) candidates.push_back(child);
    }
  }
  // A receiver's mount goes when nothing is left on it; what was mounted upon its very root takes its place.
  const auto leftover = [&](const Mount& mount) {
    std::vector<Mount*> left;
    for (Mount* child : ChildrenOf(mount)) {
      if (!has(child) || ChildOn(*child, *child->root_) != nullptr) left.push_back(child);
    }
    return left;
  };
  for (bool again = true; again;) {
    again = false;
    for (Mount* candidate : candidates) {
      if (has(candidate)) continue;
      const std::vector<Mount*> left = leftover(*candidate);
      if (left.size() > 1 || (left.size() == 1 && !(left[0]->mountpoint_ == RefPtr<Dentry>(candidate->root_)))) continue;
      chosen.push_back(candidate);
      set.insert(candidate);
      again = true;
    }
  }
  return chosen;
}

void MountTree::DetachTree(Mount& top, Drop& drop) {
  std::vector<Mount*> all = WithReceivers(top);
  const auto depth = [](const Mount* m) {
    size_t d = 0;
    while ((m = m->parent_) != nullptr) ++d;
    return d;
  };
  std::vector<std::pair<size_t, Mount*>> order;
  order.reserve(all.size());
  for (Mount* mount : all) order.emplace_back(depth(mount), mount);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [d, mount] : order) {
    Mount* const parent = mount->parent_;
    const RefPtr<Dentry> where = mount->mountpoint_;
    Mount* const topper = ChildOn(*mount, *mount->root_);
    RefPtr<Mount> hold;
    if (topper != nullptr) {
      hold = ShareRef(topper);
      Unhang(*topper, drop);
    }
    TakeOut(*mount, drop);
    if (topper != nullptr && parent != nullptr) Hang(std::move(hold).ToRef(), *parent, where.ToRef());
  }
}

bool MountTree::IsBusy(Mount& mount, uint32_t references) {
  if (!mount.children_.empty() || mount.RefCountForTesting() > references) return true;
  if (mount.parent_ == nullptr) return false;
  for (const Mount* receiver : Receivers(*mount.parent_)) {
    const Mount* copy = ChildOn(*receiver, *mount.mountpoint_);
    if (copy == nullptr || copy == &mount) continue;
    // Not a leaf: it stays anyway.
    if (copy->children_.size() > 1 || (copy->children_.size() == 1 && ChildOn(*copy, *copy->root_) == nullptr)) continue;
    if (copy->RefCountForTesting() > 1) return true;
  }
  return false;
}

bool MountNamespace::HasMountOn(const Dentry& dentry) const {
  if (!dentry.IsMountpoint()) return false;
  absl::ReaderMutexLock lock(&MountTree::mu());
  const auto it = Mountpoints().find(&dentry);
  if (it == Mountpoints().end()) return false;
  return std::any_of(it->second.begin(), it->second.end(), [this](const Mount* m) { return m->ns_ == this; });
}

void MountNamespace::DetachAllOn(const Dentry& dentry) {
  if (!dentry.IsMountpoint()) return;
  Drop drop;
  absl::MutexLock lock(&MountTree::mu());
  while (true) {
    const auto it = Mountpoints().find(&dentry);
    if (it == Mountpoints().end()) return;
    MountTree::Discard(*it->second.back(), drop);
  }
}

}  // namespace rampart::vfs
