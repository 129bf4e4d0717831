// IPPROTO_IP and IPPROTO_IPV6 options: numbers that are kept, the ancillary data that one asks for, and memberships of groups on lo.
#include <algorithm>
#include <climits>
#include <cstring>

#include "sentry/net/inet/inet_base.h"
#include "sentry/net/socket/interface.h"

namespace rampart::net {
namespace {

constexpr size_t kMaxGroups = 20;  // net.ipv4.igmp_max_memberships

// An integer that is kept and told again. `unset`: a value that may be given to mean "as at first".
struct Kept {
  int name;
  int32_t initial, smallest, largest;
  bool has_unset;
};
constexpr Kept kIp[] = {
    {1, 0, 0, 255, false},        // IP_TOS
    {2, 64, 1, 255, true},        // IP_TTL
    {6, 0, INT_MIN, INT_MAX, false}, {7, 0, INT_MIN, INT_MAX, false},  // IP_RECVOPTS, IP_RETOPTS
    {8, 0, INT_MIN, INT_MAX, false},     // IP_PKTINFO
    {10, 1, 0, 5, false},         // IP_MTU_DISCOVER
    {11, 0, INT_MIN, INT_MAX, false},    // IP_RECVERR
    {12, 0, INT_MIN, INT_MAX, false},    // IP_RECVTTL
    {13, 0, INT_MIN, INT_MAX, false},    // IP_RECVTOS
    {15, 0, INT_MIN, INT_MAX, false},    // IP_FREEBIND
    {20, 0, INT_MIN, INT_MAX, false},    // IP_RECVORIGDSTADDR
    {21, 0, 0, 255, false},       // IP_MINTTL
    {24, 0, INT_MIN, INT_MAX, false},    // IP_BIND_ADDRESS_NO_PORT
    {33, 1, 0, 255, true},        // IP_MULTICAST_TTL
    {34, 1, INT_MIN, INT_MAX, false},    // IP_MULTICAST_LOOP
    {49, 1, 0, 1, false},         // IP_MULTICAST_ALL
    {50, 0, INT_MIN, INT_MAX, false},    // IP_UNICAST_IF
};
constexpr Kept kIpv6[] = {
    {16, 64, 0, 255, true},       // IPV6_UNICAST_HOPS
    {17, INT_MIN, INT_MIN, INT_MAX, false},  // IPV6_MULTICAST_IF: by its own code
    {18, 1, 0, 255, true},        // IPV6_MULTICAST_HOPS
    {19, 1, 0, 1, false},         // IPV6_MULTICAST_LOOP
    {23, 1, 0, 5, false},         // IPV6_MTU_DISCOVER
    {25, 0, INT_MIN, INT_MAX, false},  // IPV6_RECVERR
    {29, 1, 0, 1, false},         // IPV6_MULTICAST_ALL
    {49, 0, INT_MIN, INT_MAX, false}, {51, 0, INT_MIN, INT_MAX, false}, {53, 0, INT_MIN, INT_MAX, false},
    {56, 0, INT_MIN, INT_MAX, false}, {58, 0, INT_MIN, INT_MAX, false},  // IPV6_RECV…
    {62, 0, INT_MIN, INT_MAX, false},  // IPV6_DONTFRAG
    {66, 0, INT_MIN, INT_MAX, false},  // IPV6_RECVTCLASS
    {67, 0, 0, 255, true},        // IPV6_TCLASS
    {70, 1, INT_MIN, INT_MAX, false}, {72, 0x500, 0, INT_MAX, false},  // IPV6_AUTOFLOWLABEL, IPV6_ADDR_PREFERENCES
    {74, 0, INT_MIN, INT_MAX, false}, {78, 0, INT_MIN, INT_MAX, false},  // IPV6_RECVORIGDSTADDR, IPV6_FREEBIND
};
// What is not carried out: off, which one may ask about and say again. Header options: there are none, of no length.
constexpr int kIpOff[] = {5, 18, 19, 22, 23, 25, 26, 51};  // IP_ROUTER_ALERT, PASSSEC, TRANSPARENT, NODEFRAG, CHECKSUM, RECVFRAGSIZE, RECVERR_RFC4884, LOCAL_PORT_RANGE
constexpr int kIpv6Off[] = {2, 3, 4, 5, 8, 11, 22, 30, 31, 33, 60, 73, 75, 76, 77};  // IPV6_2292…, FLOWINFO, ROUTER_ALERT…, RECVPATHMTU, MINHOPCOUNT, …
constexpr int kIpv6Headers[] = {54, 55, 57, 59};  // IPV6_HOPOPTS, RTHDRDSTOPTS, RTHDR, DSTOPTS
bool IsOff(int level, int name) {
  const auto in = [&](const auto& all) { return std::find(std::begin(all), std::end(all), name) != std::end(all); };
  return level == abi::kIpprotoIp ? in(kIpOff) : in(kIpv6Off);
}
bool IsHeader(int name) { return std::find(std::begin(kIpv6Headers), std::end(kIpv6Headers), name) != std::end(kIpv6Headers); }

const Kept* KeptOf(int level, int name) {
  const auto find = [&](const auto& all) -> const Kept* {
    for (const Kept& k : all) {
      if (k.name == name) return &k;
    }
    return nullptr;
  };
  return level == abi::kIpprotoIp ? find(kIp) : find(kIpv6);
}

// IP's options take a byte where an integer is meant.
Result<int32_t> NumberIn(int level, std::string_view value) {
  if (level == abi::kIpprotoIp && value.size() < 4) return int32_t{value.empty() ? uint8_t{0} : static_cast<uint8_t>(value[0])};
  return IntegerIn(value);
}

constexpr int kIpTos = 1, kIpMulticastIf = 32, kIpAddMembership = 35, kIpDropMembership = 36, kIpMtu = 14, kIpTransparent = 19, kIpMulticastAll = 49, kIpProtocol = 52;
constexpr int kIpv6MulticastIf = 17, kIpv6JoinGroup = 20, kIpv6LeaveGroup = 21, kIpv6Mtu = 24, kIpv6Addrform = 1;

bool IsLoopbackV4(std::string_view bytes) { return static_cast<uint8_t>(bytes[0]) == 127; }
bool IsZero(std::string_view bytes) { return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; }); }
int32_t IndexIn(std::string_view bytes) {
  int32_t index = 0;
  std::memcpy(&index, bytes.data(), sizeof(index));
  return index;
}

}  // namespace

Result<void> InetSocket::ChangeMembership(bool join, const Bytes16& group, bool on_loopback) {
  if (!InetAddress{group, 0}.IsMulticast()) return Errno::kEINVAL;
  if (type() != abi::kSockDgram) return join ? Errno::kEPROTO : Errno::kEADDRNOTAVAIL;
  absl::MutexLock lock(&PortTable::Get().mu());
  auto& groups = port_.groups;
  const auto it = std::find(groups.begin(), groups.end(), InetAddress{group, 0});
  if (!join) {
    if (it == groups.end()) return on_loopback ? Errno::kEADDRNOTAVAIL : Errno::kENODEV;
    groups.erase(it);
    return Ok();
  }
  if (!on_loopback) return Errno::kENODEV;
  if (it != groups.end()) return Errno::kEADDRINUSE;
  if (groups.size() >= kMaxGroups) return Errno::kENOBUFS;
  groups.push_back({group, 0});
  return Ok();
}

// IPV6_ADDRFORM: a connection over IPv4 whose socket was made for IPv6 becomes one of AF_INET for good.
Result<void> InetSocket::BecomeIpv4() {
  if (type() == abi::kSockRaw || (protocol() != abi::kIpprotoTcp && protocol() != abi::kIpprotoUdp && protocol() != abi::kIpprotoUdplite)) {
    return Errno::kENOPROTOOPT;
  }
  if (!Established()) return Errno::kENOTCONN;
  const std::string name = TRY(PeerName());
  const InetAddress peer = TRY(ParseInet(family(), name, true));
  absl::MutexLock lock(&PortTable::Get().mu());
  if (port_.v6_only || !peer.IsV4()) return Errno::kEADDRNOTAVAIL;
  if (port_.address.ip == Bytes16{}) port_.address = AddressV4(0, 0, 0, 0, port_.address.port);
  set_family(abi::kAfInet);
  return Ok();
}

Result<void> InetSocket::SetIpOption(const Caller& caller, int level, int name, std::string_view value) {
  if (level == abi::kIpprotoIp) {
    if (name == kIpAddMembership || name == kIpDropMembership) {
      if (value.size() < 8) return Errno::kEINVAL;
      // struct ip_mreq or ip_mreqn: the group, an address of the interface, its index.
      Bytes16 group = AddressV4(static_cast<uint8_t>(value[0]), static_cast<uint8_t>(value[1]), static_cast<uint8_t>(value[2]),
                                static_cast<uint8_t>(value[3]), 0).ip;
      const bool by_index = value.size() >= 12 && IndexIn(value.substr(8)) != 0;
      const bool on_lo = by_index ? IndexIn(value.substr(8)) == kLoopbackIndex : IsLoopbackV4(value.substr(4));
      return ChangeMembership(name == kIpAddMembership, group, on_lo);
    }
    if (name == kIpMulticastIf) {
      if (value.size() < 4) return Errno::kEINVAL;
      const bool by_index = value.size() >= 12 && IndexIn(value.substr(8)) != 0;
      const std::string_view address = value.size() >= 8 ? value.substr(4, 4) : value.substr(0, 4);
      if (by_index ? IndexIn(value.substr(8)) != kLoopbackIndex : !IsZero(address) && !IsLoopbackV4(address)) return Errno::kEADDRNOTAVAIL;
      Remember(level, name, by_index || !IsZero(address) ? 1 : 0);
      return Ok();
    }
    if (name == kIpTransparent && !caller.creds().HasCapability(abi::Capability::kNetAdmin)) return Errno::kEPERM;
  } else {
    if (name == kIpv6JoinGroup || name == kIpv6LeaveGroup) {
      if (value.size() < 20) return Errno::kEINVAL;
      Bytes16 group;
      std::memcpy(group.data(), value.data(), 16);
      if (InetAddress{group, 0}.IsV4()) return Errno::kEINVAL;
      const int32_t index = IndexIn(value.substr(16));
      return ChangeMembership(name == kIpv6JoinGroup, group, index == kLoopbackIndex);
    }
    const int32_t number = TRY(IntegerIn(value));
    if (name == kIpv6Addrform) return number == abi::kAfInet ? BecomeIpv4() : Errno::kEINVAL;
    if (name == abi::kIpv6V6only) {
      absl::MutexLock lock(&PortTable::Get().mu());
      if (port_.bound) return Errno::kEINVAL;
      port_.v6_only = number != 0;
      return Ok();
    }
    if (name == kIpv6MulticastIf && number != 0 && number != kLoopbackIndex) return Errno::kENODEV;
  }
  const Kept* const kept = KeptOf(level, name);
  if (kept == nullptr && IsOff(level, name)) return TRY(NumberIn(level, value)) == 0 ? Result<void>(Ok()) : Errno::kENOPROTOOPT;
  if (kept == nullptr) return Errno::kENOPROTOOPT;
  int32_t number = TRY(NumberIn(level, value));
  if (level == abi::kIpprotoIp && name == kIpTos) {  // a byte of it; the bits for congestion are TCP's own
    constexpr int32_t kCongestion = 3;
    number &= 0xff;
    if (type() == abi::kSockStream) number = (number & ~kCongestion) | (Remembered(level, name, 0) & kCongestion);
  }
  if (kept->has_unset && number == -1) {
    number = kept->initial;
  } else if (number < kept->smallest || number > kept->largest) {
    return Errno::kEINVAL;
  }
  Remember(level, name, kept->smallest == INT_MIN && name != kIpv6MulticastIf ? (number != 0 ? 1 : 0) : number);
  return Ok();
}

Result<void> InetSocket::SetOption(const Caller& caller, int level, int name, std::string_view value) {
  // A v6 socket has IP's options too, for what it sends to mapped addresses.
  if (level == abi::kIpprotoIp) return SetIpOption(caller, level, name, value);
  if (level == abi::kIpprotoIpv6) {
    if (family() != abi::kAfInet6) return Errno::kENOPROTOOPT;
    return SetIpOption(caller, level, name, value);
  }
  return Socket::SetOption(caller, level, name, value);
}

Result<std::string> InetSocket::GetOption(const Caller& caller, int level, int name, size_t room) {
  // Linux's answer for a level that nobody knows differs by family: do_ip_getsockopt, ipv6_getsockopt.
  const bool known = level == abi::kIpprotoIp || level == abi::kIpprotoIpv6 || level == abi::kSolSocket;
  if (!known && family() == abi::kAfInet) return Errno::kEOPNOTSUPP;
  if (level != abi::kIpprotoIp && level != abi::kIpprotoIpv6) return Socket::GetOption(caller, level, name, room);
  if (level == abi::kIpprotoIpv6 && family() != abi::kAfInet6) return Errno::kEOPNOTSUPP;
  if (level == abi::kIpprotoIp && name == kIpMulticastIf) {
    return Remembered(level, name, 0) != 0 ? std::string("\x7f\0\0\1", 4) : std::string(4, '\0');
  }
  if (level == abi::kIpprotoIpv6 && name == kIpv6MulticastIf) return BytesOf(Remembered(level, name, 0));
  if (level == abi::kIpprotoIpv6 && name == abi::kIpv6V6only) {
    absl::MutexLock lock(&PortTable::Get().mu());
    return BytesOf(int32_t{port_.v6_only ? 1 : 0});
  }
  if (level == abi::kIpprotoIpv6 && name == kIpv6Addrform) {
    if (type() == abi::kSockRaw) return Errno::kENOPROTOOPT;
    if (!Established()) return Errno::kENOTCONN;
    return BytesOf(int32_t{abi::kAfInet6});
  }
  if (name == (level == abi::kIpprotoIp ? kIpMtu : kIpv6Mtu)) {
    TRY(PeerName());
    return BytesOf(int32_t{kLoopbackMtu});
  }
  if (level == abi::kIpprotoIp && name == 4) return std::string();  // IP_OPTIONS: none
  const Kept* const kept = KeptOf(level, name);
  if (kept == nullptr && IsOff(level, name)) return BytesOf(int32_t{0});
  if (kept == nullptr && level == abi::kIpprotoIpv6 && IsHeader(name)) return std::string();
  if (kept == nullptr && level == abi::kIpprotoIp && name == kIpProtocol) return BytesOf(int32_t{type() == abi::kSockRaw ? protocol() : 0});
  if (kept == nullptr) return Errno::kENOPROTOOPT;
  const bool no_groups = level == abi::kIpprotoIp && name == kIpMulticastAll && family() == abi::kAfInet6;
  const int32_t number = Remembered(level, name, no_groups ? 0 : kept->initial);
  // A byte if that is what there is room for.
  if (level == abi::kIpprotoIp && room > 0 && room < 4 && number >= 0 && number <= 255) return std::string(1, static_cast<char>(number));
  return BytesOf(number);
}

}  // namespace rampart::net
