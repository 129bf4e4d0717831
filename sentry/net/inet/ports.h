// Which sockets are bound to which port of TCP and UDP. Weak: a socket takes itself out before it dies.
// Thread safety: any thread. The table's lock: after a socket's own, before a listener's and a queue's.
#pragma once

#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "sentry/net/inet/inet_address.h"
#include "sentry/net/inet/tcp_listener.h"
#include "sentry/net/socket/packet_queue.h"
#include "sentry/net/socket/socket.h"

namespace rampart::net {

// What a socket has in the table. The owner embeds it; the fields are guarded by the table's lock.
struct PortHolder {
  PortHolder(Socket& holder, abi::Uid user) : socket(holder), owner(user) {}
  Socket& socket;
  const abi::Uid owner;
  bool bound = false;
  bool v6_only = false;
  bool asked = false;                // by the port's number
  InetAddress address;               // as bound
  RefPtr<TcpListener> listener;      // TCP that listens
  RefPtr<PacketQueue> datagrams;     // UDP
  bool connected = false;            // UDP: hears only `peer`
  InetAddress peer;
  std::vector<InetAddress> groups;   // UDP: multicast groups on lo; their ports are 0
};

class PortTable {
 public:
  static PortTable& Get();
  absl::Mutex& mu() ABSL_LOCK_RETURNED(mu_) { return mu_; }

  // Port 0: one of the ephemeral ones. EADDRINUSE; EINVAL: already bound.
  Result<void> Bind(PortHolder& holder, InetAddress address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Unbind(PortHolder& holder) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Before listening. EADDRINUSE: somebody listens there already.
  Result<void> CheckListen(const PortHolder& holder) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // An accepted connection holds its port too: a later bind needs SO_REUSEADDR.
  void AddConnection(uint16_t port, bool reuse) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RemoveConnection(uint16_t port, bool reuse) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Null: nobody. Of several with SO_REUSEPORT one is picked by the source.
  RefPtr<TcpListener> FindListener(const InetAddress& to, const InetAddress& from) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  PortHolder* FindDatagram(int protocol, const InetAddress& to, const InetAddress& from) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Everybody that a broadcast or multicast to `to` reaches.
  std::vector<PortHolder*> FindAll(int protocol, const InetAddress& to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

 private:
  struct Port {
    std::vector<PortHolder*> holders;
    uint32_t connections = 0, strict_connections = 0;  // accepted ones; those without SO_REUSEADDR
  };
  static uint32_t KeyOf(const Socket& socket, uint16_t port) { return static_cast<uint32_t>(socket.protocol()) << 16 | port; }
  bool Free(const PortHolder& holder, const InetAddress& address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Port* Find(int protocol, uint16_t port) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  absl::Mutex mu_;
  absl::flat_hash_map<uint32_t, Port> ports_ ABSL_GUARDED_BY(mu_);
  uint16_t next_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace rampart::net
