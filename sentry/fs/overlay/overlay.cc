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

Ref<vfs::Inode> Overlay::root() { return MakeRef<OverlayInode>(ShareRef(this), upper_root_, lower_root_, nullptr, ""); }

// Even numbers come from below, odd ones from above.
uint64_t Overlay::NumberOf(const vfs::Inode* upper, const vfs::Inode* lower) const {
  if (upper == nullptr) return lower->ino() << 1;
  absl::ReaderMutexLock lock(&mu_);
  const auto it = origins_.find(upper->ino());
  return it != origins_.end() ? it->second << 1 : (upper->ino() << 1) | 1;
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
