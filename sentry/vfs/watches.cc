#include "sentry/vfs/watches.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"

#include "sentry/vfs/inode_extras.h"
#include "sentry/vfs/operations.h"
#include "sentry/vfs/path_observer.h"

namespace rampart::vfs {
namespace {
std::atomic<int> g_watches{0};
std::atomic<uint32_t> g_cookie{0};
ABSL_CONST_INIT absl::Mutex g_observers_mu(absl::kConstInit);
std::atomic<size_t> g_observer_count{0};
// Never freed: descriptions end while the process does.
std::vector<PathObserver*>& Observers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(g_observers_mu) {
  static auto* const all = new std::vector<PathObserver*>;
  return *all;
}

// All that are in some list: for events about whole filesystems.
struct AllWatches {
  absl::Mutex mu;
  absl::flat_hash_set<Watch*> set ABSL_GUARDED_BY(mu);
};
AllWatches& TheWatches() {
  static AllWatches* const all = new AllWatches;
  return *all;
}
void Enter(Watch* watch) {
  AllWatches& all = TheWatches();
  absl::MutexLock lock(&all.mu);
  all.set.insert(watch);
}
void Leave(Watch* watch) {
  AllWatches& all = TheWatches();
  absl::MutexLock lock(&all.mu);
  all.set.erase(watch);
}
}  // namespace

void PathObserver::Add(PathObserver& observer) {
  absl::MutexLock lock(&g_observers_mu);
  Observers().push_back(&observer);
  g_observer_count.store(Observers().size(), std::memory_order_release);
  g_watches.fetch_add(1, std::memory_order_release);
}

void PathObserver::Remove(PathObserver& observer) {
  absl::MutexLock lock(&g_observers_mu);
  std::erase(Observers(), &observer);
  g_observer_count.store(Observers().size(), std::memory_order_release);
  g_watches.fetch_sub(1, std::memory_order_release);
}

void WatchList::Add(Ref<Watch> watch) {
  absl::MutexLock lock(&mu_);
  Enter(watch.get());
  watches_.push_back(std::move(watch));
  g_watches.fetch_add(1, std::memory_order_release);
}

void WatchList::Remove(const Watch* watch) {
  RefPtr<Watch> dropped;  // after the lock
  absl::MutexLock lock(&mu_);
  for (size_t i = 0; i < watches_.size(); ++i) {
    if (watches_[i].get() != watch) continue;
    dropped = watches_[i];
    Leave(dropped.get());
    watches_.erase(watches_.begin() + static_cast<std::ptrdiff_t>(i));
    g_watches.fetch_sub(1, std::memory_order_release);
    return;
  }
}

void WatchList::Notify(uint32_t mask, uint32_t cookie, std::string_view name, bool unlinked) {
  absl::MutexLock lock(&mu_);
  for (const Ref<Watch>& w : watches_) w->OnEvent(mask, cookie, name, unlinked);
}

WatchList::~WatchList() {
  for (const Ref<Watch>& watch : watches_) Leave(watch.get());
  g_watches.fetch_sub(static_cast<int>(watches_.size()), std::memory_order_release);
}

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

void NotifyUnmount(Filesystem& fs) {
  if (!AnyWatches()) return;
  std::vector<Ref<Inode>> inodes;
  {
    AllWatches& all = TheWatches();
    absl::MutexLock lock(&all.mu);
    for (const Watch* watch : all.set) {
      Inode* const inode = watch->until_unmounted();
      if (inode == nullptr || &inode->fs() != &fs) continue;
      if (std::none_of(inodes.begin(), inodes.end(), [&](const Ref<Inode>& i) { return i.get() == inode; })) inodes.push_back(ShareRef(inode));
    }
  }
  for (const Ref<Inode>& inode : inodes) inode->extras().watches.Notify(kInUnmount, 0, "", false);
}

uint32_t NextMoveCookie() { return g_cookie.fetch_add(1, std::memory_order_relaxed) + 1; }

void NotifyWatches(const Path& path, uint32_t mask) {
  if (!AnyWatches()) return;
  Inode* inode = path.dentry->inode().get();
  if (inode == nullptr) return;
  if (g_observer_count.load(std::memory_order_acquire) != 0) {
    absl::MutexLock lock(&g_observers_mu);
    for (PathObserver* observer : Observers()) observer->OnPathEvent(path, mask | (inode->IsDirectory() ? kInIsDir : 0));
  }
  // The directory hears of it before the object itself, as Linux has it.
  if (const RefPtr<Dentry> parent = path.dentry->parent()) {
    if (Inode* dir = parent->inode().get()) {
      NotifyChild(*dir, mask | (inode->IsDirectory() ? kInIsDir : 0), 0, path.dentry->name(), path.dentry->IsDeleted());
    }
  }
  NotifySelf(*inode, mask);
}

}  // namespace rampart::vfs
