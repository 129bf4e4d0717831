#include "sentry/net/inet/tcp_info.h"

#include <climits>

#include "abi/socket.h"

namespace rampart::net {
namespace {

constexpr TcpOption kOptions[] = {
    {abi::kTcpNodelay, 0, INT_MIN, INT_MAX, true},
    {kTcpMaxseg, 536, 88, 32767, false},
    {kTcpCork, 0, INT_MIN, INT_MAX, true},
    {4, 7200, 1, 32767, false},        // TCP_KEEPIDLE
    {5, 75, 1, 32767, false},          // TCP_KEEPINTVL
    {6, 9, 1, 127, false},             // TCP_KEEPCNT
    {7, 6, 1, 127, false},             // TCP_SYNCNT
    {8, 60, INT_MIN, INT_MAX, false},  // TCP_LINGER2
    {9, 0, INT_MIN, INT_MAX, false},   // TCP_DEFER_ACCEPT
    {10, 0, 0, INT_MAX, false},        // TCP_WINDOW_CLAMP
    {12, 1, INT_MIN, INT_MAX, true},   // TCP_QUICKACK
    {18, 0, 0, INT_MAX, false},        // TCP_USER_TIMEOUT
    {23, 0, 0, INT_MAX, false},        // TCP_FASTOPEN: accepted, no data goes early
    {24, 0, INT_MIN, INT_MAX, false},  // TCP_TIMESTAMP
    {25, 0, INT_MIN, INT_MAX, false}, // TCP_NOTSENT_LOWAT
    {30, 0, INT_MIN, INT_MAX, true},   // TCP_FASTOPEN_CONNECT
    // Not carried out: off, which one may ask about and say again.
    {16, 0, 0, 0, false}, {17, 0, 0, 0, false}, {19, 0, 0, 0, false},  // TCP_THIN_LINEAR_TIMEOUTS, TCP_THIN_DUPACK, TCP_REPAIR
    {27, 0, 0, 0, false}, {34, 0, 0, 0, false}, {36, 0, 0, 0, false},  // TCP_SAVE_SYN, TCP_FASTOPEN_NO_COOKIE, TCP_INQ
    {37, 0, 0, 0, false}, {43, 0, 0, 0, false},                        // TCP_TX_DELAY, TCP_IS_MPTCP
};

}  // namespace

TcpInfo TcpInfo::OfLoopback() {
  TcpInfo info{};
  info.options = 0x7;  // timestamps, SACK, window scaling
  info.scale = 0xaa;
  info.rto = 204000;
  info.ato = 40000;
  info.snd_mss = 65483;
  info.rcv_mss = 536;
  info.pmtu = 65535;
  info.rcv_ssthresh = 65483;
  info.rtt = 20;
  info.rttvar = 10;
  info.snd_ssthresh = INT_MAX;
  info.snd_cwnd = 10;
  info.advmss = 65483;
  info.reordering = 3;
  info.rcv_space = 65483;
  info.max_pacing_rate = UINT64_MAX;
  info.min_rtt = 10;
  info.snd_wnd = info.rcv_wnd = 65536;
  return info;
}

const TcpOption* TcpOption::Find(int name) {
  for (const TcpOption& o : kOptions) {
    if (o.name == name) return &o;
  }
  return nullptr;
}

Result<void> CheckCongestion(std::string_view name) {
  name = name.substr(0, name.find('\0'));
  return name == kCongestion || name == "reno" ? Result<void>(Ok()) : Errno::kENOENT;
}

}  // namespace rampart::net
