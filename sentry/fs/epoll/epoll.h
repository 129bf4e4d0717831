// Epoll: a set of files that one waits for together (epoll(7)).
//
// Model: Linux's. An Item is the interest in one (description, descriptor number). Its wait entry sits in the file's queue; an event puts the item on
// the ready list and wakes waiters. Collecting walks the ready list, asks each file again, and puts level-triggered items back at the end.
// An item keeps its file not alive: when the last reference goes, the file tells its observers, and the items go.
// Epolls may watch epolls, up to five in a chain and never in a circle.
//
// Thread safety: any thread. Lock order: vfs::LastCloseMutex (membership of items, nesting) → Epoll::mu_ (outer before inner when nested) → what a
// file's Readiness takes; and: a file's WaitQueue → ready_mu_; then queue_ (the epoll's own waiters). ready_mu_ is never held while either is asked.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/synchronization/mutex.h"
#include "abi/epoll.h"
#include "abi/types.h"
#include "sentry/vfs/file_description.h"

namespace rampart::fs {

class Epoll final : public vfs::FileDescription {
 public:
  static Ref<Epoll> Create();

  // epoll_ctl(2). EEXIST, ENOENT, EPERM (not pollable), ELOOP, EINVAL (itself; exclusive where it may not be).
  Result<void> Add(vfs::FileDescription& file, Fd fd, abi::EpollEvent event);
  Result<void> Modify(vfs::FileDescription& file, Fd fd, abi::EpollEvent event);
  Result<void> Remove(vfs::FileDescription& file, Fd fd);

  using Events = absl::InlinedVector<abi::EpollEvent, 16>;
  // Which interest an event came from, in case it cannot be given to the application.
  struct CollectedItem {
    std::pair<vfs::FileDescription*, int32_t> key;  // only compared
    uint64_t change;
    uint32_t events;  // the interests before it was taken
  };
  using Collected = absl::InlinedVector<CollectedItem, 16>;
  // Appends up to `max` events that are there now, and where they came from.
  void Collect(size_t max, Events& events, Collected& collected);
  // Undoes Collect for items that were not changed since: ready again, a one-shot armed again.
  void PutBack(std::span<const CollectedItem> items);

  bool seekable() const override { return false; }
  bool has_read() const override { return false; }
  bool has_write() const override { return false; }
  bool pollable() const override { return true; }
  Result<size_t> Read(Caller&, mm::IoDst&, uint32_t) override { return Errno::kEINVAL; }
  Result<size_t> Write(Caller&, mm::IoSrc&, uint32_t) override { return Errno::kEINVAL; }
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return uint64_t{0}; }  // Linux: noop_llseek
  Result<uint64_t> Ioctl(Caller&, mm::UserMemory&, uint32_t, uint64_t) override { return Errno::kEINVAL; }  // Linux: ep_eventpoll_ioctl
  wait::EventMask Readiness(wait::EventMask mask) override;
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override { queue_.Register(entry, mask); }
  void EventUnregister(wait::WaitEntry& entry) override { queue_.Unregister(entry); }
  std::string FdInfo() const override;

  // Waiters in epoll_wait: one event wakes one of them.
  void RegisterWaiter(wait::WaitEntry& entry) { queue_.Register(entry, abi::kPollIn, /*exclusive=*/true); }

 protected:
  ~Epoll() override;

 private:
  class Item;
  friend class Item;
  using Key = std::pair<vfs::FileDescription*, int32_t>;
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  explicit Epoll(vfs::Path path);

  Result<void> CheckNesting(vfs::FileDescription& file) ABSL_EXCLUSIVE_LOCKS_REQUIRED(vfs::LastCloseObserver::LastCloseMutex());
  int DepthBelow(int budget);
  int DepthAbove(int budget) ABSL_EXCLUSIVE_LOCKS_REQUIRED(vfs::LastCloseObserver::LastCloseMutex());
  // Takes an item out for good. LastCloseMutex and mu_ held.
  void DropLocked(Item& item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_, vfs::LastCloseObserver::LastCloseMutex());
  void Ready(Item& item);
  void PushLocked(Item& item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(ready_mu_);
  Item* PopReady();
  void UnlinkLocked(Item& item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(ready_mu_);

  mutable absl::Mutex mu_;
  absl::flat_hash_map<Key, std::unique_ptr<Item>> items_ ABSL_GUARDED_BY(mu_);
  uint64_t changes_ ABSL_GUARDED_BY(mu_) = 0;

  absl::Mutex ready_mu_;
  Item* ready_head_ ABSL_GUARDED_BY(ready_mu_) = nullptr;
  Item* ready_tail_ ABSL_GUARDED_BY(ready_mu_) = nullptr;
  size_t ready_count_ ABSL_GUARDED_BY(ready_mu_) = 0;

  wait::WaitQueue queue_;
};

}  // namespace rampart::fs
