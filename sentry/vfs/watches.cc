#include "sentry/vfs/watches.h"

#include <algorithm>

#include "sentry/vfs/inode_extras.h"
#include "sentry/vfs/operations.h"

namespace rampart::vfs {
namespace {
std::atomic<int> g_watches{0};
std::atomic<uint32_t> g_cookie{0};
}  // namespace

void WatchList::Add(Ref<Watch> watch) {
  absl::MutexLock lock(&mu_);
  watches_.push_back(std::move(watch));
  g_watches.fetch_add(1, std::memory_order_release);
}

void WatchList::Remove(const Watch* watch) {
  RefPtr<Watch> dropped;  // after the lock
  absl::MutexLock lock(&mu_);
  for (size_t i = 0; i < watches_.size(); ++i) {
    if (watches_[i].get() != watch) continue;
    dropped = watches_[i];
    watches_.erase(watches_.begin() + static_cast<std::ptrdiff_t>(i));
    g_watches.fetch_sub(1, std::memory_order_release);
    return;
  }
}

void WatchList::Notify(uint32_t mask, uint32_t cookie, std::string_view name, bool unlinked) {
  absl::MutexLock lock(&mu_);
  for (const Ref<Watch>& w : watches_) w->OnEvent(mask, cookie, name, unlinked);
}

WatchList::~WatchList() { g_watches.fetch_sub(static_cast<int>(watches_.size()), std::memory_order_release); }

bool AnyWatches() { return g_watches.load(std::memory_order_acquire) != 0; }

void NotifyChild(Inode& directory, uint32_t mask, uint32_t cookie, std::string_view name, bool unlinked) {
  if (!AnyWatches()) return;
  if (InodeExtras* extras = directory.extras_if_any()) extras->watches.Notify(mask, cookie, name, unlinked);
}

void NotifySelf(Inode& inode, uint32_t mask) {
  if (!AnyWatches()) return;
  if (inode.IsDirectory() && (mask & (kInDeleteSelf | kInMoveSelf)) == 0) mask |= kInIsDir;
  if (InodeExtras* extras = inode.extras_if_any()) extras->watches.Notify(mask, 0, "", false);
}

uint32_t NextMoveCookie() { return g_cookie.fetch_add(1, std::memory_order_relaxed) + 1; }

void NotifyWatches(const Path& path, uint32_t mask) {
  if (!AnyWatches()) return;
  Inode* inode = path.dentry->inode().get();
  if (inode == nullptr) return;
  NotifySelf(*inode, mask);
  if (const RefPtr<Dentry> parent = path.dentry->parent()) {
    if (Inode* dir = parent->inode().get()) {
      NotifyChild(*dir, mask | (inode->IsDirectory() ? kInIsDir : 0), 0, path.dentry->name(), path.dentry->IsDeleted());
    }
  }
}

}  // namespace rampart::vfs
