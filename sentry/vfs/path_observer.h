// PathObserver: somebody who is told of what happens to objects wherever they are (fanotify's marks on mounts and filesystems, and on inodes).
// Thread safety: any thread. Lock order: the list's lock → what OnPathEvent takes (an instance's lock, its wait queue).
#pragma once

#include <cstdint>

#include "sentry/vfs/dentry.h"

namespace rampart::vfs {

// A description that nobody is told of: what fanotify opens for its reader (Linux: FMODE_NONOTIFY). Not settable by applications.
inline constexpr uint32_t kONonotify = 0x04000000;

class PathObserver {
 public:
  // `mask`: kIn… of watches.h, with kInIsDir. Must not block.
  virtual void OnPathEvent(const Path& path, uint32_t mask) = 0;
  // While one is registered, AnyWatches() is true. Remove returns when no OnPathEvent of it runs.
  static void Add(PathObserver& observer);
  static void Remove(PathObserver& observer);

 protected:
  virtual ~PathObserver() = default;
};

}  // namespace rampart::vfs
