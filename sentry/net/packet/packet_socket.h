// AF_PACKET (packet(7)) over lo: SOCK_RAW with the Ethernet header, SOCK_DGRAM without. Rings shared with the application are not there, nor SOCK_PACKET.
// Thread safety: any thread.
#pragma once

#include <string_view>

#include "sentry/net/socket/socket.h"
#include "sentry/net/socket/wire.h"

namespace rampart::net {

// What happens to an IPv6 packet that a packet socket has sent, after those who look have seen it.
using IpReceiver = void (*)(std::string_view packet);

// `protocol`: as socket(2) has it, in network order. EPERM: without CAP_NET_RAW; ESOCKTNOSUPPORT.
Result<Ref<Socket>> NewPacketSocket(const Caller& caller, int type, int protocol, uint32_t flags, IpReceiver receive_ip);

}  // namespace rampart::net
