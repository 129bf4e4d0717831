// The messages of NETLINK_ROUTE about lo (rtnetlink(7)): parsing of requests, building of answers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rampart::net {

struct NetlinkHeader {
  uint32_t length;
  uint16_t type;
  uint16_t flags;
  uint32_t sequence;
  uint32_t port;
};
static_assert(sizeof(NetlinkHeader) == 16);

inline constexpr uint16_t kNlmsgNoop = 1, kNlmsgError = 2, kNlmsgDone = 3, kNlmFRequest = 1, kNlmFMulti = 2, kNlmFAck = 4, kNlmFDump = 0x300;

// What answers one request: whole packets to be received one by one. `request` has its header; `port` is the asking socket's.
// `privileged`: whether it may change what there is (it still cannot: EOPNOTSUPP).
std::vector<std::string> AnswerRoute(std::string_view request, uint32_t port, bool privileged);

}  // namespace rampart::net
