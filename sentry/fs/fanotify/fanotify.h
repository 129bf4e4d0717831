// Fanotify: an instance of fanotify(7) of the class that only notifies: marks on inodes, mounts and filesystems, and the queue of events that they
// made. Each event, when it is read, gives its reader a descriptor of the object.
//
// Model. The instance observes every path event of the sandbox while it has marks (vfs/path_observer.h) and compares it with them. An inode
// mark keeps its Path alive. An event keeps the Path of its object, which is opened without telling anybody when the event is read.
// Thread safety: any thread. Lock order: the observers' lock → mu_; the wait queue is told without mu_. No Path is dropped under mu_.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/vfs/file_description.h"
#include "sentry/vfs/path_observer.h"

namespace rampart::fs {

// fanotify_init(2), fanotify_mark(2).
inline constexpr uint32_t kFanCloexec = 1, kFanNonblock = 2, kFanClassContent = 4, kFanClassPreContent = 8, kFanUnlimitedQueue = 0x10,
                          kFanUnlimitedMarks = 0x20;
inline constexpr uint32_t kFanMarkAdd = 1, kFanMarkRemove = 2, kFanMarkDontFollow = 4, kFanMarkOnlydir = 8, kFanMarkMount = 0x10,
                          kFanMarkIgnoredMask = 0x20, kFanMarkIgnoredSurvModify = 0x40, kFanMarkFlush = 0x80, kFanMarkFilesystem = 0x100;
inline constexpr uint32_t kFanAccess = 1, kFanModify = 2, kFanCloseWrite = 8, kFanCloseNoWrite = 0x10, kFanOpen = 0x20, kFanQOverflow = 0x4000,
                          kFanEventOnChild = 0x08000000, kFanOnDir = 0x40000000;
inline constexpr uint32_t kFanEvents = kFanAccess | kFanModify | kFanCloseWrite | kFanCloseNoWrite | kFanOpen;

class Fanotify final : public vfs::FileDescription, private vfs::PathObserver {
 public:
  // `flags`: fanotify_init's. `event_flags`: what the descriptors of events are opened with.
  static Ref<Fanotify> Create(uint32_t flags, uint32_t event_flags);

  // fanotify_mark(2), checked. `kind`: 0 (inode), kFanMarkMount or kFanMarkFilesystem. ENOSPC; Remove: ENOENT.
  Result<void> Mark(const vfs::Path& path, uint32_t kind, uint32_t flags, uint32_t mask);
  Result<void> Unmark(const vfs::Path& path, uint32_t kind, uint32_t flags, uint32_t mask);
  void Flush(uint32_t kind);

  bool seekable() const override { return false; }
  bool pollable() const override { return true; }
  // Whole events only. EINVAL: the buffer is too small for one; EAGAIN; what opening the object or the descriptor table says.
  Result<size_t> Read(Caller& caller, mm::IoDst& dst, uint32_t flags) override;
  Result<size_t> Write(Caller&, mm::IoSrc&, uint32_t) override { return Errno::kEINVAL; }
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return uint64_t{0}; }  // Linux: noop_llseek
  wait::EventMask Readiness(wait::EventMask mask) override;
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override { queue_.Register(entry, mask); }
  void EventUnregister(wait::WaitEntry& entry) override { queue_.Unregister(entry); }
  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) override;
  std::string FdInfo() const override;

 protected:
  ~Fanotify() override;

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  struct MarkEntry {
    uint32_t kind;
    const void* object;  // Inode, Mount or Filesystem
    vfs::Path path;      // keeps it alive
    uint32_t mask = 0, ignored = 0;
    bool survives_modify = false;
  };
  struct Event {
    std::optional<vfs::Path> path;  // none: the queue was full
    uint32_t mask;
    abi::Pid pid;
  };
  Fanotify(vfs::Path path, uint32_t flags, uint32_t init_flags, uint32_t event_flags);
  void OnPathEvent(const vfs::Path& path, uint32_t mask) override;
  uint32_t WantedLocked(const vfs::Path& path, uint32_t mask) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<MarkEntry>::iterator FindLocked(uint32_t kind, const void* object) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<size_t> ReadOne(Caller& caller, mm::IoDst& dst, const Event& event);

  const uint32_t init_flags_, event_flags_;
  mutable absl::Mutex mu_;
  std::vector<MarkEntry> marks_ ABSL_GUARDED_BY(mu_);
  std::deque<Event> events_ ABSL_GUARDED_BY(mu_);
  std::atomic<bool> observes_{false};
  absl::Mutex observe_mu_;  // of beginning to observe; outermost
  wait::WaitQueue queue_;
};

}  // namespace rampart::fs
