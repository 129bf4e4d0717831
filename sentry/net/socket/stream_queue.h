// StreamQueue: one direction of a stream connection: bytes that one socket has written and the other has not read.
//
// Model. A ring that grows up to the capacity, addressed by positions that only grow. Beside the bytes: marks, where descriptions came along
// (a read stops at the end of their bytes, as unix(7) says), runs of one writer's credentials, and TCP's urgent byte. A connection is two of
// these; a socket's rx is its peer's tx. Each has its own lock: the two directions and different connections do not meet.
// Thread safety: any thread. Lock order: mm's locks → InFlightMutex (only when descriptions move) → mu_. Sides are told without it.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <span>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "sentry/net/socket/in_flight.h"
#include "sentry/net/socket/message.h"
#include "sentry/net/socket/side.h"
#include "sentry/time/timer_queue.h"

namespace rampart::net {

// The queue whose thread shows what has been held back for too long. Set once, before there are sockets; without it nothing does.
void SetStreamTimers(time::TimerQueue& timers);

class StreamQueue final : public RefCounted {
 public:
  // How it behaves when the reader is gone: a UNIX socket's writer gets EPIPE; TCP's first write is answered by a reset.
  enum class Style : uint8_t { kUnix, kTcp };
  // The capacity has a part of the writer's buffer and one of the reader's: of bytes for TCP, of what they cost (buffer_cost.h) for UNIX.
  StreamQueue(Style style, Ref<Side> reader, Ref<Side> writer, size_t writer_part, size_t reader_part)
      : style_(style), reader_(std::move(reader)), writer_(std::move(writer)), writer_part_(writer_part), reader_part_(reader_part) {}

  struct WriteOptions {
    bool urgent = false;      // the last byte is TCP's urgent one
    bool hold = false;        // TCP_CORK, MSG_MORE: what does not fill a segment waits for more, or for Push, at most kHoldTime
    uint64_t file_limit = 0;  // RLIMIT_NOFILE, for descriptions in flight
  };
  // Adds what fits, and `ancillary` with the first byte (its files are then gone from it). EAGAIN, EPIPE, ETOOMANYREFS.
  Result<size_t> Write(mm::IoSrc& src, Ancillary& ancillary, const WriteOptions& options);
  // Shows the reader what is held back.
  void Push();
  struct ReadOptions {
    bool peek = false;
    bool discard = false;           // take without copying: TCP's MSG_TRUNC
    bool split_writers = false;     // do not join bytes of different writers: SO_PASSCRED
    bool urgent_inline = false;     // SO_OOBINLINE
  };
  // Adds to `result`. EAGAIN; the reader side's error; nothing and no error: end of file.
  Result<void> Read(mm::IoDst& dst, ReadOptions options, RecvResult& result);
  // recv(MSG_OOB). EINVAL: no urgent byte, or already taken.
  Result<std::byte> TakeUrgent(bool peek);
  bool AtUrgentMark() const;

  void SetWriterPart(size_t bytes) { SetPart(&StreamQueue::writer_part_, bytes); }
  void SetReaderPart(size_t bytes) { SetPart(&StreamQueue::reader_part_, bytes); }
  void CloseWriter();               // shutdown(SHUT_WR), close: end of file after the bytes
  void ShutReader();                // shutdown(SHUT_RD)
  // TCP: the reader is shut in both directions, and answers more bytes with a reset.
  void RefuseBytes();
  // The reader's socket is gone. True: bytes were unread (and are dropped).
  bool CloseReader();
  // The writer resets the connection: the reader may take what is there, then gets its side's error, then end of file.
  void Reset();
  // The writer can send no more (the other direction was reset).
  void Break();

  struct State {
    size_t bytes;          // to read
    uint64_t held;         // beyond those, not to be read yet
    size_t cost;           // UNIX: of what is not read
    bool writable;         // as poll(2) shows it
    bool writer_done;      // closed or reset by the writer
    bool reset;
    bool reader_shut;
    bool reader_gone;
    bool broken;           // see Break
    bool urgent;           // an urgent byte waits: POLLPRI
    uint64_t written, taken;  // bytes since the beginning
  };
  State state() const;

  void ForEachFile(absl::FunctionRef<void(vfs::FileDescription&)> f) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(InFlightMutex());
  // Moves the descriptions out, for somebody who drops them without locks.
  void TakeFiles(Files& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(InFlightMutex());

 protected:
  ~StreamQueue() override;

 private:
  struct Mark {
    uint64_t start, end;
    Ancillary ancillary;
  };
  struct Run {
    uint64_t start;
    abi::Ucred credentials;
  };
  // One of Linux's buffers: counted until all of its bytes are read.
  struct Piece {
    uint64_t end;
    size_t cost;
  };
  struct Putting;
  struct Taking;
  size_t used() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return static_cast<size_t>(tail_ - head_); }
  uint64_t shown() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return tail_ - held_; }  // how far the reader sees
  // Of n bytes that have just come, holds back what does not fill a segment. 0: everything is shown.
  void Hold(size_t n) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  size_t capacity() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return writer_part_ + reader_part_; }
  void SetPart(size_t StreamQueue::* part, size_t bytes);
  bool WritableLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> CheckWrite() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool FullLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<size_t> Append(std::span<const iovec> segments, Putting& putting);
  size_t RoomFor(size_t bytes, Putting& putting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EnsureRing(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CopyIn(std::span<const iovec> segments, size_t n) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CopyOut(uint64_t from, std::span<const iovec> segments, size_t n) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<size_t> Take(std::span<const iovec> segments, size_t room, Taking& taking);
  Result<size_t> TakeLocked(std::span<const iovec> segments, size_t room, Taking& taking) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> TakeBeyond(Taking& taking);
  size_t LimitByMarks(uint64_t at, size_t n, Taking& taking) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> NothingThere() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Advance(uint64_t to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Style style_;
  const Ref<Side> reader_, writer_;
  std::atomic<size_t> marks_count_{0};  // of marks_; whether a read may meet descriptions
  mutable absl::Mutex mu_;
  std::unique_ptr<char[]> ring_ ABSL_GUARDED_BY(mu_);
  size_t ring_size_ ABSL_GUARDED_BY(mu_) = 0;  // a power of two, or 0
  uint64_t head_ ABSL_GUARDED_BY(mu_) = 0, tail_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t held_ ABSL_GUARDED_BY(mu_) = 0;     // bytes before tail_ that the reader does not see yet
  size_t writer_part_ ABSL_GUARDED_BY(mu_), reader_part_ ABSL_GUARDED_BY(mu_);
  std::deque<Mark> marks_ ABSL_GUARDED_BY(mu_);
  std::deque<Run> runs_ ABSL_GUARDED_BY(mu_);
  std::deque<Piece> pieces_ ABSL_GUARDED_BY(mu_);
  size_t cost_ ABSL_GUARDED_BY(mu_) = 0;  // of pieces_
  std::optional<uint64_t> urgent_ ABSL_GUARDED_BY(mu_);   // its position
  bool urgent_taken_ ABSL_GUARDED_BY(mu_) = false;
  bool writer_done_ ABSL_GUARDED_BY(mu_) = false, reset_ ABSL_GUARDED_BY(mu_) = false;
  bool reader_shut_ ABSL_GUARDED_BY(mu_) = false, reader_gone_ ABSL_GUARDED_BY(mu_) = false, broken_ ABSL_GUARDED_BY(mu_) = false;
  bool refuses_ ABSL_GUARDED_BY(mu_) = false;
  mutable bool no_space_ ABSL_GUARDED_BY(mu_) = false;    // a writer met a full queue: tell it
  std::unique_ptr<time::Timer> push_timer_ ABSL_GUARDED_BY(mu_);  // null until something is held back; last: its callback uses the rest
};

}  // namespace rampart::net
