// The little programs with which a request for sockets says which ones (INET_DIAG_REQ_BYTECODE): comparisons of ports and addresses, and jumps forward.
// Source: Linux net/ipv4/inet_diag.c.
#pragma once

#include <string_view>

#include "sentry/net/socket/socket_list.h"

namespace rampart::net {

// Whether each jump lands on an instruction or the end, and each instruction is known and whole. Jumps only go forward.
bool CheckInetFilter(std::string_view program);
// REQUIRES: CheckInetFilter accepted it.
bool RunInetFilter(std::string_view program, const SocketReport& socket);

}  // namespace rampart::net
