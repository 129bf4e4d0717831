#include "sentry/vfs/mount.h"

#include <algorithm>
#include <utility>

#include "sentry/vfs/dentry_cache.h"
#include "sentry/vfs/path_text.h"

namespace rampart::vfs {
namespace {

// Guards every tree of mounts: which mount hangs where.
absl::Mutex g_mount_mu(absl::kConstInit);

uint64_t NextMountId() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

Mount::Mount(Ref<Filesystem> fs, Ref<Dentry> root, MountFlags flags, std::string source)
    : fs_(std::move(fs)), root_(std::move(root)), id_(NextMountId()), source_(std::move(source)), flags_(Pack(flags)) {
  fs_->mounts_.fetch_add(1, std::memory_order_acq_rel);
}

Mount::~Mount() {
  if (fs_->mounts_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  Ref<Dentry> top = root_;
  while (RefPtr<Dentry> parent = top->parent()) top = std::move(parent).ToRef();
  DentryCache::PruneBelow(*top);
}

uint8_t Mount::Pack(MountFlags f) {
  return static_cast<uint8_t>((f.read_only ? 1 : 0) | (f.no_suid ? 2 : 0) | (f.no_dev ? 4 : 0) | (f.no_exec ? 8 : 0) | (f.no_atime ? 16 : 0) |
                              (f.no_dir_atime ? 32 : 0) | (f.relatime ? 64 : 0));
}

MountFlags Mount::Unpack(uint8_t b) {
  return {(b & 1) != 0, (b & 2) != 0, (b & 4) != 0, (b & 8) != 0, (b & 16) != 0, (b & 32) != 0, (b & 64) != 0};
}

std::string MountFlags::Text() const {
  std::string text = read_only ? "ro" : "rw";
  if (no_suid) text += ",nosuid";
  if (no_dev) text += ",nodev";
  if (no_exec) text += ",noexec";
  if (no_atime) text += ",noatime";
  if (no_dir_atime) text += ",nodiratime";
  if (relatime && !no_atime) text += ",relatime";
  return text;
}

Ref<MountNamespace> MountNamespace::Create(Ref<Filesystem> root_fs, MountFlags flags, std::string source) {
  Ref<MountNamespace> ns = Ref<MountNamespace>::Adopt(new MountNamespace);
  Ref<Dentry> root = Dentry::NewRoot(root_fs->root());
  ns->root_ = MakeRef<Mount>(std::move(root_fs), std::move(root), flags, std::move(source));
  return ns;
}

MountNamespace::~MountNamespace() {
  absl::flat_hash_map<Key, Ref<Mount>> mounts;
  std::vector<RefPtr<RefCounted>> drop;
  absl::MutexLock lock(&g_mount_mu);
  mounts.swap(mounts_);
  for (auto& [key, mount] : mounts) {
    mount->mountpoint_->mounts_here_.fetch_sub(1, std::memory_order_acq_rel);
    drop.push_back(std::move(mount->parent_));
    drop.push_back(std::move(mount->mountpoint_));
    mount->parent_ = nullptr;
    mount->mountpoint_ = nullptr;
  }
}

Path MountNamespace::root() const {
  absl::ReaderMutexLock lock(&g_mount_mu);
  return {root_.ToRef(), root_->root()};
}

void MountNamespace::Hang(Ref<Mount> mount, const Path& at) {
  at.dentry->mounts_here_.fetch_add(1, std::memory_order_acq_rel);
  mount->parent_ = at.mount;
  mount->mountpoint_ = at.dentry;
  mounts_.insert_or_assign(Key(at.mount.get(), at.dentry.get()), std::move(mount));
}

void MountNamespace::Unhang(Mount& mount, std::vector<RefPtr<RefCounted>>& drop) {
  mount.mountpoint_->mounts_here_.fetch_sub(1, std::memory_order_acq_rel);
  auto it = mounts_.find(Key(mount.parent_.get(), mount.mountpoint_.get()));
  CHECK(it != mounts_.end() && it->second.get() == &mount);
  drop.push_back(std::move(it->second));
  mounts_.erase(it);
  drop.push_back(std::move(mount.parent_));
  drop.push_back(std::move(mount.mountpoint_));
  mount.parent_ = nullptr;
  mount.mountpoint_ = nullptr;
}

std::vector<Mount*> MountNamespace::ChildrenOf(const Mount& mount) const {
  std::vector<Mount*> children;
  for (const auto& [key, child] : mounts_) {
    if (key.first == &mount) children.push_back(child.get());
  }
  std::sort(children.begin(), children.end(), [](const Mount* a, const Mount* b) { return a->id() < b->id(); });
  return children;
}

bool MountNamespace::Contains(const Mount& mount) const {
  absl::ReaderMutexLock lock(&g_mount_mu);
  return ContainsLocked(mount);
}

bool MountNamespace::ContainsLocked(const Mount& mount) const {
  if (root_.get() == &mount) return true;
  if (mount.parent_ == nullptr) return false;
  auto it = mounts_.find(Key(mount.parent_.get(), mount.mountpoint_.get()));
  return it != mounts_.end() && it->second.get() == &mount;
}

Ref<MountNamespace> MountNamespace::Clone(std::vector<Path*> translate) {
  Ref<MountNamespace> copy = Ref<MountNamespace>::Adopt(new MountNamespace);
  absl::flat_hash_map<const Mount*, Ref<Mount>> copies;
  std::vector<RefPtr<RefCounted>> drop;
  absl::MutexLock lock(&g_mount_mu);
  auto duplicate = [&](const Mount& m) { return MakeRef<Mount>(m.fs_, m.root_, m.flags(), m.source_); };
  std::vector<Mount*> todo{root_.get()};
  copies.emplace(root_.get(), duplicate(*root_));
  copy->root_ = copies.at(root_.get());
  while (!todo.empty()) {
    Mount* parent = todo.back();
    todo.pop_back();
    for (Mount* child : ChildrenOf(*parent)) {
      Ref<Mount> twin = duplicate(*child);
      copies.emplace(child, twin);
      copy->Hang(std::move(twin), Path{copies.at(parent), child->mountpoint_.ToRef()});
      todo.push_back(child);
    }
  }
  for (Path* path : translate) {
    auto it = copies.find(path->mount.get());
    if (it == copies.end()) continue;
    drop.emplace_back(std::move(path->mount));
    path->mount = it->second;
  }
  return copy;
}

Result<Ref<Mount>> MountNamespace::Attach(const Path& at, Ref<Filesystem> fs, RefPtr<Dentry> fs_root, MountFlags flags, std::string source) {
  Ref<Dentry> root = fs_root != nullptr ? fs_root.ToRef() : Dentry::NewRoot(fs->root());
  if (at.dentry->IsNegative() || at.dentry->IsDeleted()) return Errno::kENOENT;
  if (root->IsDirectory() != at.dentry->IsDirectory()) return Errno::kENOTDIR;
  Ref<Mount> mount = MakeRef<Mount>(std::move(fs), std::move(root), flags, std::move(source));
  absl::MutexLock lock(&g_mount_mu);
  if (!ContainsLocked(*at.mount)) return Errno::kEINVAL;
  if (mounts_.contains(Key(at.mount.get(), at.dentry.get()))) return Errno::kEBUSY;
  Hang(mount, at);
  return mount;
}

Result<void> MountNamespace::Detach(const Path& at, bool lazy) {
  std::vector<RefPtr<RefCounted>> drop;
  absl::MutexLock lock(&g_mount_mu);
  Mount& mount = *at.mount;
  if (!(at.dentry == mount.root_) || !ContainsLocked(mount)) return Errno::kEINVAL;
  if (mount.parent_ == nullptr) return lazy ? Errno::kEINVAL : Errno::kEBUSY;
  std::vector<Mount*> below = ChildrenOf(mount);
  if (!lazy) {
    constexpr uint32_t kTableAndCaller = 2;
    if (!below.empty() || mount.RefCountForTesting() > kTableAndCaller) return Errno::kEBUSY;
  }
  // The whole subtree, leaves last in `order`, so taken down from its end.
  std::vector<Mount*> order{&mount};
  for (size_t i = 0; i < order.size(); ++i) {
    const std::vector<Mount*> children = ChildrenOf(*order[i]);
    order.insert(order.end(), children.begin(), children.end());
  }
  for (auto it = order.rbegin(); it != order.rend(); ++it) Unhang(**it, drop);
  return Ok();
}

Result<Ref<Mount>> MountNamespace::Bind(const Path& from, const Path& at, bool recursive) {
  if (at.dentry->IsDeleted() || from.dentry->IsDeleted()) return Errno::kENOENT;
  if (from.dentry->IsDirectory() != at.dentry->IsDirectory()) return Errno::kENOTDIR;
  std::vector<RefPtr<RefCounted>> drop;
  absl::MutexLock lock(&g_mount_mu);
  if (!ContainsLocked(*at.mount) || !ContainsLocked(*from.mount)) return Errno::kEINVAL;
  if (mounts_.contains(Key(at.mount.get(), at.dentry.get()))) return Errno::kEBUSY;
  Ref<Mount> top = MakeRef<Mount>(from.mount->fs_, from.dentry, from.mount->flags(), from.mount->source_);
  std::vector<std::pair<Mount*, Ref<Mount>>> todo;
  // What hangs below the source is listed first: the copy may come to hang there too.
  std::vector<std::pair<Ref<Mount>, Path>> hang;
  if (recursive) todo.emplace_back(from.mount.get(), top);
  while (!todo.empty()) {
    auto [original, twin] = std::move(todo.back());
    todo.pop_back();
    for (Mount* child : ChildrenOf(*original)) {
      if (original == from.mount.get() && !DentryCache::IsBelow(*from.dentry, *child->mountpoint_)) continue;
      Ref<Mount> copy = MakeRef<Mount>(child->fs_, child->root_, child->flags(), child->source_);
      hang.emplace_back(copy, Path{twin, child->mountpoint_.ToRef()});
      todo.emplace_back(child, std::move(copy));
    }
  }
  Hang(top, at);
  for (auto& [mount, where] : hang) Hang(std::move(mount), where);
  return top;
}

Result<void> MountNamespace::Move(const Path& from, const Path& to) {
  std::vector<RefPtr<RefCounted>> drop;
  absl::MutexLock lock(&g_mount_mu);
  Mount& mount = *from.mount;
  if (!(from.dentry == mount.root_) || mount.parent_ == nullptr) return Errno::kEINVAL;
  if (!ContainsLocked(mount) || !ContainsLocked(*to.mount)) return Errno::kEINVAL;
  if (mount.root_->IsDirectory() != to.dentry->IsDirectory()) return Errno::kENOTDIR;
  for (const Mount* m = to.mount.get(); m != nullptr; m = m->parent_.get()) {
    if (m == &mount) return Errno::kELOOP;
  }
  if (mounts_.contains(Key(to.mount.get(), to.dentry.get()))) return Errno::kEBUSY;
  Unhang(mount, drop);
  Hang(from.mount, to);
  return Ok();
}

Result<void> MountNamespace::PivotRoot(const Path& new_root, const Path& put_old) {
  std::vector<RefPtr<RefCounted>> drop;
  absl::MutexLock lock(&g_mount_mu);
  Mount& mount = *new_root.mount;
  if (!(new_root.dentry == mount.root_) || !ContainsLocked(mount)) return Errno::kEINVAL;
  if (root_.get() == &mount || root_ == RefPtr<Mount>(put_old.mount)) return Errno::kEBUSY;
  // put_old at or below new_root.
  Path at = put_old;
  while (!(at.mount == new_root.mount)) {
    if (at.mount->parent_ == nullptr) return Errno::kEINVAL;
    at = Path{at.mount->parent_.ToRef(), at.mount->mountpoint_.ToRef()};
  }
  if (!DentryCache::IsBelow(*new_root.dentry, *at.dentry)) return Errno::kEINVAL;
  if (mounts_.contains(Key(put_old.mount.get(), put_old.dentry.get()))) return Errno::kEBUSY;
  const Ref<Mount> old_root = root_.ToRef();
  Unhang(mount, drop);
  Hang(old_root, put_old);
  root_ = new_root.mount;
  return Ok();
}

RefPtr<Mount> MountNamespace::MountedOn(const Mount& mount, const Dentry& dentry) const {
  if (!dentry.IsMountpoint()) return nullptr;
  absl::ReaderMutexLock lock(&g_mount_mu);
  auto it = mounts_.find(Key(&mount, &dentry));
  if (it == mounts_.end()) return nullptr;
  // The topmost of those stacked on one another.
  Mount* top = it->second.get();
  while (top->root_->IsMountpoint()) {
    it = mounts_.find(Key(top, top->root_.get()));
    if (it == mounts_.end()) break;
    top = it->second.get();
  }
  return ShareRef(top);
}

std::optional<Path> MountNamespace::MountpointOf(const Mount& mount) {
  absl::ReaderMutexLock lock(&g_mount_mu);
  if (mount.parent_ == nullptr) return std::nullopt;
  return Path{mount.parent_.ToRef(), mount.mountpoint_.ToRef()};
}

std::vector<MountInfo> MountNamespace::List(const Path& root) const {
  struct Row {
    Ref<Mount> mount;
    uint64_t parent_id;
  };
  std::vector<Row> rows;
  {
    absl::ReaderMutexLock lock(&g_mount_mu);
    rows.push_back({root_.ToRef(), root_->id()});
    for (const auto& [key, mount] : mounts_) rows.push_back({mount, key.first->id()});
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.mount->id() < b.mount->id(); });
  std::vector<MountInfo> list;
  for (Row& row : rows) {
    std::optional<std::string> where = ReachableText(root, Path{row.mount, row.mount->root()});
    if (where) list.push_back({std::move(row.mount), row.parent_id, *std::move(where)});
  }
  return list;
}

}  // namespace rampart::vfs
