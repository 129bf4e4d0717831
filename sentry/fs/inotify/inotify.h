// Inotify: an instance of inotify(7): watches on inodes, and the queue of events that they made.
//
// Model. A watch sits in its inode's WatchList and keeps a name (and so the inode) alive. Events come in under the list's lock; a watch that ends
// there (one-shot, object deleted) is only marked, and taken out of the list by the next call on the instance.
// Thread safety: any thread. Lock order: WatchList's lock → mu_; the wait queue is told without mu_.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "sentry/vfs/file_description.h"
#include "sentry/vfs/watches.h"

namespace rampart::fs {

class InotifyWatch;

class Inotify final : public vfs::FileDescription {
 public:
  // `flags`: O_NONBLOCK.
  static Ref<Inotify> Create(uint32_t flags);

  // inotify_add_watch(2) on what `path` names; access was checked. EINVAL, EEXIST (IN_MASK_CREATE), ENOSPC.
  Result<int32_t> AddWatch(const vfs::Path& path, uint32_t mask);
  // EINVAL: no such watch.
  Result<void> RemoveWatch(int32_t wd);

  bool seekable() const override { return false; }
  bool has_write() const override { return false; }
  bool pollable() const override { return true; }
  // Whole events only. EINVAL: the buffer is too small for the first.
  Result<size_t> Read(Caller& caller, mm::IoDst& dst, uint32_t flags) override;
  Result<size_t> Write(Caller&, mm::IoSrc&, uint32_t) override { return Errno::kEBADF; }
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return uint64_t{0}; }  // Linux: noop_llseek
  wait::EventMask Readiness(wait::EventMask mask) override;
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override { queue_.Register(entry, mask); }
  void EventUnregister(wait::WaitEntry& entry) override { queue_.Unregister(entry); }
  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) override;
  std::string FdInfo() const override;

 protected:
  ~Inotify() override;

 private:
  friend class InotifyWatch;
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  Inotify(vfs::Path path, uint32_t flags);

  struct Event {
    int32_t wd;
    uint32_t mask;
    uint32_t cookie;
    std::string name;
    size_t size() const;
  };
  // From a watch: queues the event, and ends the watch if it must.
  void Deliver(InotifyWatch& watch, uint32_t mask, uint32_t cookie, std::string_view name);
  void QueueLocked(Event event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EndLocked(InotifyWatch& watch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes ended watches out of their lists. Without mu_.
  void Reap();

  mutable absl::Mutex mu_;
  std::deque<Event> events_ ABSL_GUARDED_BY(mu_);
  absl::btree_map<int32_t, Ref<InotifyWatch>> watches_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<const vfs::Inode*, int32_t> by_inode_ ABSL_GUARDED_BY(mu_);
  std::vector<Ref<InotifyWatch>> ended_ ABSL_GUARDED_BY(mu_);
  int32_t last_wd_ ABSL_GUARDED_BY(mu_) = 0;
  wait::WaitQueue queue_;
};

}  // namespace rampart::fs
