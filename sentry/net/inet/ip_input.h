// What becomes of a packet on lo: packet sockets see it, raw and ICMP sockets get it, the kernel answers an echo, UDP gets its datagrams.
//
// Model. A RawNode is what a raw or ICMP socket has in the table of those who hear packets; the table is weak: the socket takes its node out.
// TCP's segments reach raw sockets only: TCP itself is queues (tcp_socket.cc).
// Thread safety: any thread. The table's lock is a leaf; queues are filled without it.
#pragma once

#include <array>
#include <atomic>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/net/inet/ip_packet.h"
#include "sentry/net/socket/packet_queue.h"
#include "sentry/net/socket/wire.h"

namespace rampart::net {

class RawNode final : public RefCounted {
 public:
  RawNode(int node_family, int node_protocol, bool node_is_ping, Ref<PacketQueue> node_queue)
      : family(node_family), protocol(node_protocol), is_ping(node_is_ping), queue(std::move(node_queue)) {}

  const int family, protocol;
  const bool is_ping;
  const Ref<PacketQueue> queue;
  absl::Mutex mu;  // a leaf
  InetAddress local ABSL_GUARDED_BY(mu);           // the port: of an ICMP socket its identifier, 0: none yet
  bool shared ABSL_GUARDED_BY(mu) = true;          // an ICMP socket: others that are shared too may have its identifier
  bool connected ABSL_GUARDED_BY(mu) = false;
  InetAddress peer ABSL_GUARDED_BY(mu);
  std::array<uint32_t, 8> filter ABSL_GUARDED_BY(mu){};  // of ICMP types: a bit that is set keeps it out. ICMPv4 has the first word.

  // Whether a packet is for it. `type`: ICMP's, else -1.
  bool Hears(const IpPacket& packet, int type);
};

class RawTable {
 public:
  static RawTable& Get();
  bool empty() const { return count_.load(std::memory_order_acquire) == 0; }
  void Add(Ref<RawNode> node);
  void Remove(const RawNode& node);
  // An ICMP socket's identifier; 0: a free one. EADDRINUSE, unless both are shared.
  Result<void> TakeIdentifier(RawNode& node, uint16_t wanted);
  std::vector<Ref<RawNode>> All();

 private:
  std::atomic<size_t> count_{0};
  absl::Mutex mu_;
  uint16_t next_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<Ref<RawNode>> nodes_ ABSL_GUARDED_BY(mu_);
};

// Whether anybody looks at packets: only then are datagrams made into some.
inline bool IpWatched() { return Wire::Get().watched() || !RawTable::Get().empty(); }

// An IP packet goes over lo. `sender`: see Wire.
void TransmitIp(std::string_view packet, const WireTap* sender = nullptr);
// ReceiveIp (inet_socket.h) is for one that has been shown already.

// Shows a datagram that UDP delivers itself; the packet, for SendUnreachable.
std::string ShowDatagram(int protocol, const Packet& datagram, const InetAddress& to, const InetAddress& from);
// The ICMP message that tells the sender of `packet` that nobody was there.
enum class Unreachable : uint8_t { kPort, kProtocol };
void SendUnreachable(std::string_view packet, Unreachable what);

}  // namespace rampart::net
