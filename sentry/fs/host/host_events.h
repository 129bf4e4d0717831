// Readiness of donated host descriptors: one epoll instance and one thread for all of them, started on first use.
//
// Model. A descriptor is added to the epoll instance (edge-triggered) when somebody starts to wait for it, and stays until an event finds
// nobody waiting. An edge means "look again", so nothing is lost: who waits registers first, then tries.
// Thread safety: any thread. Lock order: poller lock → WaitQueue::mu_.
// Host calls: epoll_create1, epoll_ctl, epoll_wait, ppoll.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "sentry/wait/wait.h"

namespace rampart::fs {

class HostEvents {
 public:
  // `fd` is not owned and outlives this object.
  explicit HostEvents(int fd) : fd_(fd) {}
  ~HostEvents();

  wait::EventMask Ready(wait::EventMask mask) const;  // poll(2) without waiting
  void Register(wait::WaitEntry& entry, wait::EventMask mask);
  void Unregister(wait::WaitEntry& entry) { queue_.Unregister(entry); }
  wait::WaitQueue& queue() { return queue_; }

 private:
  friend class HostPoller;
  const int fd_;
  wait::WaitQueue queue_;
  uint64_t id_ = 0;          // guarded by the poller's lock; 0: not in the epoll instance
  bool unpollable_ = false;  // guarded by the poller's lock; regular files and the like are always ready
};

// Starts the thread and opens the epoll instance now rather than on first use: boot calls it before the seccomp filter.
Result<void> StartHostPoller();

}  // namespace rampart::fs
