// AF_NETLINK, of which there is NETLINK_ROUTE, and of that what asks (RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNEIGH, RTM_GETRULE): the answers tell
// of the one interface, lo. Requests that would change something are EPERM. Nothing ever changes, so that no group has any news.
// Thread safety: any thread.
#pragma once

#include "sentry/net/socket/socket.h"

namespace rampart::net {

// EPROTONOSUPPORT: another protocol than NETLINK_ROUTE; ESOCKTNOSUPPORT.
Result<Ref<Socket>> NewNetlinkSocket(const Caller& caller, abi::Ucred owner, int type, int protocol, uint32_t flags);

// The kernel sends `bytes` as one packet to a netlink socket: the notices of mq_notify(2). EINVAL: not a netlink socket; EAGAIN: no room.
Result<void> SendFromKernel(Socket& socket, std::string bytes);

}  // namespace rampart::net
