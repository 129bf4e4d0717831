#include "sentry/net/inet/ip_packet.h"

#include <cstring>

#include "abi/socket.h"
#include "base/check.h"

namespace rampart::net {
namespace {

uint8_t Byte(std::string_view bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }
uint16_t Word16(std::string_view bytes, size_t at) { return static_cast<uint16_t>(Byte(bytes, at) << 8 | Byte(bytes, at + 1)); }
void Put16(std::string& out, size_t at, size_t value) {
  out[at] = static_cast<char>(value >> 8 & 0xff);
  out[at + 1] = static_cast<char>(value & 0xff);
}

uint32_t SumOf(std::string_view bytes, uint32_t seed) {
  uint64_t sum = seed;
  size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) sum += Word16(bytes, i);
  if (i < bytes.size()) sum += static_cast<uint32_t>(Byte(bytes, i)) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint32_t>(sum);
}

std::optional<IpPacket> ParseV4(std::string_view bytes) {
  const size_t header = (Byte(bytes, 0) & 15) * size_t{4};
  const size_t total = Word16(bytes, 2);
  if (header < kIpv4Header || total < header || total > bytes.size()) return std::nullopt;
  if (InternetChecksum(bytes.substr(0, header)) != 0 || (Word16(bytes, 6) & 0x3fff) != 0) return std::nullopt;
  const auto address = [&](size_t at) { return AddressV4(Byte(bytes, at), Byte(bytes, at + 1), Byte(bytes, at + 2), Byte(bytes, at + 3), 0); };
  return IpPacket{true, Byte(bytes, 9), Byte(bytes, 8), Byte(bytes, 1), address(12), address(16), bytes.substr(header, total - header)};
}

std::optional<IpPacket> ParseV6(std::string_view bytes) {
  const size_t length = Word16(bytes, 4);
  if (bytes.size() < kIpv6Header || bytes.size() - kIpv6Header < length) return std::nullopt;
  IpPacket packet{false, Byte(bytes, 6), Byte(bytes, 7), Word16(bytes, 0) >> 4 & 0xff, {}, {}, bytes.substr(kIpv6Header, length)};
  std::memcpy(packet.from.ip.data(), bytes.data() + 8, 16);
  std::memcpy(packet.to.ip.data(), bytes.data() + 24, 16);
  return packet;
}

}  // namespace

std::optional<IpPacket> ParseIp(std::string_view bytes) {
  if (bytes.size() < kIpv4Header) return std::nullopt;
  switch (Byte(bytes, 0) >> 4) {
    case 4: return ParseV4(bytes);
    case 6: return ParseV6(bytes);
    default: return std::nullopt;
  }
}

std::string BuildIp(const IpPacket& packet) {
  std::string out(packet.v4 ? kIpv4Header : kIpv6Header, '\0');
  const size_t total = out.size() + packet.payload.size();
  CHECK(total <= 65535 + (packet.v4 ? 0 : kIpv6Header));
  if (packet.v4) {
    out[0] = 0x45;
    out[1] = static_cast<char>(packet.traffic_class);
    Put16(out, 2, total);
    Put16(out, 6, 0x4000);  // it may not be fragmented, and needs no number
    out[8] = static_cast<char>(packet.hops);
    out[9] = static_cast<char>(packet.protocol);
    std::memcpy(out.data() + 12, packet.from.ip.data() + 12, 4);
    std::memcpy(out.data() + 16, packet.to.ip.data() + 12, 4);
    StoreChecksum(out, 10, 0);
  } else {
    Put16(out, 0, 0x6000 | static_cast<size_t>(packet.traffic_class & 0xff) << 4);
    Put16(out, 4, packet.payload.size());
    out[6] = static_cast<char>(packet.protocol);
    out[7] = static_cast<char>(packet.hops);
    std::memcpy(out.data() + 8, packet.from.ip.data(), 16);
    std::memcpy(out.data() + 24, packet.to.ip.data(), 16);
  }
  out.append(packet.payload);
  return out;
}

uint16_t InternetChecksum(std::string_view bytes, uint32_t seed) { return static_cast<uint16_t>(~SumOf(bytes, seed)); }

uint32_t PseudoHeaderSum(const InetAddress& from, const InetAddress& to, int protocol, size_t length) {
  const size_t skip = to.IsV4() ? 12 : 0;
  uint32_t sum = static_cast<uint32_t>(protocol) + static_cast<uint32_t>(length & 0xffff) + static_cast<uint32_t>(length >> 16);
  for (const InetAddress* a : {&from, &to}) {
    sum = SumOf(std::string_view(reinterpret_cast<const char*>(a->ip.data()) + skip, 16 - skip), sum);  // SAFETY: bytes
  }
  return sum;
}

void StoreChecksum(std::string& message, size_t offset, uint32_t seed) {
  Put16(message, offset, 0);
  Put16(message, offset, InternetChecksum(message, seed));
}

std::string BuildUdp(const InetAddress& from, const InetAddress& to, int protocol, std::string_view bytes) {
  std::string out(8, '\0');
  Put16(out, 0, from.port);
  Put16(out, 2, to.port);
  Put16(out, 4, 8 + bytes.size());
  out.append(bytes);
  StoreChecksum(out, 6, PseudoHeaderSum(from, to, protocol, out.size()));
  if (out[6] == 0 && out[7] == 0) out[6] = out[7] = '\xff';  // 0 would mean that there is none
  return out;
}

}  // namespace rampart::net
