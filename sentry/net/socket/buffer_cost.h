// What Linux (x86-64) counts for a message of a local socket against its sender's buffer: not its bytes but the memory that they are kept in, which
// decides how much may be sent and when poll(2) shows POLLOUT, and is what SIOCOUTQ tells. Sources: sock_alloc_send_pskb, unix_stream_sendmsg,
// unix_dgram_sendmsg. What sendfile(2) sends is kept by page there and counts a little less; here it counts as what is written.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>

#include "base/safe_math.h"

namespace rampart::net {

constexpr size_t kBufferHeader = 256, kBufferTrailer = 320;  // struct sk_buff, struct skb_shared_info
constexpr size_t kStreamHead = kPageSize - kBufferTrailer;   // what is kept together, before the rest goes by page
constexpr size_t kStreamPiece = kStreamHead + 32768;         // a longer write to a stream is several messages
constexpr size_t kPacketHead = 4 * kPageSize - kBufferTrailer, kPacketPages = 17 * kPageSize;

// `together` bytes in one allocation, `in_pages` beside it.
constexpr size_t BufferCost(size_t together, size_t in_pages) {
  const size_t head = (together + 63) / 64 * 64 + kBufferTrailer;
  return kBufferHeader + std::bit_ceil(std::max<size_t>(head, 512)) + (in_pages + kPageSize - 1) / kPageSize * kPageSize;
}
// REQUIRES: size <= kStreamPiece.
constexpr size_t StreamPieceCost(size_t size) {
  const size_t rest = size - std::min(size, kStreamHead);
  const size_t in_pages = std::min(size, (rest + kPageSize - 1) / kPageSize * kPageSize);
  return BufferCost(size - in_pages, in_pages);
}
constexpr size_t PacketCost(size_t size) {
  const size_t rest = size - std::min(size, kPacketHead);
  const size_t in_pages = std::min({size, (rest + kPageSize - 1) / kPageSize * kPageSize, kPacketPages});
  return BufferCost(size - in_pages, in_pages);
}

}  // namespace rampart::net
