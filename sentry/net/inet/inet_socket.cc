#include "sentry/net/inet/inet_socket.h"

#include "sentry/net/inet/inet_base.h"

namespace rampart::net {

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
  return FormatInet(family(), port_.bound ? port_.address : AnyAddress(family()));
}

Result<Ref<Socket>> NewInetSocket(const Caller& caller, abi::Ucred owner, int family, int type, int protocol, uint32_t flags) {
  if (type == abi::kSockRaw) return protocol == 0 ? Errno::kEPROTONOSUPPORT : Errno::kEPERM;
  if (type != abi::kSockStream && type != abi::kSockDgram) return Errno::kESOCKTNOSUPPORT;
  if (type == abi::kSockStream) {
    if (protocol != 0 && protocol != abi::kIpprotoTcp) return Errno::kEPROTONOSUPPORT;
    return NewTcpSocket(caller, family, flags, owner);
  }
  if (protocol == 0) protocol = abi::kIpprotoUdp;
  if (protocol != abi::kIpprotoUdp && protocol != abi::kIpprotoUdplite) return Errno::kEPROTONOSUPPORT;
  return NewUdpSocket(caller, family, protocol, flags, owner);
}

}  // namespace rampart::net
