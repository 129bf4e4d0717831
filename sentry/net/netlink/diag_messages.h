// The messages of NETLINK_SOCK_DIAG (sock_diag(7)): which sockets there are: AF_INET and AF_INET6 (TCP, UDP, UDP-Lite, raw), AF_UNIX, AF_NETLINK, AF_PACKET.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sentry/net/netlink/message.h"

namespace rampart::net {

// What answers one request: packets to be received one by one. `request` has its header; `port` is the asking socket's.
std::vector<std::string> AnswerDiag(std::string_view request, uint32_t port);

}  // namespace rampart::net
