// AF_NETLINK. NETLINK_ROUTE tells of the one interface, lo (links, addresses, routes, rules, queueing disciplines; requests that would change something
// are EPERM or EOPNOTSUPP); NETLINK_SOCK_DIAG of the sockets that there are; NETLINK_KOBJECT_UEVENT has no news. Nothing ever changes by itself, so that no
// group has any.
// Thread safety: any thread.
#pragma once

#include "sentry/net/socket/socket.h"

namespace rampart::net {

// EPROTONOSUPPORT: another protocol than those; ESOCKTNOSUPPORT.
Result<Ref<Socket>> NewNetlinkSocket(const Caller& caller, abi::Ucred owner, int type, int protocol, uint32_t flags);

// The kernel sends `bytes` as one packet to a netlink socket: the notices of mq_notify(2). EINVAL: not a netlink socket; EAGAIN: no room.
Result<void> SendFromKernel(Socket& socket, std::string bytes);

}  // namespace rampart::net
