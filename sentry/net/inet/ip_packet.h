// IPv4 and IPv6 packets as bytes: parsing, building, checksums (RFC 791, 8200, 1071, 792, 4443).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sentry/net/inet/inet_address.h"

namespace rampart::net {

inline constexpr size_t kIpv4Header = 20, kIpv6Header = 40;
inline constexpr uint8_t kEchoReply4 = 0, kUnreachable4 = 3, kEcho4 = 8, kUnreachable6 = 1, kEcho6 = 128, kEchoReply6 = 129;

struct IpPacket {
  bool v4 = true;
  int protocol = 0;
  int32_t hops = 64, traffic_class = 0;
  InetAddress from, to;          // ports 0
  std::string_view payload;      // within the bytes that it was parsed from
};

// Nothing: torn, of another version, a fragment, or (IPv4) with a wrong checksum. Bytes beyond the length that it states are not looked at.
std::optional<IpPacket> ParseIp(std::string_view bytes);
// The packet with its header. REQUIRES: it fits into 65535 bytes.
std::string BuildIp(const IpPacket& packet);

// The Internet checksum of `bytes`, to be stored in the order in which it is: over the bytes with the field zero, or 0 over bytes with a right one.
// `seed`: a sum to begin with.
uint16_t InternetChecksum(std::string_view bytes, uint32_t seed = 0);
// What UDP's and ICMPv6's checksum covers beside the message.
uint32_t PseudoHeaderSum(const InetAddress& from, const InetAddress& to, int protocol, size_t length);
// Stores the checksum of `message` at `offset` in it. REQUIRES: there are two bytes.
void StoreChecksum(std::string& message, size_t offset, uint32_t seed);

// The datagram with its header of eight bytes.
std::string BuildUdp(const InetAddress& from, const InetAddress& to, int protocol, std::string_view bytes);

}  // namespace rampart::net
