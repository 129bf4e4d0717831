// Pipe: the bytes and packets of one pipe(7) or FIFO, with its counts of readers and writers. No descriptors, no names: pipe_file.h has those.
//
// Model: Linux's. A ring of buffers of at most one page each; the capacity is a number of buffers, not of bytes. A write adds to the last
// buffer when its odd end fits there, else takes new buffers; so a write of at most PIPE_BUF (one page) takes one buffer or none, which
// makes it atomic. In packet mode (O_DIRECT) buffers are never added to, and a read takes exactly one. Pages are ordinary kernel memory, taken
// on demand, and the last two are kept for the next writes (a ping-pong allocates nothing).
// Thread safety: any thread. Lock order: mm's locks → mu_ (taken in IoDst/IoSrc callbacks). The wait queue is told without mu_.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/ref.h"
#include "base/result.h"
#include "sentry/mm/io.h"
#include "sentry/wait/wait.h"

namespace rampart::fs {

inline constexpr size_t kPipeBuf = 4096;             // PIPE_BUF: writes up to this are atomic
inline constexpr uint32_t kDefaultPipeSlots = 16;    // 64 KiB
inline constexpr uint32_t kMaxPipeSlots = 256;       // 1 MiB: /proc/sys/fs/pipe-max-size

class Pipe : public RefCounted {
 public:
  Pipe();

  // Takes what is there. EAGAIN: nothing there but writers; 0: nothing there and no writer (end of file). EFAULT.
  Result<size_t> Read(mm::IoDst& dst);
  // Adds what fits. `packet`: packet mode. EAGAIN: no room (for a write of at most PIPE_BUF: for all of it); EPIPE: no reader.
  Result<size_t> Write(mm::IoSrc& src, bool packet);
  // Copies the first bytes without taking them (tee): as Read otherwise.
  Result<size_t> Peek(std::span<std::byte> bytes);
  // Bytes that a splice may add. EAGAIN: none; EPIPE: no reader.
  Result<size_t> Room();
  // What splice, tee and vmsplice move: bytes in pieces of at most a page, each of which is a buffer, which nothing is added to.
  struct Piece {
    uint32_t length;
    bool packet;
  };
  // Takes (`keep`: copies) what there is, of at most `buffers` buffers; packets are not told from other bytes. Errors as Read.
  Result<size_t> TakePieces(std::span<std::byte> bytes, size_t buffers, bool keep, std::vector<Piece>& pieces);
  // Adds bytes behind (or, given back, before) all others, beyond the capacity if need be: what splice has taken elsewhere must not be lost.
  enum class Where : uint8_t { kFront, kBack };
  // REQUIRES: the pieces are those of `bytes`.
  void Put(std::span<const std::byte> bytes, std::span<const Piece> pieces, Where where);
  // Cuts `bytes`, the first of which lies at `offset` in its page, at the ends of pages.
  static void CutAtPages(size_t bytes, uint64_t offset, std::vector<Piece>& pieces);

  // Readiness as the end of the given rights sees it. `hangup_from`: HUP only if a writer has come since (FIFO opened before any writer).
  wait::EventMask Readiness(bool reader, bool writer, uint64_t hangup_from);
  wait::WaitQueue& queue() { return queue_; }

  size_t bytes();                        // FIONREAD
  uint64_t capacity();                   // F_GETPIPE_SZ
  // F_SETPIPE_SZ: rounds up to a power of two of pages. EBUSY: holds more than that; EPERM above 1 MiB unless `privileged`; EINVAL: > 2 GiB.
  Result<uint64_t> SetCapacity(uint64_t bytes, bool privileged);

  // Ends. The counters count openings ever made, for the rendezvous of FIFOs.
  void AddEnds(bool reader, bool writer);
  void RemoveEnds(bool reader, bool writer);
  struct Ends {
    uint32_t readers, writers;
    uint64_t reader_openings, writer_openings;
  };
  Ends ends();

 protected:
  ~Pipe() override;

 private:
  using Page = std::unique_ptr<std::byte[]>;
  struct Buffer {
    Page page;
    uint32_t start = 0;
    uint32_t length = 0;
    bool packet = false;
    bool merges = false;  // a later write may add to it
  };

  uint32_t used() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return count_ + reserved_; }
  bool full() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return used() >= slots_; }
  Buffer& At(uint32_t i) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return ring_[(first_ + i) % ring_.size()]; }
  bool CanMerge(size_t chars) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Page TakePage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropFirst() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  size_t AppendLocked(std::span<const iovec> segments, size_t total, bool packet) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  size_t WholePieces(size_t offered, size_t wanted, bool packet) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  size_t TakeLocked(std::span<const iovec> segments, size_t wanted, bool* packet_done) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> CheckRoom(size_t n, bool packet);
  Result<size_t> WriteSmall(mm::IoSrc& src, size_t n, bool packet);
  Result<size_t> WriteLarge(mm::IoSrc& src, bool packet);

  wait::WaitQueue queue_;
  absl::Mutex mu_;
  std::vector<Buffer> ring_ ABSL_GUARDED_BY(mu_);   // slots_ entries, or more after Put
  uint32_t first_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t count_ ABSL_GUARDED_BY(mu_) = 0;         // buffers in use
  uint32_t reserved_ ABSL_GUARDED_BY(mu_) = 0;      // buffers promised to writes that are still copying
  uint32_t slots_ ABSL_GUARDED_BY(mu_);
  Page spare_[2] ABSL_GUARDED_BY(mu_);
  Ends ends_ ABSL_GUARDED_BY(mu_) = {};
};

}  // namespace rampart::fs
