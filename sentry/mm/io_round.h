// Why a round of Fill or Drain (io.h) ends where it ends. Linux's pipes and local streams move whole pieces of their own: of one that runs into memory
// that may not be touched nothing is moved, so they must know.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>

namespace rampart::mm {

// A round has at most so many segments; from so many bytes on it leaves what is not there yet to the next.
constexpr size_t kMaxSegments = 64;
constexpr size_t kMaxBounce = 64 << 10;

inline size_t TotalOf(std::span<const iovec> segments) {
  size_t total = 0;
  for (const iovec& s : segments) total += s.iov_len;
  return total;
}

// Whether `segments`, offered where `remaining` bytes were left, end before memory that may not be touched.
inline bool EndsAtFault(std::span<const iovec> segments, size_t remaining) {
  const size_t offered = TotalOf(segments);
  return offered < remaining && offered < kMaxBounce && segments.size() < kMaxSegments;
}

}  // namespace rampart::mm
