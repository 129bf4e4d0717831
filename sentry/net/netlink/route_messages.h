// The messages of NETLINK_ROUTE about lo (rtnetlink(7)): parsing of requests, building of answers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sentry/net/netlink/message.h"

namespace rampart::net {

// What answers one request: whole packets to be received one by one. `request` has its header; `port` is the asking socket's.
// `uid`: who asks; root may change what there is (it still cannot: EOPNOTSUPP).
std::vector<std::string> AnswerRoute(std::string_view request, uint32_t port, uint32_t uid);

}  // namespace rampart::net
