// EventFd: a counter as a file (eventfd(2)).
// Thread safety: any thread. Lock order: mu_ is a leaf; the wait queue is told without it.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/vfs/file_description.h"

namespace rampart::fs {

class EventFd final : public vfs::FileDescription {
 public:
  // `flags`: O_NONBLOCK.
  static Ref<EventFd> Create(uint64_t initial, bool semaphore, uint32_t flags);

  bool seekable() const override { return false; }
  bool pollable() const override { return true; }
  // EINVAL: less than 8 bytes; EAGAIN: the counter is 0.
  Result<size_t> Read(Caller& caller, mm::IoDst& dst, uint32_t flags) override;
  // EINVAL: not 8 bytes, or 2^64-1; EAGAIN: the counter would reach 2^64-1.
  Result<size_t> Write(Caller& caller, mm::IoSrc& src, uint32_t flags) override;
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return uint64_t{0}; }  // Linux: noop_llseek
  wait::EventMask Readiness(wait::EventMask mask) override;
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override { queue_.Register(entry, mask); }
  void EventUnregister(wait::WaitEntry& entry) override { queue_.Unregister(entry); }
  std::string FdInfo() const override;
  // From inside the kernel (Linux: eventfd_signal): adds, as far as the counter goes.
  void Signal(uint64_t n);

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  EventFd(vfs::Path path, uint32_t flags, uint64_t initial, bool semaphore)
      : FileDescription(std::move(path), flags), semaphore_(semaphore), count_(initial) {}

  const bool semaphore_;
  mutable absl::Mutex mu_;
  uint64_t count_ ABSL_GUARDED_BY(mu_);
  wait::WaitQueue queue_;
};

}  // namespace rampart::fs
