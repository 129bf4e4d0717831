// InetAddress: an address and port of either family; IPv4 as v4-mapped IPv6.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace rampart::net {

using Bytes16 = std::array<uint8_t, 16>;
inline constexpr Bytes16 kLoopback6{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

struct InetAddress {
  Bytes16 ip{};
  uint16_t port = 0;

  bool IsV4() const;
  bool IsAny() const { return ip == Bytes16{} || (IsV4() && ip[12] == 0 && ip[13] == 0 && ip[14] == 0 && ip[15] == 0); }
  bool IsLoopback() const { return ip == kLoopback6 || (IsV4() && ip[12] == 127); }
  bool IsMulticast() const { return IsV4() ? (ip[12] & 0xf0) == 0xe0 : ip[0] == 0xff; }
  // 255.255.255.255, and that of 127.0.0.0/8.
  bool IsBroadcast() const;
  bool operator==(const InetAddress&) const = default;
};

InetAddress AddressV4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port);
InetAddress AnyAddress(int family);

// A sockaddr as a socket of `family` takes it. `mapped`: AF_INET6 takes sockaddr_in too. EINVAL, EAFNOSUPPORT.
Result<InetAddress> ParseInet(int family, std::string_view address, bool mapped);
// As getsockname and the others tell it to a socket of `family`.
std::string FormatInet(int family, const InetAddress& a);
// Through the opaque text that a Packet carries.
std::string PackInet(const InetAddress& a);
InetAddress UnpackInet(std::string_view packed);

}  // namespace rampart::net
