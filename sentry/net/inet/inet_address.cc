#include "sentry/net/inet/inet_address.h"

#include <algorithm>
#include <cstring>

#include "abi/socket.h"

namespace rampart::net {

bool InetAddress::IsV4() const {
  static constexpr std::array<uint8_t, 12> kPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::equal(kPrefix.begin(), kPrefix.end(), ip.begin());
}

bool InetAddress::IsBroadcast() const {
  return IsV4() && ip[13] == 255 && ip[14] == 255 && ip[15] == 255 && (ip[12] == 255 || ip[12] == 127);
}

InetAddress AddressV4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port) {
  return {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}, port};
}

InetAddress AnyAddress(int family) { return family == abi::kAfInet ? AddressV4(0, 0, 0, 0, 0) : InetAddress{}; }

Result<InetAddress> ParseInet(int family, std::string_view address, bool mapped) {
  if (address.size() < 2) return Errno::kEINVAL;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(address[i]); };
  const int given = byte(0) | byte(1) << 8;
  if (given == abi::kAfInet && (family == abi::kAfInet || mapped)) {
    if (address.size() < 16) return Errno::kEINVAL;
    return AddressV4(byte(4), byte(5), byte(6), byte(7), static_cast<uint16_t>(byte(2) << 8 | byte(3)));
  }
  if (address.size() < (family == abi::kAfInet ? 16u : 24u)) return Errno::kEINVAL;
  if (given != family) return Errno::kEAFNOSUPPORT;
  InetAddress parsed;
  parsed.port = static_cast<uint16_t>(byte(2) << 8 | byte(3));
  std::memcpy(parsed.ip.data(), address.data() + 8, 16);
  return parsed;
}

std::string FormatInet(int family, const InetAddress& a) {
  std::string text(family == abi::kAfInet ? 16 : 28, '\0');
  text[0] = static_cast<char>(family);
  text[2] = static_cast<char>(a.port >> 8);
  text[3] = static_cast<char>(a.port & 0xff);
  if (family == abi::kAfInet) {
    if (a.IsV4()) std::memcpy(text.data() + 4, a.ip.data() + 12, 4);
  } else {
    std::memcpy(text.data() + 8, a.ip.data(), 16);
  }
  return text;
}

std::string PackInet(const InetAddress& a) {
  std::string packed(18, '\0');
  std::memcpy(packed.data(), a.ip.data(), 16);
  packed[16] = static_cast<char>(a.port >> 8);
  packed[17] = static_cast<char>(a.port & 0xff);
  return packed;
}

InetAddress UnpackInet(std::string_view packed) {
  InetAddress a;
  if (packed.size() != 18) return a;
  std::memcpy(a.ip.data(), packed.data(), 16);
  a.port = static_cast<uint16_t>(static_cast<uint8_t>(packed[16]) << 8 | static_cast<uint8_t>(packed[17]));
  return a;
}

}  // namespace rampart::net
