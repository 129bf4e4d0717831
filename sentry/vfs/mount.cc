#include "sentry/vfs/mount.h"

#include <utility>

#include "sentry/vfs/dentry_cache.h"
#include "sentry/vfs/mount_tree.h"
#include "sentry/vfs/path_text.h"
#include "sentry/vfs/watches.h"

namespace rampart::vfs {
namespace {

uint64_t NextMountId() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

uint64_t NextNamespaceId() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

// The path of a mount's root within its filesystem, as mountinfo shows it.
std::string RootText(const Mount& mount) {
  const Ref<Dentry>& root = mount.root();
  if (root->IsAnonymous()) return root->name();
  std::string text;
  for (RefPtr<Dentry> at = root; at->parent() != nullptr; at = at->parent()) text = "/" + at->name() + text;
  if (text.empty()) text = "/";
  if (root->IsDeleted()) text += "//deleted";
  return text;
}

}  // namespace

Mount::Mount(Ref<Filesystem> fs, Ref<Dentry> root, MountFlags flags, std::string source)
    : fs_(std::move(fs)), root_(std::move(root)), id_(NextMountId()), source_(std::move(source)), flags_(Pack(flags)) {
  fs_->mounts_.fetch_add(1, std::memory_order_acq_rel);
}

Mount::~Mount() {
  {
    absl::MutexLock lock(&MountTree::mu());
    if (peers_ != nullptr || master_ != nullptr) MountTree::SetPropagation(*this, Propagation::kPrivate);
  }
  if (fs_->mounts_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  Ref<Dentry> top = root_;
  while (RefPtr<Dentry> parent = top->parent()) top = std::move(parent).ToRef();
  NotifyUnmount(*fs_);
  DentryCache::PruneBelow(*top);
}

Result<void> Mount::AcquireWrite() {
  // The count first: whoever makes it read-only looks at the count last.
  writers_.fetch_add(1);
  fs_->writers_.fetch_add(1);
  if (!read_only()) return Ok();
  ReleaseWrite();
  return Errno::kEROFS;
}

void Mount::ReleaseWrite() {
  writers_.fetch_sub(1);
  fs_->writers_.fetch_sub(1);
}

uint8_t Mount::Pack(MountFlags f) {
  return static_cast<uint8_t>((f.read_only ? 1 : 0) | (f.no_suid ? 2 : 0) | (f.no_dev ? 4 : 0) | (f.no_exec ? 8 : 0) | (f.no_atime ? 16 : 0) |
                              (f.no_dir_atime ? 32 : 0) | (f.relatime ? 64 : 0) | (f.no_symfollow ? 128 : 0));
}

MountFlags Mount::Unpack(uint8_t b) {
  return {(b & 1) != 0, (b & 2) != 0, (b & 4) != 0, (b & 8) != 0, (b & 16) != 0, (b & 32) != 0, (b & 64) != 0, (b & 128) != 0};
}

std::string MountFlags::Text() const {
  std::string text = read_only ? "ro" : "rw";
  if (no_suid) text += ",nosuid";
  if (no_dev) text += ",nodev";
  if (no_exec) text += ",noexec";
  if (no_atime) text += ",noatime";
  if (no_dir_atime) text += ",nodiratime";
  if (relatime && !no_atime) text += ",relatime";
  if (no_symfollow) text += ",nosymfollow";
  return text;
}

MountFlags MountChange::Apply(MountFlags f) const {
  const auto one = [&](bool MountFlags::* flag) { f.*flag = (f.*flag && !(clear.*flag)) || set.*flag; };
  for (bool MountFlags::* flag : {&MountFlags::read_only, &MountFlags::no_suid, &MountFlags::no_dev, &MountFlags::no_exec,
                                  &MountFlags::no_dir_atime, &MountFlags::no_symfollow}) {
    one(flag);
  }
  if (atime) {
    f.no_atime = set.no_atime;
    f.relatime = set.relatime;
  }
  return f;
}

Result<void> Filesystem::SetFlags(uint32_t flags) {
  const uint32_t old = flags_.exchange(flags);
  if ((flags & ~old & kSbReadOnly) != 0 && writers_.load() > 0) {
    flags_.store(old);
    return Errno::kEBUSY;
  }
  return Ok();
}

MountNamespace::MountNamespace(bool detached) : id_(NextNamespaceId()), detached_(detached) {}

MountNamespace::~MountNamespace() { Dissolve(); }

void MountNamespace::Dissolve() {
  Drop drop;
  absl::MutexLock lock(&MountTree::mu());
  if (root_ == nullptr) return;
  MountTree::Discard(*root_, drop);
  drop.mounts.push_back(std::move(root_));
  root_ = nullptr;
}

Ref<MountNamespace> MountNamespace::Create(Ref<Filesystem> root_fs, MountFlags flags, std::string source) {
  Ref<MountNamespace> ns = Ref<MountNamespace>::Adopt(new MountNamespace(false));
  Ref<Dentry> root = Dentry::NewRoot(root_fs->root());
  const Ref<Mount> mount = MakeRef<Mount>(std::move(root_fs), std::move(root), flags, std::move(source));
  absl::MutexLock lock(&MountTree::mu());
  ns->root_ = mount;
  MountTree::SetNamespace(*mount, ns.get());
  return ns;
}

Ref<MountNamespace> MountNamespace::NewDetached(Ref<Mount> mount) {
  Ref<MountNamespace> ns = Ref<MountNamespace>::Adopt(new MountNamespace(true));
  absl::MutexLock lock(&MountTree::mu());
  ns->root_ = mount;
  MountTree::SetNamespace(*mount, ns.get());
  return ns;
}

Result<Ref<MountNamespace>> MountNamespace::Clone(std::vector<Path*> translate) const {
  Ref<MountNamespace> copy = Ref<MountNamespace>::Adopt(new MountNamespace(false));
  Drop drop;
  absl::MutexLock lock(&MountTree::mu());
  if (root_ == nullptr) return Errno::kEINVAL;
  MountTree::Pairs pairs;
  copy->root_ = MountTree::Copy(*root_, root_->root(), /*recursive=*/true, /*keep_unbindable=*/true, MountTree::As::kPeer, &pairs);
  MountTree::SetNamespace(*copy->root_, copy.get());
  for (Path* path : translate) {
    for (const auto& [original, twin] : pairs) {
      if (original != path->mount.get()) continue;
      drop.mounts.emplace_back(std::move(path->mount));
      path->mount = ShareRef(twin);
      break;
    }
  }
  return copy;
}

Path MountNamespace::root() const {
  absl::ReaderMutexLock lock(&MountTree::mu());
  return {root_.ToRef(), root_->root()};
}

Path MountNamespace::top() const {
  Path at = root();
  if (RefPtr<Mount> top = MountedOn(*at.mount, *at.dentry)) {
    at.dentry = top->root();
    at.mount = std::move(top).ToRef();
  }
  return at;
}

bool MountNamespace::Contains(const Mount& mount) const {
  absl::ReaderMutexLock lock(&MountTree::mu());
  return mount.ns_ == this;
}

bool MountNamespace::IsDetachedRoot(const Path& path) {
  absl::ReaderMutexLock lock(&MountTree::mu());
  return path.mount->ns_ != nullptr && path.mount->ns_->detached_ && path.mount->parent_ == nullptr && path.dentry == path.mount->root();
}

RefPtr<Mount> MountNamespace::MountedOn(const Mount& mount, const Dentry& dentry, bool quietly) {
  if (!dentry.IsMountpoint()) return nullptr;
  absl::ReaderMutexLock lock(&MountTree::mu());
  Mount* top = MountTree::ChildOn(mount, dentry);
  if (top == nullptr) return nullptr;
  // The topmost of those stacked on one another.
  while (top->root_->IsMountpoint()) {
    Mount* next = MountTree::ChildOn(*top, *top->root_);
    if (next == nullptr) break;
    top = next;
  }
  if (!quietly && top->expiring_.load(std::memory_order_relaxed)) top->expiring_.store(false, std::memory_order_relaxed);
  return ShareRef(top);
}

std::optional<Path> MountNamespace::MountpointOf(const Mount& mount) {
  absl::ReaderMutexLock lock(&MountTree::mu());
  if (mount.parent_ == nullptr) return std::nullopt;
  return Path{ShareRef(mount.parent_), mount.mountpoint_.ToRef()};
}

std::vector<MountInfo> MountNamespace::List(const Path& root) const {
  std::vector<MountInfo> rows;
  {
    absl::ReaderMutexLock lock(&MountTree::mu());
    rows.reserve(mounts_.size());
    for (const auto& [id, mount] : mounts_) {
      if (!MountTree::IsReachable(*mount, *mount->root_, root)) continue;
      MountInfo info{.mount = ShareRef(mount), .parent_id = mount->parent_ != nullptr ? mount->parent_->id() : mount->id(), .mountpoint = "", .root = ""};
      info.shared = MountTree::SharedId(*mount);
      const PeerGroup* master = MountTree::MasterOf(*mount);
      info.master = master != nullptr ? master->id() : 0;
      info.propagate_from = MountTree::PropagateFrom(*mount, root);
      info.unbindable = mount->unbindable_;
      rows.push_back(std::move(info));
    }
  }
  std::vector<MountInfo> list;
  for (MountInfo& row : rows) {
    std::optional<std::string> where = ReachableText(root, Path{row.mount, row.mount->root()});
    if (!where) continue;  // moved away meanwhile
    row.mountpoint = *std::move(where);
    row.root = RootText(*row.mount);
    list.push_back(std::move(row));
  }
  return list;
}

Result<MountInfo> MountNamespace::Find(uint64_t unique_id, const Path& root) const {
  for (MountInfo& info : List(root)) {
    if (info.mount->unique_id() == unique_id) return std::move(info);
  }
  return Errno::kENOENT;
}

}  // namespace rampart::vfs
