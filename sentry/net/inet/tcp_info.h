// What TCP's options tell: struct tcp_info, and the options that are kept and change nothing between two queues.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace rampart::net {

struct TcpInfo {
  enum State : uint8_t { kEstablished = 1, kSynSent = 2, kFinWait2 = 5, kClose = 7, kCloseWait = 8, kListen = 10 };
  uint8_t state, ca_state, retransmits, probes, backoff, options, scale, flags;
  uint32_t rto, ato, snd_mss, rcv_mss, unacked, sacked, lost, retrans, fackets;
  uint32_t last_data_sent, last_ack_sent, last_data_recv, last_ack_recv;
  uint32_t pmtu, rcv_ssthresh, rtt, rttvar, snd_ssthresh, snd_cwnd, advmss, reordering, rcv_rtt, rcv_space, total_retrans;
  uint64_t pacing_rate, max_pacing_rate, bytes_acked, bytes_received;
  uint32_t segs_out, segs_in, notsent_bytes, min_rtt, data_segs_in, data_segs_out;
  uint64_t delivery_rate, busy_time, rwnd_limited, sndbuf_limited;
  uint32_t delivered, delivered_ce;
  uint64_t bytes_sent, bytes_retrans;
  uint32_t dsack_dups, reord_seen, rcv_ooopack, snd_wnd, rcv_wnd, rehash;
  uint16_t total_rto, total_rto_recoveries;
  uint32_t total_rto_time;

  // Of a connection over lo: no losses, and the times that such a connection shows.
  static TcpInfo OfLoopback();
};
static_assert(sizeof(TcpInfo) == 248);

struct TcpOption {
  int name;
  int32_t initial, smallest, largest;
  bool is_flag;
  static const TcpOption* Find(int name);
};

inline constexpr int kTcpMaxseg = 2, kTcpCork = 3, kTcpInfo = 11, kTcpCongestion = 13;
inline constexpr char kCongestion[16] = "cubic";
// ENOENT: another algorithm.
Result<void> CheckCongestion(std::string_view name);

}  // namespace rampart::net
