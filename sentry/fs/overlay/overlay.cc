#include "sentry/fs/overlay/overlay.h"

#include "sentry/fs/overlay/overlay_inode.h"

namespace rampart::fs {

Ref<vfs::Filesystem> NewOverlay(Ref<vfs::Filesystem> upper, Ref<vfs::Filesystem> lower) {
  return MakeRef<Overlay>(std::move(upper), std::move(lower));
}

Overlay::Overlay(Ref<vfs::Filesystem> upper, Ref<vfs::Filesystem> lower)
    : Filesystem("overlay"), upper_(std::move(upper)), lower_(std::move(lower)), upper_root_(upper_->root()), lower_root_(lower_->root()) {
  SetLowerOf(*upper_root_, lower_root_);
  RememberOrigin(*upper_root_, *lower_root_);
}

Ref<vfs::Inode> Overlay::root() { return Unique(MakeRef<OverlayInode>(ShareRef(this), upper_root_, lower_root_, nullptr, "")); }

Result<vfs::FsStats> Overlay::StatFs(const Caller& caller) {
  constexpr uint64_t kOverlayMagic = 0x794c7630;
  vfs::FsStats stats = TRY(upper_->StatFs(caller));
  stats.magic = kOverlayMagic;
  stats.fsid = device();
  return stats;
}

// Even numbers come from below, odd ones from above.
uint64_t Overlay::NumberOf(const vfs::Inode* upper, const vfs::Inode* lower) const {
  return upper == nullptr ? lower->ino() << 1 : NumberOfUpper(upper->ino());
}

uint64_t Overlay::NumberOfUpper(uint64_t upper_ino) const {
  absl::ReaderMutexLock lock(&mu_);
  const auto it = origins_.find(upper_ino);
  return it != origins_.end() ? it->second << 1 : (upper_ino << 1) | 1;
}

Ref<OverlayInode> Overlay::Unique(Ref<OverlayInode> made) {
  const vfs::Inode* upper = made->upper();
  if (upper == nullptr) return made;
  absl::MutexLock lock(&mu_);
  OverlayInode*& slot = inodes_[upper];
  if (slot != nullptr) {
    if (RefPtr<OverlayInode> there = TryRef(slot)) return std::move(there).ToRef();
  }
  slot = made.get();
  return made;
}

void Overlay::Enter(OverlayInode& inode, const vfs::Inode& upper) {
  absl::MutexLock lock(&mu_);
  inodes_[&upper] = &inode;
}

void Overlay::Leave(const OverlayInode& inode, const vfs::Inode& upper) {
  absl::MutexLock lock(&mu_);
  const auto it = inodes_.find(&upper);
  if (it != inodes_.end() && it->second == &inode) inodes_.erase(it);
}

void Overlay::RememberOrigin(const vfs::Inode& upper, const vfs::Inode& lower) {
  absl::MutexLock lock(&mu_);
  origins_[upper.ino()] = lower.ino();
}

RefPtr<vfs::Inode> Overlay::LowerOf(const vfs::Inode& upper_directory, bool& known) const {
  absl::ReaderMutexLock lock(&mu_);
  const auto it = merged_.find(upper_directory.ino());
  known = it != merged_.end();
  return known ? it->second : nullptr;
}

void Overlay::SetLowerOf(const vfs::Inode& upper_directory, RefPtr<vfs::Inode> lower) {
  absl::MutexLock lock(&mu_);
  std::swap(merged_[upper_directory.ino()], lower);
}

void Overlay::Forget(const vfs::Inode& upper) {
  RefPtr<vfs::Inode> dropped;
  absl::MutexLock lock(&mu_);
  origins_.erase(upper.ino());
  if (const auto it = merged_.find(upper.ino()); it != merged_.end()) {
    dropped = std::move(it->second);
    merged_.erase(it);
  }
}

}  // namespace rampart::fs
