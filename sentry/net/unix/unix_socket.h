// AF_UNIX sockets: unnamed, abstract and path names (unix(7)).
// Thread safety: any thread. Lock order: a socket's mu_ → a node's mu → a queue's lock; the name table's lock is a leaf.
#pragma once

#include "sentry/net/socket/socket.h"

namespace rampart::net {

// EPROTONOSUPPORT, ESOCKTNOSUPPORT.
Result<Ref<Socket>> NewUnixSocket(const Caller& caller, abi::Ucred owner, int type, int protocol, uint32_t flags);
Result<std::pair<Ref<Socket>, Ref<Socket>>> NewUnixPair(const Caller& caller, abi::Ucred owner, int type, int protocol, uint32_t flags);

}  // namespace rampart::net
