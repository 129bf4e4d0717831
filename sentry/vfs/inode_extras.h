// InodeExtras: what Linux hangs on an inode and the core keeps for every filesystem. Made on first use (Inode::extras()), freed with the inode:
// whoever relies on it holds a Path, so that the inode stays.
// Thread safety: each part has its own lock (leaves).
#pragma once

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/ref.h"
#include "sentry/vfs/file_locks.h"
#include "sentry/vfs/watches.h"

namespace rampart::vfs {

struct InodeExtras {
  FileLocks locks;
  LeaseTable leases;
  WatchList watches;

  // An unnamed file that may be given a name (O_TMPFILE without O_EXCL); no other file without names may. Linux: I_LINKABLE.
  std::atomic<bool> linkable{false};

  absl::Mutex mu;
  // What sentry/fs/pipe keeps for a FIFO, and what sentry/net/unix keeps for a bound socket.
  RefPtr<RefCounted> fifo ABSL_GUARDED_BY(mu);
  RefPtr<RefCounted> socket ABSL_GUARDED_BY(mu);
};

}  // namespace rampart::vfs
