#include "sentry/net/socket/stream_queue.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "sentry/mm/io.h"
#include "sentry/net/socket/buffer_cost.h"
#include "sentry/net/socket/in_flight.h"

namespace rampart::net {
namespace {

constexpr size_t kSmallestRing = 4096, kKeptRing = 65536;
constexpr uint64_t kSegment = 65483;  // lo's, of TCP
constexpr Nanos kHoldTime = 200'000'000;

time::TimerQueue* g_timers = nullptr;  // set once, before there are sockets

size_t TotalOf(std::span<const iovec> segments) {
  size_t total = 0;
  for (const iovec& s : segments) total += s.iov_len;
  return total;
}

}  // namespace

void SetStreamTimers(time::TimerQueue& timers) { g_timers = &timers; }

// One Read, over the pieces that its destination comes in.
struct StreamQueue::Taking {
  ReadOptions options;
  RecvResult& result;
  uint64_t peeked = 0;                   // how far a peek has come beyond head_
  bool stop = false;                     // at a boundary: nothing more in this read
  bool has_in_flight_lock = false;
  bool again_with_lock = false;          // met descriptions without the lock
  bool tell_writer = false;
  std::optional<abi::Ucred> credentials{};
};

// One Write, over the pieces that its source comes in.
struct StreamQueue::Putting {
  Ancillary& ancillary;
  const WriteOptions& options;
  size_t left;          // of all its bytes
  size_t begun = 0;     // UNIX: of these, what is paid for as part of the last buffer
};

StreamQueue::~StreamQueue() {
  if (marks_count_.load(std::memory_order_acquire) == 0) return;
  Files dropped;
  absl::MutexLock in_flight(&InFlightMutex());
  TakeFiles(dropped);
  // Normally none: whoever closes the reader has taken them. `dropped` goes after the lock, declared before it.
}

bool StreamQueue::WritableLocked() const {
  // A quarter (UNIX) or two thirds (TCP) full, as unix_writable and sk_stream_is_writeable have it.
  return style_ == Style::kUnix ? cost_ <= capacity() / 4 : used() <= capacity() / 3 * 2;
}

Result<void> StreamQueue::CheckWrite() const {
  if (writer_done_ || broken_) return Errno::kEPIPE;
  if (style_ == Style::kUnix && (reader_shut_ || reader_gone_)) return Errno::kEPIPE;
  return Ok();
}

void StreamQueue::EnsureRing(size_t bytes) {
  if (bytes <= ring_size_) return;
  const size_t size = std::max(kSmallestRing, std::bit_ceil(bytes));
  auto grown = std::make_unique_for_overwrite<char[]>(size);
  for (uint64_t at = head_; at < tail_;) {
    const size_t from = at & (ring_size_ - 1), to = at & (size - 1);
    const size_t n = std::min({static_cast<size_t>(tail_ - at), ring_size_ - from, size - to});
    std::memcpy(grown.get() + to, ring_.get() + from, n);
    at += n;
  }
  ring_ = std::move(grown);
  ring_size_ = size;
}

void StreamQueue::CopyIn(std::span<const iovec> segments, size_t n) {
  uint64_t at = tail_;
  for (const iovec& s : segments) {
    const char* from = static_cast<const char*>(s.iov_base);
    for (size_t left = std::min(n, s.iov_len); left > 0;) {
      const size_t to = at & (ring_size_ - 1), some = std::min(left, ring_size_ - to);
      mm::CopyAppMemory(ring_.get() + to, from, some);
      from += some, at += some, left -= some, n -= some;
    }
  }
}

void StreamQueue::CopyOut(uint64_t at, std::span<const iovec> segments, size_t n) const {
  for (const iovec& s : segments) {
    char* to = static_cast<char*>(s.iov_base);
    for (size_t left = std::min(n, s.iov_len); left > 0;) {
      const size_t from = at & (ring_size_ - 1), some = std::min(left, ring_size_ - from);
      mm::CopyAppMemory(to, ring_.get() + from, some);
      to += some, at += some, left -= some, n -= some;
    }
  }
}

bool StreamQueue::FullLocked() const { return (style_ == Style::kUnix ? cost_ : used()) >= capacity(); }

// How many of the next bytes of a write are taken. Linux begins a buffer as long as there is any room.
size_t StreamQueue::RoomFor(size_t bytes, Putting& putting) {
  if (style_ == Style::kTcp) return std::min(bytes, capacity() - std::min(capacity(), used()));
  const size_t largest = std::min(kStreamPiece, std::max<size_t>(capacity() / 2, 128) - 64);
  size_t n = 0;
  while (n < bytes) {
    if (putting.begun == 0) {
      if (FullLocked()) break;
      putting.begun = std::min(putting.left - n, largest);
      pieces_.push_back({tail_ + n, StreamPieceCost(putting.begun)});
      cost_ += pieces_.back().cost;
    } else if (pieces_.empty() || pieces_.back().end != tail_ + n) {  // another writer came between
      pieces_.push_back({tail_ + n, 0});
    }
    const size_t some = std::min(putting.begun, bytes - n);
    pieces_.back().end += some;
    putting.begun -= some;
    n += some;
  }
  putting.left -= n;
  return n;
}

Result<size_t> StreamQueue::Append(std::span<const iovec> segments, Putting& putting) {
  Ancillary& ancillary = putting.ancillary;
  const bool with_files = !ancillary.files.empty();
  const MaybeInFlightLock in_flight(with_files);
  absl::MutexLock lock(&mu_);
  TRY(CheckWrite());
  const size_t total = TotalOf(segments);
  if (style_ == Style::kTcp && (reader_gone_ || refuses_)) {  // the peer answers with a reset
    broken_ = true;
    if (!reader_gone_) reader_->SetError(Errno::kECONNRESET);
    writer_->SetError(Errno::kEPIPE);
    return total;
  }
  if (FullLocked() && putting.begun == 0) {
    no_space_ = true;
    return Errno::kEAGAIN;
  }
  if (with_files) {
    InFlightMutex().AssertHeld();
    TRY(CheckInFlight(ancillary, putting.options.file_limit));
  }
  const size_t n = RoomFor(total, putting);
  if (n < total) no_space_ = true;
  EnsureRing(used() + n);
  CopyIn(segments, n);
  if (style_ == Style::kUnix) {
    const abi::Ucred& c = ancillary.credentials;
    const bool same = !runs_.empty() && std::memcmp(&runs_.back().credentials, &c, sizeof(c)) == 0;
    if (!same) runs_.push_back({tail_, c});
  }
  if (with_files) {
    InFlightMutex().AssertHeld();
    CountIn(ancillary);
    marks_.push_back({tail_, tail_ + n, std::move(ancillary)});
    ancillary.files.clear();
    ancillary.credentials = marks_.back().ancillary.credentials;
    marks_count_.store(marks_.size(), std::memory_order_release);
  }
  tail_ += n;
  // As tcp_push: a sender that must wait for space has sent all that it could.
  Hold(putting.options.hold && n == total ? n : 0);
  return n;
}

void StreamQueue::Hold(size_t n) {
  const uint64_t whole = held_ + n, held = n == 0 ? 0 : whole % kSegment;
  const bool anew = held_ == 0 || whole >= kSegment;
  held_ = held;
  if (held == 0 || !anew || g_timers == nullptr) return;
  if (push_timer_ == nullptr) push_timer_ = std::make_unique<time::Timer>(*g_timers, [this] { Push(); });
  push_timer_->Arm(Deadline::After(kHoldTime));
}

void StreamQueue::Push() {
  {
    absl::MutexLock lock(&mu_);
    if (held_ == 0) return;
    held_ = 0;
  }
  reader_->Notify(kIn);
}

Result<size_t> StreamQueue::Write(mm::IoSrc& src, Ancillary& ancillary, const WriteOptions& options) {
  {
    // Before the bytes are looked at, as Linux does: a fault in them is told only where they would be taken.
    absl::MutexLock lock(&mu_);
    TRY(CheckWrite());
    if (src.remaining() == 0) return size_t{0};
    if (FullLocked() && !(style_ == Style::kTcp && (reader_gone_ || refuses_))) {
      no_space_ = true;
      return Errno::kEAGAIN;
    }
  }
  Putting putting{ancillary, options, src.remaining()};
  const Result<size_t> moved = src.Drain(src.remaining(), [&](std::span<const iovec> segments) { return Append(segments, putting); });
  if (!moved.ok() || *moved == 0) return moved;
  bool dead = false, silent = false;
  {
    absl::MutexLock lock(&mu_);
    if (options.urgent && src.remaining() == 0 && tail_ > head_) urgent_ = tail_ - 1, urgent_taken_ = false;
    silent = held_ >= *moved;
    dead = broken_;
  }
  if (!silent) reader_->Notify(options.urgent ? kIn | abi::kPollPri : kIn);
  if (dead) writer_->Notify(kIn | kOut | abi::kPollErr | abi::kPollHup | abi::kPollRdHup);
  return moved;
}

Result<void> StreamQueue::NothingThere() {
  if (style_ == Style::kTcp && writer_done_ && !reset_) return Ok();
  if (const Errno error = reader_->TakeError(); error != Errno{}) return error;
  if (writer_done_ || reader_shut_) return Ok();
  return Errno::kEAGAIN;
}

// Descriptions that begin within [at, at + n) end the read with their bytes, and are handed over.
size_t StreamQueue::LimitByMarks(uint64_t at, size_t n, Taking& taking) {
  if (taking.options.split_writers) {
    size_t i = 0;
    while (i + 1 < runs_.size() && runs_[i + 1].start <= at) ++i;
    if (i < runs_.size()) {
      const abi::Ucred& c = runs_[i].credentials;
      if (taking.credentials && std::memcmp(&*taking.credentials, &c, sizeof(c)) != 0) {
        taking.stop = true;
        return 0;
      }
      taking.credentials = c;
      if (i + 1 < runs_.size()) n = std::min<size_t>(n, runs_[i + 1].start - at);
    }
  }
  for (Mark& mark : marks_) {
    if (mark.start >= at + n) break;
    if (mark.start < at) continue;  // peeked already
    if (!taking.has_in_flight_lock) {
      taking.again_with_lock = true;
      return 0;
    }
    n = std::min<size_t>(n, mark.end - at);
    if (taking.options.peek) {
      taking.result.ancillary.files = mark.ancillary.files;
    } else {
      InFlightMutex().AssertHeld();
      CountOut(mark.ancillary);
      taking.result.ancillary.files = std::move(mark.ancillary.files);
      marks_.erase(marks_.begin());
      marks_count_.store(marks_.size(), std::memory_order_release);
    }
    taking.stop = true;
    break;
  }
  return n;
}

void StreamQueue::Advance(uint64_t to) {
  head_ = to;
  while (runs_.size() > 1 && runs_[1].start <= head_) runs_.pop_front();
  for (; !pieces_.empty() && pieces_.front().end <= head_; pieces_.pop_front()) cost_ -= pieces_.front().cost;
  if (urgent_ && *urgent_ < head_) urgent_.reset();
  if (head_ == tail_ && ring_size_ > kKeptRing) ring_.reset(), ring_size_ = 0;
}

Result<size_t> StreamQueue::TakeLocked(std::span<const iovec> segments, size_t room, Taking& taking) {
  uint64_t at = head_ + taking.peeked;
  const bool fresh = taking.result.copied + taking.result.full_length == 0;
  if (urgent_ && *urgent_ == at) {
    if (!fresh) {
      taking.stop = true;
      return size_t{0};
    }
    if (!taking.options.urgent_inline) {  // passed over, whether or not it was received out of band
      ++at;
      if (taking.options.peek) {
        ++taking.peeked;
      } else {
        Advance(at);
      }
    }
  }
  size_t n = std::min(room, static_cast<size_t>(shown() - at));
  if (urgent_ && *urgent_ > at && *urgent_ - at < n) {
    n = static_cast<size_t>(*urgent_ - at);
    taking.stop = true;
  }
  if (n == 0) {
    if (fresh) TRY(NothingThere());
    taking.stop = true;
    return size_t{0};
  }
  n = LimitByMarks(at, n, taking);
  if (taking.again_with_lock || n == 0) return size_t{0};
  if (!taking.options.discard) CopyOut(at, segments, n);
  if (style_ == Style::kUnix && fresh) {
    for (const Run& run : runs_) {
      if (run.start <= at) taking.result.ancillary.credentials = run.credentials;
    }
  }
  if (taking.options.peek) {
    taking.peeked += n;
  } else {
    Advance(at + n);
    if (no_space_ && WritableLocked()) no_space_ = false, taking.tell_writer = true;
  }
  return n;
}

Result<size_t> StreamQueue::Take(std::span<const iovec> segments, size_t room, Taking& taking) {
  if (taking.stop) return size_t{0};
  bool with_lock = marks_count_.load(std::memory_order_acquire) != 0;
  while (true) {
    const MaybeInFlightLock in_flight(with_lock);
    absl::MutexLock lock(&mu_);
    taking.has_in_flight_lock = with_lock;
    taking.again_with_lock = false;
    Result<size_t> n = TakeLocked(segments, room, taking);
    if (!taking.again_with_lock) return n;
    with_lock = true;
  }
}

// After the last byte that is wanted, which may be none. A read of none is told that nothing is there too, and takes the descriptions that the next
// byte came with; a peek goes on to the next descriptions, however far away they are (Linux: unix_stream_read_generic).
Result<void> StreamQueue::TakeBeyond(Taking& taking) {
  bool with_lock = marks_count_.load(std::memory_order_acquire) != 0;
  while (true) {
    const MaybeInFlightLock in_flight(with_lock);
    absl::MutexLock lock(&mu_);
    if (head_ == shown()) return NothingThere();
    const uint64_t at = head_ + taking.peeked;
    if (style_ != Style::kUnix || at >= shown()) return Ok();
    taking.has_in_flight_lock = with_lock;
    taking.again_with_lock = false;
    (void)LimitByMarks(at, taking.options.peek ? static_cast<size_t>(shown() - at) : 1, taking);
    if (!taking.again_with_lock) {
      if (taking.peeked == 0 && !runs_.empty()) taking.result.ancillary.credentials = runs_.front().credentials;
      taking.result.is_message = true;
      return Ok();
    }
    with_lock = true;
  }
}

Result<void> StreamQueue::Read(mm::IoDst& dst, ReadOptions options, RecvResult& result) {
  Taking taking{options, result};
  Result<void> outcome = Ok();
  if (options.discard) {
    const bool wants_none = dst.remaining() == 0;
    const Result<size_t> n = wants_none ? Result<size_t>(size_t{0}) : Take({}, dst.remaining(), taking);
    if (wants_none) {
      outcome = TakeBeyond(taking);
    } else if (n.ok()) {
      dst.Skip(*n);
      result.full_length += *n;
    } else {
      outcome = n.error();
    }
  } else {
    const bool wants_none = dst.remaining() == 0;
    const Result<size_t> moved = dst.Fill(dst.remaining(), [&](std::span<const iovec> segments) -> Result<size_t> {
      const size_t n = TRY(Take(segments, TotalOf(segments), taking));
      result.copied += n;
      result.full_length += n;
      return n;
    });
    if (!moved.ok()) outcome = moved.error();
    if (wants_none || (moved.ok() && options.peek && taking.peeked > 0 && !taking.stop)) outcome = TakeBeyond(taking);
    // That nothing is there comes before what is wrong with the buffer.
    if (!moved.ok() && moved.error() == Errno::kEFAULT) {
      absl::MutexLock lock(&mu_);
      if (head_ == shown()) outcome = NothingThere();
    }
  }
  if (taking.tell_writer) writer_->Notify(kOut);
  return outcome;
}

Result<std::byte> StreamQueue::TakeUrgent(bool peek) {
  absl::MutexLock lock(&mu_);
  if (!urgent_ || urgent_taken_) return Errno::kEINVAL;
  urgent_taken_ = !peek;
  return static_cast<std::byte>(ring_[*urgent_ & (ring_size_ - 1)]);
}

bool StreamQueue::AtUrgentMark() const {
  absl::MutexLock lock(&mu_);
  return urgent_ && *urgent_ == head_;
}

void StreamQueue::SetPart(size_t StreamQueue::* part, size_t bytes) {
  bool tell = false;
  {
    absl::MutexLock lock(&mu_);
    this->*part = bytes;
    tell = no_space_ && WritableLocked();
    if (tell) no_space_ = false;
  }
  if (tell) writer_->Notify(kOut);
}

void StreamQueue::CloseWriter() {
  {
    absl::MutexLock lock(&mu_);
    writer_done_ = true;
    held_ = 0;
  }
  reader_->Notify(kIn | abi::kPollRdHup | abi::kPollHup);
  writer_->Notify(kOut | abi::kPollHup);
}

void StreamQueue::RefuseBytes() {
  absl::MutexLock lock(&mu_);
  refuses_ = true;
}

void StreamQueue::ShutReader() {
  {
    absl::MutexLock lock(&mu_);
    reader_shut_ = true;
  }
  reader_->Notify(kIn | abi::kPollRdHup | abi::kPollHup);
  writer_->Notify(kOut | abi::kPollHup);
}

bool StreamQueue::CloseReader() {
  Files dropped;
  bool unread = false;
  {
    absl::MutexLock lock(&mu_);
    unread = shown() > head_;
    held_ = 0;
    reader_gone_ = true;
    runs_.clear();
    Advance(tail_);
    urgent_.reset();
    ring_.reset();
    ring_size_ = 0;
  }
  if (marks_count_.load(std::memory_order_acquire) != 0) {  // no new ones come
    absl::MutexLock in_flight(&InFlightMutex());
    TakeFiles(dropped);
  }
  writer_->Notify(kOut | abi::kPollHup);
  return unread;
}

void StreamQueue::Reset() {
  absl::MutexLock lock(&mu_);
  writer_done_ = reset_ = true;
  tail_ = shown();  // never sent
  held_ = 0;
}

void StreamQueue::Break() {
  absl::MutexLock lock(&mu_);
  broken_ = true;
}

StreamQueue::State StreamQueue::state() const {
  absl::MutexLock lock(&mu_);
  const bool writable = WritableLocked();
  if (!writable) no_space_ = true;  // whoever asked will want to be told
  return {static_cast<size_t>(shown() - head_), held_, cost_, writable, writer_done_, reset_, reader_shut_, reader_gone_, broken_,
          urgent_.has_value() && !urgent_taken_, tail_, head_};
}

void StreamQueue::ForEachFile(absl::FunctionRef<void(vfs::FileDescription&)> f) const {
  absl::MutexLock lock(&mu_);
  for (const Mark& mark : marks_) {
    for (const Ref<vfs::FileDescription>& file : mark.ancillary.files) f(*file);
  }
}

void StreamQueue::TakeFiles(Files& out) {
  absl::MutexLock lock(&mu_);
  for (Mark& mark : marks_) {
    CountOut(mark.ancillary);
    for (Ref<vfs::FileDescription>& file : mark.ancillary.files) out.push_back(std::move(file));
  }
  marks_.clear();
  marks_count_.store(0, std::memory_order_release);
}

}  // namespace rampart::net
