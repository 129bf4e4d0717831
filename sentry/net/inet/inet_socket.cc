#include "sentry/net/inet/inet_socket.h"

#include <cstring>

#include "sentry/net/inet/inet_base.h"
#include "sentry/net/socket/interface.h"
#include "sentry/net/socket/socket_list.h"

namespace rampart::net {
namespace {

constexpr int kIpPktinfo = 8, kIpTtl = 2, kIpTos = 1, kIpRecvttl = 12, kIpRecvtos = 13;
constexpr int kIpv6UnicastHops = 16, kIpv6Recvpktinfo = 49, kIpv6Pktinfo = 50,
              kIpv6Recvhoplimit = 51, kIpv6Hoplimit = 52, kIpv6Recvtclass = 66, kIpv6Tclass = 67;

}  // namespace

InetSocket::InetSocket(const Caller& caller, int family, int type, int protocol, uint32_t flags, abi::Ucred owner, Ref<Side> side)
    : Socket(family, type, protocol, flags, std::move(side), caller), owner_(owner), port_(*this, owner.uid) {}

InetSocket::~InetSocket() {
  absl::MutexLock lock(&PortTable::Get().mu());
  PortTable::Get().Unbind(port_);
}

Result<void> InetSocket::Bind(const vfs::Walk& walk, std::string_view text) {
  // AF_UNSPEC with the unspecified address is taken for AF_INET, as Linux does for old programs.
  std::string compatible(text);
  if (family() == abi::kAfInet && text.size() >= 16 && text[0] == 0 && text[1] == 0 && text.substr(4, 4) == std::string_view("\0\0\0\0", 4)) {
    compatible[0] = static_cast<char>(abi::kAfInet);
  }
  const InetAddress address = TRY(ParseInet(family(), compatible, false));
  const bool special = type() == abi::kSockDgram && (address.IsMulticast() || address.IsBroadcast());
  if (!address.IsAny() && !address.IsLoopback() && !special && Remembered(abi::kIpprotoIp, 15, 0) == 0) return Errno::kEADDRNOTAVAIL;
  if (address.port != 0 && address.port < 1024 && !walk.caller.creds().HasCapability(abi::Capability::kNetBindService)) return Errno::kEACCES;
  PortTable& table = PortTable::Get();
  absl::MutexLock lock(&table.mu());
  if (fixed_local_) return Errno::kEINVAL;
  TRY(table.Bind(port_, address));
  port_.asked = address.port != 0;
  return Ok();
}

Result<void> InetSocket::EnsureBound() {
  PortTable& table = PortTable::Get();
  absl::MutexLock lock(&table.mu());
  if (port_.bound || fixed_local_) return Ok();
  const Result<void> bound = table.Bind(port_, AnyAddress(family()));
  return bound.ok() || bound.error() != Errno::kEADDRINUSE ? bound : Errno::kEAGAIN;
}

Result<InetAddress> InetSocket::Route(InetAddress to) const {
  if (family() == abi::kAfInet6 && to.IsV4()) {
    absl::MutexLock lock(&PortTable::Get().mu());
    if (port_.v6_only) return Errno::kENETUNREACH;
  }
  if (to.IsAny()) to = to.IsV4() ? AddressV4(127, 0, 0, 1, to.port) : InetAddress{kLoopback6, to.port};
  if (!to.IsLoopback()) return Errno::kENETUNREACH;
  return to;
}

InetAddress InetSocket::SourceFor(const InetAddress& to) const {
  absl::MutexLock lock(&PortTable::Get().mu());
  if (fixed_local_) return *fixed_local_;
  if (!port_.address.IsAny() && !port_.address.IsMulticast() && !port_.address.IsBroadcast()) return port_.address;
  if (!to.IsV4()) return {kLoopback6, port_.address.port};
  return AddressV4(127, 0, 0, 1, port_.address.port);
}

std::string InetSocket::LocalName() const {
  absl::MutexLock lock(&PortTable::Get().mu());
  if (fixed_local_) return FormatInet(family(), *fixed_local_);
  return FormatInet(family(), port_.bound ? port_.address : given_back_.value_or(AnyAddress(family())));
}

void InetSocket::Report(SocketReport& report) const {
  Socket::Report(report);
  absl::MutexLock lock(&PortTable::Get().mu());
  // As in Linux, an address of IPv6 alone has no other half.
  report.v6_only = port_.v6_only || (port_.bound && !port_.address.IsV4() && !(port_.address.ip == Bytes16{}));
}

void InetSocket::AddControls(const Packet& packet, RecvResult& result) const {
  AddTimestamp(packet, result);
  const InetAddress to = UnpackInet(packet.to);
  if (option(abi::kIpprotoIp, kIpPktinfo) && to.IsV4()) {
    std::string info = BytesOf(kLoopbackIndex);
    for (int i = 0; i < 2; ++i) info.append(reinterpret_cast<const char*>(to.ip.data()) + 12, 4);  // SAFETY: bytes
    result.controls.push_back({abi::kIpprotoIp, kIpPktinfo, std::move(info)});
  }
  if (option(abi::kIpprotoIp, kIpRecvttl)) result.controls.push_back({abi::kIpprotoIp, kIpTtl, BytesOf(packet.hops)});
  if (option(abi::kIpprotoIp, kIpRecvtos)) {
    result.controls.push_back({abi::kIpprotoIp, kIpTos, std::string(1, static_cast<char>(packet.traffic_class))});
  }
  if (family() != abi::kAfInet6) return;
  if (option(abi::kIpprotoIpv6, kIpv6Recvpktinfo)) {
    std::string info(reinterpret_cast<const char*>(to.ip.data()), 16);  // SAFETY: bytes
    result.controls.push_back({abi::kIpprotoIpv6, kIpv6Pktinfo, info + BytesOf(kLoopbackIndex)});
  }
  if (option(abi::kIpprotoIpv6, kIpv6Recvhoplimit)) result.controls.push_back({abi::kIpprotoIpv6, kIpv6Hoplimit, BytesOf(packet.hops)});
  if (option(abi::kIpprotoIpv6, kIpv6Recvtclass)) result.controls.push_back({abi::kIpprotoIpv6, kIpv6Tclass, BytesOf(packet.traffic_class)});
}

Result<void> InetSocket::SetHops(Packet& packet, const InetAddress& to, std::span<const Control> controls) const {
  packet.hops = to.IsV4() ? Remembered(abi::kIpprotoIp, kIpTtl, 64) : Remembered(abi::kIpprotoIpv6, kIpv6UnicastHops, 64);
  packet.traffic_class = to.IsV4() ? Remembered(abi::kIpprotoIp, kIpTos, 0) : Remembered(abi::kIpprotoIpv6, kIpv6Tclass, 0);
  for (const Control& c : controls) {
    if (c.level != abi::kIpprotoIpv6 || c.bytes.size() < sizeof(int32_t)) continue;
    int32_t number = 0;
    std::memcpy(&number, c.bytes.data(), sizeof(number));
    if (number < -1 || number > 255) return Errno::kEINVAL;
    if (c.type == kIpv6Hoplimit && number >= 0) packet.hops = number;
    if (c.type == kIpv6Tclass && number >= 0) packet.traffic_class = number;
  }
  return Ok();
}

Result<Ref<Socket>> NewInetSocket(const Caller& caller, abi::Ucred owner, int family, int type, int protocol, uint32_t flags) {
  if (protocol < 0 || protocol > abi::kIpprotoLargest) return Errno::kEINVAL;
  if (type == abi::kSockRaw) {
    if (protocol == 0) return Errno::kEPROTONOSUPPORT;
    if (!caller.creds().HasCapability(abi::Capability::kNetRaw)) return Errno::kEPERM;
    return NewRawSocket(caller, family, protocol, flags, owner);
  }
  if (type != abi::kSockStream && type != abi::kSockDgram) return Errno::kESOCKTNOSUPPORT;
  if (type == abi::kSockStream) {
    if (protocol != 0 && protocol != abi::kIpprotoTcp) return Errno::kEPROTONOSUPPORT;
    return NewTcpSocket(caller, family, flags, owner);
  }
  if (protocol == 0) protocol = abi::kIpprotoUdp;
  if (protocol == (family == abi::kAfInet ? abi::kIpprotoIcmp : abi::kIpprotoIcmpv6)) return NewPingSocket(caller, family, flags, owner);
  if (protocol != abi::kIpprotoUdp && protocol != abi::kIpprotoUdplite) return Errno::kEPROTONOSUPPORT;
  return NewUdpSocket(caller, family, protocol, flags, owner);
}

}  // namespace rampart::net
