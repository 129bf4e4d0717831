// FileDescription: an open file (Linux's struct file), shared by descriptors that dup and fork made.
//
// Every operation is non-blocking: what would block returns EAGAIN, and the system-call layer waits (kernel/blocking.h) on
// EventRegister. Regular files and directories are always ready.
// Thread safety: any thread. Lock order: position lock → mm's locks → a file's own locks (taken inside IoDst/IoSrc callbacks only).
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "abi/fcntl.h"
#include "abi/types.h"
#include "base/ref.h"
#include "base/result.h"
#include "sentry/context/caller.h"
#include "sentry/mm/io.h"
#include "sentry/mm/mappable.h"
#include "sentry/mm/memory_manager.h"
#include "sentry/vfs/dentry.h"
#include "sentry/vfs/mount.h"
#include "sentry/wait/wait.h"

namespace rampart::vfs {

// Receives directory entries.
class DirentSink {
 public:
  virtual ~DirentSink() = default;
  // False: full, stop; the entry was not taken. `next`: the offset that continues after this entry (d_off).
  virtual bool Add(std::string_view name, uint64_t ino, FileType type, uint64_t next) = 0;
};

class FileDescription;

// Somebody who looks at a description without keeping it alive (an epoll's interest) and must let go of it before it dies.
// Thread safety: the functions that are given the lock run under LastCloseMutex(), the outermost of all locks of descriptions and epolls.
class LastCloseObserver {
 public:
  // The last reference is gone; the description is still whole. Must call RemoveObserverLocked. May not take or drop references to it.
  virtual void OnLastClose(FileDescription& file) ABSL_EXCLUSIVE_LOCKS_REQUIRED(LastCloseMutex()) = 0;
  static absl::Mutex& LastCloseMutex();
  LastCloseObserver* NextObserver() const { return next_; }   // LastCloseMutex held

 protected:
  LastCloseObserver() = default;
  virtual ~LastCloseObserver() = default;

 private:
  friend class FileDescription;
  LastCloseObserver* next_ = nullptr;
  LastCloseObserver* prev_ = nullptr;
};

class FileDescription : public virtual RefCounted, public mm::MappingIdentity {
 public:
  // `flags`: open(2)'s, with access mode; creation flags are dropped.
  FileDescription(Path path, uint32_t flags);
  ~FileDescription() override;

  const Path& path() const { return path_; }
  Ref<Inode> inode() const;   // of path(); never negative
  uint32_t flags() const { return flags_.load(std::memory_order_relaxed); }
  // Access mode 3 opens for ioctl alone: neither.
  bool readable() const { return ((flags() + 1) & 1) != 0 && (flags() & abi::kOPath) == 0; }
  bool writable() const { return ((flags() + 1) & 2) != 0 && (flags() & abi::kOPath) == 0; }
  bool nonblocking() const { return (flags() & abi::kONonblock) != 0; }
  // fcntl(F_SETFL): changes O_APPEND, O_NONBLOCK, O_DIRECT, O_NOATIME, O_ASYNC only.
  virtual Result<void> SetFlags(const Caller& caller, uint32_t flags);

  // --- bytes. Access mode is checked by the system-call layer (EBADF). `flags`: abi::kRwf….
  // Whether there is a position (lseek works); pipes and sockets have none and get Read/Write with no offset.
  virtual bool seekable() const { return true; }
  // Whether its kind can be read or written at all (Linux: FMODE_CAN_READ, FMODE_CAN_WRITE): what readv(2) and its like look at before their vector.
  virtual bool has_read() const { return true; }
  virtual bool has_write() const { return true; }
  virtual Result<size_t> PRead(Caller& caller, mm::IoDst& dst, uint64_t offset, uint32_t flags);    // default EINVAL
  // O_APPEND is the implementation's: the write goes to the end, atomically; *end (may be null) is where it ended, for the position.
  virtual Result<size_t> PWrite(Caller& caller, mm::IoSrc& src, uint64_t offset, uint32_t flags, uint64_t* end);
  // At the position, advancing it. The defaults do this over PRead/PWrite for seekable files; streams override.
  virtual Result<size_t> Read(Caller& caller, mm::IoDst& dst, uint32_t flags);
  virtual Result<size_t> Write(Caller& caller, mm::IoSrc& src, uint32_t flags);
  virtual Result<uint64_t> Seek(Caller& caller, int64_t offset, int whence);  // default: regular-file rules over inode size
  uint64_t position() const;

  // --- readiness
  virtual wait::EventMask Readiness(wait::EventMask mask);          // default: always readable and writable
  virtual void EventRegister(wait::WaitEntry& /*entry*/, wait::EventMask /*mask*/) {}
  virtual void EventUnregister(wait::WaitEntry& /*entry*/) {}
  virtual bool pollable() const { return false; }                   // epoll_ctl on others is EPERM

  // A FIFO that waits for its peer: EAGAIN until open(2) may return. Default Ok.
  virtual Result<void> FinishOpen(Caller& /*caller*/) { return Ok(); }

  // --- the rest. Defaults: ENOTTY, ENODEV, ENOTDIR, EINVAL as Linux answers for the general case.
  virtual Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument);
  // mmap: checks `args` against the open mode, and fills args.file, args.identity, may change args (ENODEV, EACCES).
  virtual Result<void> ConfigureMMap(const Caller& caller, mm::MMapArgs& args);
  virtual Result<void> Iterate(Caller& caller, DirentSink& sink);   // from position(), which it moves
  virtual Result<void> Sync(bool /*data_only*/) { return Ok(); }
  virtual Result<void> Allocate(const Caller& caller, uint32_t mode, uint64_t offset, uint64_t length);
  virtual Result<void> Truncate(Caller& caller, uint64_t size);     // default: SetAttr on the inode
  // fcntl(2) commands of particular kinds of files: F_GETPIPE_SZ, F_SETPIPE_SZ (pipes: EBADF elsewhere), F_ADD_SEALS, F_GET_SEALS (memfd). Default EINVAL.
  virtual Result<uint64_t> Fcntl(Caller& caller, uint32_t command, uint64_t argument);
  // close(2) of one descriptor of it (POSIX locks, flush errors). The last reference runs the destructor.
  virtual Result<void> OnClose(Caller& caller);
  // Extra lines in /proc/PID/fdinfo/N (epoll, eventfd, inotify…), each ending in '\n'.
  virtual std::string FdInfo() const { return ""; }

  // Observers of the end of its life; LastCloseMutex() held. REQUIRES (Add): the caller holds a reference.
  void AddObserverLocked(LastCloseObserver& observer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(LastCloseObserver::LastCloseMutex());
  void RemoveObserverLocked(LastCloseObserver& observer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(LastCloseObserver::LastCloseMutex());
  LastCloseObserver* FirstObserver() const { return observers_; }  // LastCloseMutex held

  // Whom SIGIO and its like go to (F_SETOWN, F_SETOWN_EX, F_SETSIG).
  struct AsyncOwner {
    enum Type : uint8_t { kNone, kThread, kProcess, kGroup } type = kNone;
    uint8_t signal = 0;  // 0: SIGIO
    abi::Pid pid = 0;
  };
  AsyncOwner async_owner() const { return async_owner_.load(std::memory_order_acquire); }
  void set_async_owner(AsyncOwner owner) { async_owner_.store(owner, std::memory_order_release); }

  // For the core, at open: this description counts among the inode's and the mount's writers until it goes.
  void AdoptWriteAccess() { holds_write_access_ = true; }
  // Likewise for one that only reads a regular file; leases ask for the number of those.
  void AdoptReadCount();
  // Likewise: this open made the file (fcntl's F_CREATED_QUERY).
  void MarkCreated() { created_ = true; }
  bool created() const { return created_; }

  // MappingIdentity.
  std::string MappedName() const override;
  uint64_t device() const override;
  uint64_t inode_number() const override;

 protected:
  void OnLastRef() override;           // tells the observers, then deletes
  absl::Mutex position_mu_;            // held during Read/Write/Iterate of seekable files (Linux: f_pos_lock)
  std::atomic<uint64_t> position_{0};  // written under position_mu_

 private:
  const Path path_;
  std::atomic<uint32_t> flags_;
  std::atomic<bool> observed_{false};        // once true, stays
  LastCloseObserver* observers_ = nullptr;   // guarded by LastCloseMutex()

  std::atomic<AsyncOwner> async_owner_{AsyncOwner{}};
  bool holds_write_access_ = false;  // these are set before it is shared
  bool counts_as_reader_ = false;
  bool created_ = false;
};

}  // namespace rampart::vfs
