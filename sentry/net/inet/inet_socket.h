// AF_INET and AF_INET6 over loopback, wholly inside: TCP as a connected pair of queues, UDP as datagrams; raw and ICMP sockets as packets. There is no other interface: other
// destinations are ENETUNREACH.
// Thread safety: any thread. Lock order: a socket's mu_ → the port table's lock → a listener's mu → a queue's lock.
#pragma once

#include "sentry/net/socket/socket.h"

namespace rampart::net {

// EPROTONOSUPPORT, ESOCKTNOSUPPORT, EINVAL; raw sockets without CAP_NET_RAW: EPERM.
Result<Ref<Socket>> NewInetSocket(const Caller& caller, abi::Ucred owner, int family, int type, int protocol, uint32_t flags);

// An IP packet that somebody has put on lo.
void ReceiveIp(std::string_view packet);

}  // namespace rampart::net
