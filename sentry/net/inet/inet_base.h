// InetSocket: what TCP and UDP sockets share: binding, addresses, IP's options.
#pragma once

#include "sentry/net/inet/inet_address.h"
#include "sentry/net/inet/inet_socket.h"
#include "sentry/net/inet/ports.h"

namespace rampart::net {

inline constexpr uint32_t kMsgMore = 0x8000;  // MSG_MORE

class InetSocket : public Socket {
 public:
  InetSocket(const Caller& caller, int family, int type, int protocol, uint32_t flags, abi::Ucred owner, Ref<Side> side);

  Result<void> Bind(const vfs::Walk& walk, std::string_view address) override;
  std::string LocalName() const override;
  Result<void> SetOption(const Caller& caller, int level, int name, std::string_view value) override;
  Result<std::string> GetOption(const Caller& caller, int level, int name, size_t room) override;
  void Report(SocketReport& report) const override;

 protected:
  ~InetSocket() override;
  // TCP_ESTABLISHED, which a datagram socket is once it is connected.
  virtual bool Established() const { return PeerName().ok(); }
  // Binds to an ephemeral port if it is not bound.
  Result<void> EnsureBound();
  // Where a packet to a parsed address goes: the unspecified address is this host; others than loopback: ENETUNREACH.
  Result<InetAddress> Route(InetAddress to) const;
  // The address that one sees as the sender of something sent to `to`.
  InetAddress SourceFor(const InetAddress& to) const;
  // What a packet to `to` says of its hops and class: the socket's options, then `controls`. EINVAL.
  Result<void> SetHops(Packet& packet, const InetAddress& to, std::span<const Control> controls) const;
  // The control messages that were asked for.
  void AddControls(const Packet& packet, RecvResult& result) const;
  bool option(int level, int name) const { return Remembered(level, name, 0) != 0; }

  const abi::Ucred owner_;
  PortHolder port_;  // guarded by the table's lock
  // The local address once a connection has fixed it (getsockname); guarded by the table's lock.
  std::optional<InetAddress> fixed_local_;
  // Which getsockname shows when the socket has given its port back; guarded by the table's lock.
  std::optional<InetAddress> given_back_;

 private:
  Result<void> BecomeIpv4();
  Result<void> SetIpOption(const Caller& caller, int level, int name, std::string_view value);
  Result<void> ChangeMembership(bool join, const Bytes16& group, bool on_loopback);
};

// Gives a datagram to those whom `to` means. False: nobody.
bool DeliverDatagram(int protocol, Packet packet, const InetAddress& to, const InetAddress& from);

// EPROTONOSUPPORT is the caller's.
Ref<Socket> NewTcpSocket(const Caller& caller, int family, uint32_t flags, abi::Ucred owner);
// `protocol`: UDP or UDP-Lite.
Ref<Socket> NewUdpSocket(const Caller& caller, int family, int protocol, uint32_t flags, abi::Ucred owner);

// SOCK_RAW, with CAP_NET_RAW (the caller's to check), and what everybody may: SOCK_DGRAM of IPPROTO_ICMP and IPPROTO_ICMPV6.
Ref<Socket> NewRawSocket(const Caller& caller, int family, int protocol, uint32_t flags, abi::Ucred owner);
Ref<Socket> NewPingSocket(const Caller& caller, int family, uint32_t flags, abi::Ucred owner);

}  // namespace rampart::net
