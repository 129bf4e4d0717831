// Application memory as the destination or source of file I/O.
#include <algorithm>
#include <atomic>
#include <vector>

#include "sentry/mm/io_round.h"
#include "sentry/mm/memory_manager_impl.h"
#include "sentry/mm/safe_copy.h"

namespace rampart::mm {
namespace {

constexpr size_t kMaxPinned = 1 << 20;       // bytes offered to one callback

// The part that both directions share: walking the ranges.
class UserRanges {
 public:
  explicit UserRanges(std::vector<AddrRange> ranges) : ranges_(std::move(ranges)) {
    for (const AddrRange& r : ranges_) remaining_ += r.length();
    SkipEmpty();
  }
  size_t remaining() const { return remaining_; }
  void Advance(size_t n) {
    n = std::min(n, remaining_);
    remaining_ -= n;
    while (n > 0) {
      AddrRange& r = ranges_[next_];
      const size_t step = std::min(n, static_cast<size_t>(r.length()));
      r.start += step;
      n -= step;
      SkipEmpty();
    }
  }
  // The range `skip` bytes ahead, at most `max` long.
  AddrRange Ahead(size_t skip, size_t max) const {
    for (size_t i = next_; i < ranges_.size(); ++i) {
      const size_t length = ranges_[i].length();
      if (skip < length) return AddrRange{ranges_[i].start + skip, ranges_[i].start + skip + std::min(max, length - skip)};
      skip -= length;
    }
    return AddrRange{0, 0};
  }

 private:
  void SkipEmpty() {
    while (next_ < ranges_.size() && ranges_[next_].length() == 0) ++next_;
  }
  std::vector<AddrRange> ranges_;
  size_t next_ = 0;
  size_t remaining_ = 0;
};

// Pages pinned for one callback.
class PinnedBatch {
 public:
  PinnedBatch(MemoryManager::Impl& mm, const UserRanges& ranges, size_t max, bool write)
      : mm_(mm), ranges_(ranges), copies_(mm.copies.load(std::memory_order_seq_cst)) {
    max = std::min(max, kMaxPinned);
    while (bytes_ < max && segments_.size() < kMaxSegments) {
      const AddrRange r = ranges.Ahead(bytes_, max - bytes_);
      if (r.length() == 0) break;
      const size_t got = mm_.Pin(r.start, r.length(), write, segments_);
      if (got == 0) break;
      ++pins_;
      bytes_ += got;
      if (got < r.length() && bytes_ >= kMaxBounce) break;  // the rest is cold: another round
    }
    all_stable_ = std::all_of(segments_.begin(), segments_.end(), [](const HostSegment& s) { return s.stable; });
  }
  ~PinnedBatch() { mm_.pins.fetch_sub(pins_, std::memory_order_acq_rel); }
  PinnedBatch(const PinnedBatch&) = delete;
  PinnedBatch& operator=(const PinnedBatch&) = delete;

  // After `moved` bytes were written to the segments: when a page of them may have been copied on a write before they came, they are written
  // to what is there now as well.
  void Settle(size_t moved) const {
    // Our writes first, then the look at the count: BreakCow does the two in the other order.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (mm_.copies.load(std::memory_order_seq_cst) == copies_) return;
    size_t done = 0;
    for (const HostSegment& s : segments_) {
      for (size_t in_segment = 0; in_segment < s.length && done < moved;) {
        const AddrRange r = ranges_.Ahead(done, std::min(s.length - in_segment, moved - done));
        const std::byte* from = s.host + in_segment;
        mm_.Access(r.start, r.length(), true, Force::kNo, [&from](const HostSegment& now) {
          const size_t copied = now.host == from ? now.length : SafeCopy(now.host, from, now.length);
          from += copied;
          return copied;
        });
        done += r.length();
        in_segment += r.length();
      }
    }
  }

  size_t bytes() const { return bytes_; }
  bool all_stable() const { return all_stable_; }
  const HostSegments& segments() const { return segments_; }
  absl::InlinedVector<iovec, 8> iovecs() const {
    absl::InlinedVector<iovec, 8> out;
    for (const HostSegment& s : segments_) out.push_back(iovec{s.host, s.length});
    return out;
  }

 private:
  MemoryManager::Impl& mm_;
  const UserRanges& ranges_;
  const uint64_t copies_;
  HostSegments segments_;
  size_t bytes_ = 0;
  int32_t pins_ = 0;
  bool all_stable_ = true;
};

// Moves n bytes between a bounce buffer and segments that may vanish. Returns the bytes moved.
size_t Bounce(const HostSegments& segments, std::span<std::byte> buffer, bool to_user) {
  size_t done = 0;
  for (const HostSegment& s : segments) {
    const size_t step = std::min(s.length, buffer.size() - done);
    const size_t moved = to_user ? SafeCopy(s.host, buffer.data() + done, step) : SafeCopy(buffer.data() + done, s.host, step);
    done += moved;
    if (moved < s.length) break;
  }
  return done;
}

// One round. `offered` tells how much the callback was offered, moved what it moved.
struct Round {
  size_t offered = 0;
  size_t moved = 0;
};
Result<Round> FillRound(MemoryManager::Impl& mm, const UserRanges& ranges, size_t max, SegmentFn fn) {
  const PinnedBatch batch(mm, ranges, max, true);
  if (batch.bytes() == 0) return Errno::kEFAULT;
  if (batch.all_stable()) {
    const auto iovecs = batch.iovecs();
    const size_t moved = TRY(fn(std::span(iovecs.data(), iovecs.size())));
    CHECK(moved <= batch.bytes());
    batch.Settle(moved);
    return Round{batch.bytes(), moved};
  }
  std::vector<std::byte> buffer(std::min(batch.bytes(), kMaxBounce));
  const iovec one{buffer.data(), buffer.size()};
  const size_t moved = TRY(fn(std::span(&one, 1)));
  CHECK(moved <= buffer.size());
  const size_t copied = Bounce(batch.segments(), std::span(buffer).first(moved), true);
  if (copied == 0 && moved != 0) return Errno::kEFAULT;
  batch.Settle(copied);
  return Round{buffer.size(), copied};
}
Result<Round> DrainRound(MemoryManager::Impl& mm, const UserRanges& ranges, size_t max, SegmentFn fn) {
  const PinnedBatch batch(mm, ranges, max, false);
  if (batch.bytes() == 0) return Errno::kEFAULT;
  if (batch.all_stable()) {
    const auto iovecs = batch.iovecs();
    const size_t moved = TRY(fn(std::span(iovecs.data(), iovecs.size())));
    CHECK(moved <= batch.bytes());
    return Round{batch.bytes(), moved};
  }
  std::vector<std::byte> buffer(std::min(batch.bytes(), kMaxBounce));
  const size_t copied = Bounce(batch.segments(), buffer, false);
  if (copied == 0) return Errno::kEFAULT;
  const iovec one{buffer.data(), copied};
  const size_t moved = TRY(fn(std::span(&one, 1)));
  CHECK(moved <= copied);
  return Round{copied, moved};
}

using RoundFn = Result<Round> (*)(MemoryManager::Impl&, const UserRanges&, size_t, SegmentFn);

Result<size_t> Transfer(MemoryManager::Impl& mm, UserRanges& ranges, size_t max, SegmentFn fn, RoundFn round) {
  size_t total = 0;
  max = std::min(max, ranges.remaining());
  while (total < max) {
    const Result<Round> r = round(mm, ranges, max - total, fn);
    if (!r.ok()) {
      if (total != 0) break;
      return r.error();
    }
    ranges.Advance(r->moved);
    total += r->moved;
    if (r->moved < r->offered) break;
  }
  return total;
}

class UserDst final : public IoDst {
 public:
  UserDst(Ref<MemoryManager> mm, MemoryManager::Impl& impl, std::vector<AddrRange> ranges)
      : mm_(std::move(mm)), impl_(impl), ranges_(std::move(ranges)) {}
  size_t remaining() const override { return ranges_.remaining(); }
  Result<size_t> Fill(size_t max, SegmentFn fill) override { return Transfer(impl_, ranges_, max, fill, FillRound); }
  void Skip(size_t n) override { ranges_.Advance(n); }

 private:
  const Ref<MemoryManager> mm_;
  MemoryManager::Impl& impl_;
  UserRanges ranges_;
};

class UserSrc final : public IoSrc {
 public:
  UserSrc(Ref<MemoryManager> mm, MemoryManager::Impl& impl, std::vector<AddrRange> ranges)
      : mm_(std::move(mm)), impl_(impl), ranges_(std::move(ranges)) {}
  size_t remaining() const override { return ranges_.remaining(); }
  Result<size_t> Drain(size_t max, SegmentFn drain) override { return Transfer(impl_, ranges_, max, drain, DrainRound); }
  void Skip(size_t n) override { ranges_.Advance(n); }

 private:
  const Ref<MemoryManager> mm_;
  MemoryManager::Impl& impl_;
  UserRanges ranges_;
};

}  // namespace

std::unique_ptr<IoDst> MemoryManager::NewDst(std::vector<AddrRange> ranges) {
  return std::make_unique<UserDst>(ShareRef(this), *impl_, std::move(ranges));
}

std::unique_ptr<IoSrc> MemoryManager::NewSrc(std::vector<AddrRange> ranges) {
  return std::make_unique<UserSrc>(ShareRef(this), *impl_, std::move(ranges));
}

}  // namespace rampart::mm
