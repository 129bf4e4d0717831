// WatchList: the inotify watches on one inode (inotify(7)). sentry/fs/inotify implements Watch; the core and file implementations tell of events
// through NotifyWatches (operations.h) and the functions below.
// Thread safety: any thread. Lock order: WatchList::mu_ → what OnEvent takes (an inotify instance's queue lock), or the list of all watches.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/ref.h"

namespace rampart::vfs {

class Filesystem;
class Inode;
class Dentry;

inline constexpr uint32_t kInAccess = 0x1, kInModify = 0x2, kInAttrib = 0x4, kInCloseWrite = 0x8, kInCloseNoWrite = 0x10, kInOpen = 0x20,
                          kInMovedFrom = 0x40, kInMovedTo = 0x80, kInCreate = 0x100, kInDelete = 0x200, kInDeleteSelf = 0x400,
                          kInMoveSelf = 0x800, kInUnmount = 0x2000, kInQOverflow = 0x4000, kInIgnored = 0x8000, kInIsDir = 0x40000000;

class Watch : public virtual RefCounted {
 public:
  // `name`: the child that the event is about, or empty for the watched object itself. `unlinked`: the object has lost its last name
  // (IN_EXCL_UNLINK). Called with the list's lock held: must not block or touch the list.
  virtual void OnEvent(uint32_t mask, uint32_t cookie, std::string_view name, bool unlinked) = 0;
  // What it watches and keeps alive, if it is to hear that its filesystem is no longer mounted; null: it is not.
  virtual Inode* until_unmounted() const { return nullptr; }
};

class WatchList {
 public:
  void Add(Ref<Watch> watch);
  void Remove(const Watch* watch);
  void Notify(uint32_t mask, uint32_t cookie, std::string_view name, bool unlinked);
  // The watch that `match` accepts, or null.
  template <class F>
  RefPtr<Watch> Find(F match) const {
    absl::MutexLock lock(&mu_);
    for (const Ref<Watch>& w : watches_) {
      if (match(*w)) return w;
    }
    return nullptr;
  }
  ~WatchList();

 private:
  mutable absl::Mutex mu_;
  std::vector<Ref<Watch>> watches_ ABSL_GUARDED_BY(mu_);
};

// Whether any watch exists in the sandbox: one load, so that unwatched operations cost nothing.
bool AnyWatches();
// Tells the watches of `directory` about its child.
void NotifyChild(Inode& directory, uint32_t mask, uint32_t cookie, std::string_view name, bool unlinked = false);
// Tells the watches of `inode` itself.
void NotifySelf(Inode& inode, uint32_t mask);
// The last mount of a filesystem has gone: tells every watch in it (IN_UNMOUNT).
void NotifyUnmount(Filesystem& fs);
// For IN_MOVED_FROM and IN_MOVED_TO.
uint32_t NextMoveCookie();

}  // namespace rampart::vfs
