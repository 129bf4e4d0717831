#include "sentry/mm/io.h"

#include <algorithm>
#include <cstring>

#include "base/sanitizers.h"
#include "sentry/mm/safe_copy.h"

namespace rampart::mm {

// Assembly where a sanitizer must not see it (base/sanitizers.h).
void CopyAppMemory(void* to, const void* from, size_t n) {
  if (n == 0) return;
  if (kThreadSanitized) {
    (void)SafeCopy(to, from, n);
  } else {
    std::memcpy(to, from, n);
  }
}

void ZeroAppMemory(void* to, size_t n) {
  if (n == 0) return;
  if (kThreadSanitized) {
    (void)SafeZero(to, n);
  } else {
    std::memset(to, 0, n);
  }
}

Result<size_t> IoDst::Write(std::span<const std::byte> bytes) {
  size_t done = 0;
  return Fill(bytes.size(), [&](std::span<const iovec> segments) -> Result<size_t> {
    size_t moved = 0;
    for (const iovec& s : segments) {
      const size_t n = std::min(s.iov_len, bytes.size() - done);
      CopyAppMemory(s.iov_base, bytes.data() + done, n);
      done += n;
      moved += n;
    }
    return moved;
  });
}

Result<size_t> IoDst::Zero(size_t n) {
  return Fill(n, [&](std::span<const iovec> segments) -> Result<size_t> {
    size_t moved = 0;
    for (const iovec& s : segments) {
      ZeroAppMemory(s.iov_base, s.iov_len);
      moved += s.iov_len;
    }
    return moved;
  });
}

Result<size_t> IoSrc::Read(std::span<std::byte> bytes) {
  size_t done = 0;
  return Drain(bytes.size(), [&](std::span<const iovec> segments) -> Result<size_t> {
    size_t moved = 0;
    for (const iovec& s : segments) {
      const size_t n = std::min(s.iov_len, bytes.size() - done);
      CopyAppMemory(bytes.data() + done, s.iov_base, n);
      done += n;
      moved += n;
    }
    return moved;
  });
}

Result<size_t> BufferDst::Fill(size_t max, SegmentFn fill) {
  const size_t offered = std::min(max, rest_.size());
  if (offered == 0) return size_t{0};
  const iovec segment{rest_.data(), offered};
  const size_t moved = TRY(fill(std::span(&segment, 1)));
  CHECK(moved <= offered);
  rest_ = rest_.subspan(moved);
  return moved;
}

Result<size_t> BufferSrc::Drain(size_t max, SegmentFn drain) {
  const size_t offered = std::min(max, rest_.size());
  if (offered == 0) return size_t{0};
  // SAFETY: iovec has no const form; drains only read.
  const iovec segment{const_cast<std::byte*>(rest_.data()), offered};
  const size_t moved = TRY(drain(std::span(&segment, 1)));
  CHECK(moved <= offered);
  rest_ = rest_.subspan(moved);
  return moved;
}

}  // namespace rampart::mm
