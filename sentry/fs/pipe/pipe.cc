#include "sentry/fs/pipe/pipe.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>

#include "base/safe_math.h"
#include "sentry/mm/io_round.h"

namespace rampart::fs {
namespace {

// Buffers that all pipes together may hold before new pipes get the smallest size, and before growing needs privilege
// (/proc/sys/fs/pipe-user-pages-soft).
constexpr uint32_t kSoftSlots = 16384;
constexpr uint32_t kSmallPipeSlots = 2;
std::atomic<uint32_t> g_slots{0};

using mm::TotalOf;

// Walks an array of segments, copying out of or into it.
class Cursor {
 public:
  explicit Cursor(std::span<const iovec> segments) : segments_(segments) {}
  void CopyOut(std::byte* to, size_t n) {
    Each(n, [&](std::byte* at, size_t some) {
      mm::CopyAppMemory(to, at, some);
      to += some;
    });
  }
  void CopyIn(const std::byte* from, size_t n) {
    Each(n, [&](std::byte* at, size_t some) {
      mm::CopyAppMemory(at, from, some);
      from += some;
    });
  }

 private:
  template <class F>
  void Each(size_t n, F f) {
    while (n > 0) {
      const iovec& s = segments_.front();
      const size_t some = std::min(n, s.iov_len - offset_);
      f(static_cast<std::byte*>(s.iov_base) + offset_, some);
      n -= some;
      offset_ += some;
      if (offset_ == s.iov_len) {
        segments_ = segments_.subspan(1);
        offset_ = 0;
      }
    }
  }
  std::span<const iovec> segments_;
  size_t offset_ = 0;
};

}  // namespace

Pipe::Pipe() : slots_(g_slots.load(std::memory_order_relaxed) >= kSoftSlots ? kSmallPipeSlots : kDefaultPipeSlots) {
  g_slots.fetch_add(slots_, std::memory_order_relaxed);
  ring_.resize(slots_);
}

Pipe::~Pipe() { g_slots.fetch_sub(slots_, std::memory_order_relaxed); }

bool Pipe::CanMerge(size_t chars) {
  if (chars == 0 || count_ == 0) return false;
  const Buffer& last = At(count_ - 1);
  return last.merges && last.start + last.length + chars <= kPageSize;
}

Pipe::Page Pipe::TakePage() {
  for (Page& spare : spare_) {
    if (spare) return std::move(spare);
  }
  return Page(new std::byte[kPageSize]);
}

void Pipe::DropFirst() {
  Buffer& buffer = At(0);
  for (Page& spare : spare_) {
    if (spare) continue;
    spare = std::move(buffer.page);
    break;
  }
  buffer = Buffer{};
  first_ = (first_ + 1) % static_cast<uint32_t>(ring_.size());
  --count_;
}

size_t Pipe::AppendLocked(std::span<const iovec> segments, size_t total, bool packet) {
  Cursor cursor(segments);
  size_t left = total;
  // As Linux: only the odd end of a write is merged, and only first, so that whole pages keep their own buffers.
  const size_t chars = total & kPageMask;
  if (!packet && CanMerge(chars)) {
    Buffer& last = At(count_ - 1);
    cursor.CopyOut(last.page.get() + last.start + last.length, chars);
    last.length += static_cast<uint32_t>(chars);
    left -= chars;
  }
  while (left > 0 && !full()) {
    const size_t n = std::min<size_t>(left, kPageSize);
    Buffer& buffer = At(count_);
    buffer.page = TakePage();
    buffer.start = 0;
    buffer.length = static_cast<uint32_t>(n);
    buffer.packet = packet;
    buffer.merges = !packet;
    cursor.CopyOut(buffer.page.get(), n);
    ++count_;
    left -= n;
  }
  return total - left;
}

// Of bytes before memory that may not be read, those that make whole pieces (Linux: pipe_write).
size_t Pipe::WholePieces(size_t offered, size_t wanted, bool packet) {
  const size_t chars = wanted & kPageMask, merged = !packet && CanMerge(chars) ? chars : 0;
  return offered < merged ? 0 : merged + ((offered - merged) & ~kPageMask);
}

size_t Pipe::TakeLocked(std::span<const iovec> segments, size_t wanted, bool* packet_done) {
  Cursor cursor(segments);
  const size_t total = TotalOf(segments);
  const bool whole = mm::EndsAtFault(segments, wanted);
  size_t left = total;
  while (left > 0 && count_ > 0) {
    Buffer& buffer = At(0);
    const size_t n = std::min<size_t>(left, buffer.length);
    if (whole && n < std::min<size_t>(wanted - (total - left), buffer.length)) break;
    cursor.CopyIn(buffer.page.get() + buffer.start, n);
    buffer.start += static_cast<uint32_t>(n);
    buffer.length -= static_cast<uint32_t>(n);
    left -= n;
    const bool packet = buffer.packet;
    if (packet || buffer.length == 0) DropFirst();
    if (packet) {
      *packet_done = true;
      break;
    }
  }
  return total - left;
}

Result<size_t> Pipe::Read(mm::IoDst& dst) {
  if (dst.remaining() == 0) return size_t{0};
  {
    absl::MutexLock lock(&mu_);
    if (count_ == 0) {
      if (ends_.writers == 0) return size_t{0};
      return Errno::kEAGAIN;
    }
  }
  bool made_room = false;
  bool end_of_file = false;
  bool packet_done = false;
  const Result<size_t> moved = dst.Fill(dst.remaining(), [&](std::span<const iovec> segments) -> Result<size_t> {
    if (packet_done) return size_t{0};
    absl::MutexLock lock(&mu_);
    if (count_ == 0) {
      end_of_file = ends_.writers == 0;
      if (end_of_file) return size_t{0};
      return Errno::kEAGAIN;
    }
    const bool was_full = full();
    const size_t n = TakeLocked(segments, dst.remaining(), &packet_done);
    if (n == 0) return Errno::kEFAULT;  // not even the first buffer
    made_room = made_room || (was_full && !full());
    return n;
  });
  if (made_room) queue_.Notify(abi::kPollOut | abi::kPollWrNorm);
  return moved;
}

Result<size_t> Pipe::Peek(std::span<std::byte> bytes) {
  absl::MutexLock lock(&mu_);
  if (count_ == 0) {
    if (ends_.writers == 0) return size_t{0};
    return Errno::kEAGAIN;
  }
  size_t done = 0;
  for (uint32_t i = 0; i < count_ && done < bytes.size(); ++i) {
    const Buffer& buffer = At(i);
    const size_t n = std::min<size_t>(bytes.size() - done, buffer.length);
    std::memcpy(bytes.data() + done, buffer.page.get() + buffer.start, n);
    done += n;
    if (buffer.packet) break;
  }
  return done;
}

Result<size_t> Pipe::Room() {
  absl::MutexLock lock(&mu_);
  if (ends_.readers == 0) return Errno::kEPIPE;
  if (full()) return Errno::kEAGAIN;
  return size_t{slots_ - used()} * kPageSize;
}

Result<size_t> Pipe::TakePieces(std::span<std::byte> bytes, size_t buffers, bool keep, std::vector<Piece>& pieces) {
  size_t done = 0;
  bool made_room = false;
  {
    absl::MutexLock lock(&mu_);
    if (count_ == 0) {
      if (ends_.writers == 0) return size_t{0};
      return Errno::kEAGAIN;
    }
    const bool was_full = full();
    for (uint32_t i = 0, seen = 0; i < count_ && seen < buffers && done < bytes.size(); ++seen) {
      Buffer& buffer = At(i);
      const size_t n = std::min<size_t>(bytes.size() - done, buffer.length);
      std::memcpy(bytes.data() + done, buffer.page.get() + buffer.start, n);
      pieces.push_back({static_cast<uint32_t>(n), buffer.packet});
      done += n;
      if (keep) {
        ++i;
        continue;
      }
      buffer.start += static_cast<uint32_t>(n);
      buffer.length -= static_cast<uint32_t>(n);
      if (buffer.length == 0) DropFirst();
    }
    made_room = was_full && !full();
  }
  if (made_room) queue_.Notify(abi::kPollOut | abi::kPollWrNorm);
  return done;
}

void Pipe::CutAtPages(size_t bytes, uint64_t offset, std::vector<Piece>& pieces) {
  size_t room = kPageSize - (offset & kPageMask);
  for (; bytes > 0; room = kPageSize) {
    const size_t n = std::min(bytes, room);
    pieces.push_back({static_cast<uint32_t>(n), false});
    bytes -= n;
  }
}

void Pipe::Put(std::span<const std::byte> bytes, std::span<const Piece> pieces, Where where) {
  {
    absl::MutexLock lock(&mu_);
    const auto added = static_cast<uint32_t>(pieces.size());
    if (used() + added > ring_.size()) {
      std::vector<Buffer> ring(used() + added);
      for (uint32_t i = 0; i < count_; ++i) ring[i] = std::move(At(i));
      ring_ = std::move(ring);
      first_ = 0;
    }
    const auto size = static_cast<uint32_t>(ring_.size());
    if (where == Where::kFront) first_ = (first_ + size - added) % size;
    for (uint32_t i = 0; i < added; ++i) {
      Buffer& buffer = At(where == Where::kFront ? i : count_ + i);
      buffer = Buffer{TakePage(), 0, pieces[i].length, pieces[i].packet, false};
      std::memcpy(buffer.page.get(), bytes.data(), pieces[i].length);
      bytes = bytes.subspan(pieces[i].length);
    }
    count_ += added;
  }
  queue_.Notify(abi::kPollIn | abi::kPollRdNorm);
}

Result<void> Pipe::CheckRoom(size_t n, bool packet) {
  absl::MutexLock lock(&mu_);
  if (ends_.readers == 0) return Errno::kEPIPE;
  if (full() && (packet || !CanMerge(n & kPageMask))) return Errno::kEAGAIN;
  return Ok();
}

Result<size_t> Pipe::Write(mm::IoSrc& src, bool packet) {
  const size_t n = src.remaining();
  if (n == 0) return size_t{0};
  TRY(CheckRoom(n, packet));
  const Result<size_t> moved = n <= kPipeBuf ? WriteSmall(src, n, packet) : WriteLarge(src, packet);
  if (moved.ok() && *moved > 0) queue_.Notify(abi::kPollIn | abi::kPollRdNorm);
  return moved;
}

// One buffer or none, even when the source comes in pieces: then a buffer is reserved and the pieces are put together first.
Result<size_t> Pipe::WriteSmall(mm::IoSrc& src, size_t n, bool packet) {
  Page pieces;
  size_t gathered = 0;
  const Result<size_t> moved = src.Drain(n, [&](std::span<const iovec> segments) -> Result<size_t> {
    const size_t total = std::min(TotalOf(segments), n - gathered);
    if (pieces == nullptr) {
      absl::MutexLock lock(&mu_);
      if (ends_.readers == 0) return Errno::kEPIPE;
      const bool merges = total == n && !packet && CanMerge(n & kPageMask);
      if (full() && !merges) return Errno::kEAGAIN;
      if (total == n) return AppendLocked(segments, total, packet);
      ++reserved_;
      pieces = TakePage();
    }
    Cursor(segments).CopyOut(pieces.get() + gathered, total);
    gathered += total;
    return total;
  });
  if (pieces != nullptr) {
    absl::MutexLock lock(&mu_);
    --reserved_;
    if (gathered == n) {
      Buffer& buffer = At(count_);
      buffer = Buffer{std::move(pieces), 0, static_cast<uint32_t>(gathered), packet, !packet};
      ++count_;
    } else if (moved.ok()) {
      return Errno::kEFAULT;
    }
  }
  return moved;
}

Result<size_t> Pipe::WriteLarge(mm::IoSrc& src, bool packet) {
  return src.Drain(src.remaining(), [&](std::span<const iovec> segments) -> Result<size_t> {
    absl::MutexLock lock(&mu_);
    if (ends_.readers == 0) return Errno::kEPIPE;
    const size_t offered = TotalOf(segments), wanted = src.remaining();
    const size_t taken = mm::EndsAtFault(segments, wanted) ? WholePieces(offered, wanted, packet) : offered;
    if (taken == 0) return Errno::kEFAULT;
    const size_t n = AppendLocked(segments, taken, packet);
    if (n == 0) return Errno::kEAGAIN;
    return n;
  });
}

wait::EventMask Pipe::Readiness(bool reader, bool writer, uint64_t hangup_from) {
  absl::MutexLock lock(&mu_);
  wait::EventMask ready = 0;
  if (reader) {
    if (count_ > 0) ready |= abi::kPollIn | abi::kPollRdNorm;
    if (ends_.writers == 0 && ends_.writer_openings != hangup_from) ready |= abi::kPollHup;
  }
  if (writer) {
    if (!full()) ready |= abi::kPollOut | abi::kPollWrNorm;
    if (ends_.readers == 0) ready |= abi::kPollErr;
  }
  return ready;
}

size_t Pipe::bytes() {
  absl::MutexLock lock(&mu_);
  size_t n = 0;
  for (uint32_t i = 0; i < count_; ++i) n += At(i).length;
  return n;
}

uint64_t Pipe::capacity() {
  absl::MutexLock lock(&mu_);
  return uint64_t{slots_} * kPageSize;
}

Result<uint64_t> Pipe::SetCapacity(uint64_t bytes, bool privileged) {
  if (bytes > (uint64_t{1} << 31)) return Errno::kEINVAL;
  const auto wanted = static_cast<uint32_t>(std::bit_ceil(std::max(bytes, kPageSize)) / kPageSize);
  bool grown = false;
  {
    absl::MutexLock lock(&mu_);
    if (wanted > slots_ && !privileged) {
      if (wanted > kMaxPipeSlots) return Errno::kEPERM;
      if (g_slots.load(std::memory_order_relaxed) + (wanted - slots_) > kSoftSlots) return Errno::kEPERM;
    }
    if (wanted < used()) return Errno::kEBUSY;
    std::vector<Buffer> ring(wanted);
    for (uint32_t i = 0; i < count_; ++i) ring[i] = std::move(At(i));
    ring_ = std::move(ring);
    first_ = 0;
    grown = wanted > slots_;
    g_slots.fetch_add(wanted - slots_, std::memory_order_relaxed);  // wraps when it shrinks
    slots_ = wanted;
  }
  if (grown) queue_.Notify(abi::kPollOut | abi::kPollWrNorm);
  return uint64_t{wanted} * kPageSize;
}

void Pipe::AddEnds(bool reader, bool writer) {
  {
    absl::MutexLock lock(&mu_);
    if (reader) ++ends_.readers, ++ends_.reader_openings;
    if (writer) ++ends_.writers, ++ends_.writer_openings;
  }
  queue_.Notify(abi::kPollIn | abi::kPollOut);  // whoever waits in open(2) for this end
}

void Pipe::RemoveEnds(bool reader, bool writer) {
  wait::EventMask events = 0;
  {
    absl::MutexLock lock(&mu_);
    if (reader && --ends_.readers == 0) events |= abi::kPollOut | abi::kPollWrNorm | abi::kPollErr;
    if (writer && --ends_.writers == 0) events |= abi::kPollIn | abi::kPollRdNorm | abi::kPollHup;
  }
  if (events != 0) queue_.Notify(events);
}

Pipe::Ends Pipe::ends() {
  absl::MutexLock lock(&mu_);
  return ends_;
}

}  // namespace rampart::fs
