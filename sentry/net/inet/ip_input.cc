#include "sentry/net/inet/ip_input.h"

#include <algorithm>

#include "abi/socket.h"
#include "base/time.h"
#include "sentry/net/inet/inet_base.h"

namespace rampart::net {
namespace {

bool IsIcmp(const IpPacket& packet) { return packet.protocol == (packet.v4 ? abi::kIpprotoIcmp : abi::kIpprotoIcmpv6); }

uint16_t Word16(std::string_view bytes, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(bytes[at]) << 8 | static_cast<uint8_t>(bytes[at + 1]));
}

void GiveTo(const RawNode& node, const IpPacket& packet, std::string_view whole) {
  Packet out;
  out.bytes = std::string(packet.v4 && !node.is_ping ? whole : packet.payload);
  out.from = PackInet(packet.from);
  out.to = PackInet(packet.to);
  out.hops = packet.hops, out.traffic_class = packet.traffic_class;
  (void)node.queue->Put(out, PacketQueue::kNoMaximum, nullptr);  // a full receiver loses it
}

// True: a raw socket has it.
bool GiveToRaw(const IpPacket& packet, std::string_view whole) {
  if (RawTable::Get().empty()) return false;
  const int type = IsIcmp(packet) && !packet.payload.empty() ? static_cast<uint8_t>(packet.payload[0]) : -1;
  bool taken = false;
  RefPtr<RawNode> asker;  // of those with one identifier the newest gets the answer
  for (const Ref<RawNode>& node : RawTable::Get().All()) {
    if (!node->Hears(packet, type)) continue;
    if (node->is_ping) {
      asker = node;
    } else {
      GiveTo(*node, packet, whole);
      taken = true;
    }
  }
  if (asker) GiveTo(*asker, packet, whole);
  return taken;
}

void SendIcmp(const IpPacket& cause, uint8_t type, uint8_t code, std::string_view rest) {
  std::string message{static_cast<char>(type), static_cast<char>(code), 0, 0};
  message.append(rest);
  IpPacket reply{cause.v4, cause.protocol, 64, 0, cause.to, cause.from, {}};
  reply.protocol = cause.v4 ? abi::kIpprotoIcmp : abi::kIpprotoIcmpv6;
  StoreChecksum(message, 2, cause.v4 ? 0 : PseudoHeaderSum(reply.from, reply.to, reply.protocol, message.size()));
  reply.payload = message;
  TransmitIp(BuildIp(reply));
}

// The kernel's own ear: it answers an echo. An answer is no echo, so that this ends.
void HearIcmp(const IpPacket& packet) {
  const std::string_view message = packet.payload;
  if (message.size() < 8 || packet.to.IsMulticast()) return;
  const uint32_t seed = packet.v4 ? 0 : PseudoHeaderSum(packet.from, packet.to, packet.protocol, message.size());
  if (InternetChecksum(message, seed) != 0) return;
  if (static_cast<uint8_t>(message[0]) != (packet.v4 ? kEcho4 : kEcho6)) return;
  SendIcmp(packet, packet.v4 ? kEchoReply4 : kEchoReply6, 0, message.substr(4));
}

// False: nobody has the port.
bool HearUdp(const IpPacket& packet) {
  const std::string_view message = packet.payload;
  if (message.size() < 8) return true;
  // UDP-Lite says instead how much its checksum covers; 0 is all.
  const bool lite = packet.protocol == abi::kIpprotoUdplite;
  const size_t stated = Word16(message, 4), length = lite ? message.size() : stated, covered = lite && stated == 0 ? length : stated;
  if (covered < 8 || length < 8 || covered > message.size() || length > message.size()) return true;
  const uint32_t seed = PseudoHeaderSum(packet.from, packet.to, packet.protocol, length);
  if (Word16(message, 6) != 0 && InternetChecksum(message.substr(0, covered), seed) != 0) return true;
  InetAddress from = packet.from, to = packet.to;
  from.port = Word16(message, 0), to.port = Word16(message, 2);
  Packet datagram;
  datagram.bytes = std::string(message.substr(8, length - 8));
  datagram.from = PackInet(from), datagram.to = PackInet(to);
  datagram.hops = packet.hops, datagram.traffic_class = packet.traffic_class;
  return DeliverDatagram(packet.protocol, std::move(datagram), to, from);
}

}  // namespace

bool RawNode::Hears(const IpPacket& packet, int type) {
  if (packet.v4 != (family == abi::kAfInet) || packet.protocol != protocol) return false;
  absl::MutexLock lock(&mu);
  if (!local.IsAny() && local.ip != packet.to.ip) return false;
  if (connected && peer.ip != packet.from.ip) return false;
  if (is_ping) {
    const bool reply = type == (packet.v4 ? kEchoReply4 : kEchoReply6) && packet.payload.size() >= 8;
    return reply && local.port != 0 && Word16(packet.payload, 4) == local.port;
  }
  if (type < 0) return true;
  if (packet.v4) return type > 31 || (filter[0] & (1u << type)) == 0;
  return (filter[static_cast<size_t>(type) / 32] & (1u << (type % 32))) == 0;
}

RawTable& RawTable::Get() {
  static RawTable* const table = new RawTable;
  return *table;
}

void RawTable::Add(Ref<RawNode> node) {
  absl::MutexLock lock(&mu_);
  nodes_.push_back(std::move(node));
  count_.store(nodes_.size(), std::memory_order_release);
}

void RawTable::Remove(const RawNode& node) {
  std::vector<Ref<RawNode>> gone;  // dropped after the lock
  absl::MutexLock lock(&mu_);
  const auto it = std::find_if(nodes_.begin(), nodes_.end(), [&](const Ref<RawNode>& n) { return n.get() == &node; });
  if (it == nodes_.end()) return;
  gone.push_back(std::move(*it));
  nodes_.erase(it);
  count_.store(nodes_.size(), std::memory_order_release);
}

Result<void> RawTable::TakeIdentifier(RawNode& node, uint16_t wanted) {
  absl::MutexLock lock(&mu_);
  bool shared = false;
  {
    absl::MutexLock own(&node.mu);
    shared = node.shared && wanted != 0;
  }
  const auto taken = [&node, shared](const std::vector<Ref<RawNode>>& nodes, uint16_t number) {
    return std::any_of(nodes.begin(), nodes.end(), [&](const Ref<RawNode>& n) {
      if (n.get() == &node || !n->is_ping || n->family != node.family) return false;
      absl::MutexLock other(&n->mu);
      return n->local.port == number && !(shared && n->shared);
    });
  };
  if (wanted != 0 && taken(nodes_, wanted)) return Errno::kEADDRINUSE;
  for (int tries = 0; wanted == 0 && tries < 65535; ++tries) {
    if (++next_ != 0 && !taken(nodes_, next_)) wanted = next_;
  }
  if (wanted == 0) return Errno::kEADDRINUSE;
  absl::MutexLock own(&node.mu);
  node.local.port = wanted;
  return Ok();
}

std::vector<Ref<RawNode>> RawTable::All() {
  absl::MutexLock lock(&mu_);
  return nodes_;
}

void TransmitIp(std::string_view packet, const WireTap* sender) {
  const bool v4 = !packet.empty() && static_cast<uint8_t>(packet[0]) >> 4 == 4;
  Wire::Get().Show(v4 ? kEtherIpv4 : kEtherIpv6, packet, sender);
  ReceiveIp(packet);
}

void ReceiveIp(std::string_view bytes) {
  const std::optional<IpPacket> packet = ParseIp(bytes);
  if (!packet || (!packet->to.IsLoopback() && !packet->to.IsMulticast()) || packet->from.IsMulticast()) return;
  const bool taken = GiveToRaw(*packet, bytes.substr(0, static_cast<size_t>(packet->payload.data() + packet->payload.size() - bytes.data())));
  if (IsIcmp(*packet)) return HearIcmp(*packet);
  switch (packet->protocol) {
    case abi::kIpprotoUdp:
    case abi::kIpprotoUdplite:
      if (!HearUdp(*packet)) SendUnreachable(bytes, Unreachable::kPort);
      return;
    case abi::kIpprotoTcp: return;
    default:
      if (!taken) SendUnreachable(bytes, Unreachable::kProtocol);
  }
}

std::string ShowDatagram(int protocol, const Packet& datagram, const InetAddress& to, const InetAddress& from) {
  const std::string message = BuildUdp(from, to, protocol, datagram.bytes);
  const std::string bytes = BuildIp({to.IsV4(), protocol, datagram.hops, datagram.traffic_class, from, to, message});
  Wire::Get().Show(to.IsV4() ? kEtherIpv4 : kEtherIpv6, bytes, nullptr);
  if (const std::optional<IpPacket> packet = ParseIp(bytes)) (void)GiveToRaw(*packet, bytes);
  return bytes;
}

void SendUnreachable(std::string_view bytes, Unreachable what) {
  constexpr size_t kQuoted4 = 548, kQuoted6 = 1232;  // bytes of the cause that the message carries
  const std::optional<IpPacket> packet = ParseIp(bytes);
  if (!packet || packet->to.IsMulticast() || packet->to.IsBroadcast()) return;
  const uint8_t code = what == Unreachable::kPort ? (packet->v4 ? 3 : 4) : (packet->v4 ? 2 : 1);
  // No message about a message that tells of an error.
  const uint8_t first = packet->payload.empty() ? 0 : static_cast<uint8_t>(packet->payload[0]);
  if (IsIcmp(*packet) && (packet->v4 ? first != kEcho4 : first < 128)) return;
  std::string rest(4, '\0');
  rest.append(bytes.substr(0, packet->v4 ? kQuoted4 : kQuoted6));
  SendIcmp(*packet, packet->v4 ? kUnreachable4 : kUnreachable6, code, rest);
}

}  // namespace rampart::net
