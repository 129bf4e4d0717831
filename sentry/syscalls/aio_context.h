// AioContext: one context of io_setup(2): its ring in the application's memory, and the requests that are not done yet.
//
// Model. Reads, writes and synchronisation are carried out by io_submit(2) on the caller's thread (as Linux does for files whose pages are there, and
// for pipes); what waits is IOCB_CMD_POLL: an entry on the file's wait queue, whose OnEvent only leaves a note. The timer thread then asks the file
// and completes the request. Completing writes an event into the ring, whose pages the context holds itself: no user memory is
// touched, and it does not matter whether the application still maps it.
// Thread safety: any thread. Lock order: a WaitQueue's lock → notes_mu_ (leaf); mu_ is a leaf. Ownership: the space's table (AioTable), requests,
// and whoever works with it.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "abi/aio.h"
#include "sentry/fs/eventfd/eventfd.h"
#include "sentry/kernel/kernel.h"
#include "sentry/mm/memory_manager.h"
#include "sentry/time/timer_queue.h"
#include "sentry/vfs/file_description.h"

namespace rampart::syscalls {

// The pages of a ring, and what mmap makes of them.
class AioRing final : public mm::Mappable, public mm::MappingIdentity {
 public:
  static Result<Ref<AioRing>> Create(Ref<mm::MemoryFile> memory, uint64_t length);
  Result<mm::Translation> Translate(mm::FileRange required, mm::FileRange optional, bool write) override;
  Result<void> AddMapping(mm::MappingSpace&, mm::FileRange, bool, bool) override { return Ok(); }
  void RemoveMapping(mm::MappingSpace&, mm::FileRange, bool, bool) override {}
  Result<void> Msync(mm::FileRange) override { return Ok(); }
  std::string MappedName() const override { return "/[aio] (deleted)"; }
  uint64_t device() const override { return 1; }
  uint64_t inode_number() const override { return 1; }
  std::byte* At(uint64_t offset) const { return memory_->At(pages_.start + offset); }
  uint64_t length() const { return pages_.length(); }

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  AioRing(Ref<mm::MemoryFile> memory, mm::FileRange pages) : memory_(std::move(memory)), pages_(pages) {}
  ~AioRing() override { memory_->DecRef(pages_); }
  const Ref<mm::MemoryFile> memory_;
  const mm::FileRange pages_;
};

// What a completion needs to know of its request.
struct AioRequest {
  uint64_t data = 0, object = 0;
  RefPtr<fs::EventFd> result_fd;
};

class AioContext final : public RefCounted {
 public:
  // `most`: what io_setup was asked for, counted against fs.aio-max-nr until the context goes. REQUIRES: counted already.
  static Result<Ref<AioContext>> Create(kernel::Kernel& kernel, uint32_t most);

  const Ref<AioRing>& ring() const { return ring_; }
  UserAddr address() const { return address_; }
  void Publish(UserAddr address, uint32_t id);  // before it is shared

  // Room for one more event. EAGAIN.
  Result<void> Reserve();
  // Gives the room back: the request was refused.
  void Unreserve();
  // REQUIRES: reserved.
  void Complete(const AioRequest& request, int64_t result);
  // Waits for `events` of the file, at most until Kill; completes the request. REQUIRES: reserved.
  void Poll(Ref<vfs::FileDescription> file, uint32_t events, AioRequest request);
  // io_cancel(2): the request completes at once with result 0. False: there is none that waits.
  bool Cancel(uint64_t object);

  // Takes up to `most` events. `first`: the ring's head before.
  std::vector<abi::IoEvent> Take(size_t most, uint32_t& first);
  // Puts them back, unless others have gone on.
  void PutBack(uint32_t first, size_t count);
  wait::WaitQueue& queue() { return queue_; }
  bool dead() const { return dead_.load(std::memory_order_acquire); }
  bool idle() const;  // nothing is in flight

  // No new requests, and those that wait are forgotten. Idempotent.
  void Kill();

 private:
  class PollRequest;
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  AioContext(kernel::Kernel& kernel, Ref<AioRing> ring, uint32_t most);
  ~AioContext() override;

  uint32_t HeadLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint32_t UnreadLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Note(PollRequest& request);
  void Flush();
  // Takes it out of polls_. False: somebody else has.
  bool Claim(const PollRequest& request);
  bool Waits(const PollRequest& request) const;

  kernel::Kernel& kernel_;
  const Ref<AioRing> ring_;
  const uint32_t most_;
  const uint32_t count_;  // events in the ring
  UserAddr address_ = 0;  // set by Publish
  std::atomic<bool> dead_{false};
  wait::WaitQueue queue_;  // told when an event has come, or the context has gone

  mutable absl::Mutex mu_;
  uint32_t tail_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<Ref<PollRequest>> polls_ ABSL_GUARDED_BY(mu_);
  absl::Mutex notes_mu_;
  std::vector<Ref<PollRequest>> notes_ ABSL_GUARDED_BY(notes_mu_);
  time::Timer timer_;  // last: its callback uses the rest
};

// The contexts of one address space. Thread safety: any thread; mu_ is a leaf.
class AioTable final : public mm::SpaceCompanion {
 public:
  static RefPtr<AioTable> Of(mm::MemoryManager& mm);
  // Null: the space has gone, or it never had one.
  static RefPtr<AioTable> Ensure(mm::MemoryManager& mm);
  uint32_t Add(const Ref<AioContext>& context, UserAddr address);
  RefPtr<AioContext> Find(uint32_t id, UserAddr address) const;
  // Null: somebody else was quicker.
  RefPtr<AioContext> Remove(uint32_t id, UserAddr address);
  void SpaceGone() override;

 private:
  mutable absl::Mutex mu_;
  std::map<uint32_t, Ref<AioContext>> contexts_ ABSL_GUARDED_BY(mu_);
  bool gone_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace rampart::syscalls
