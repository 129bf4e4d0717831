// Raw sockets (raw(7), raw(7) of IPv6) and those of SOCK_DGRAM that send echoes (icmp(7)), over lo.
#include <algorithm>
#include <cstring>

#include "sentry/net/inet/inet_base.h"
#include "sentry/net/inet/ip_input.h"
#include "sentry/net/socket/interface.h"

namespace rampart::net {
namespace {

constexpr size_t kMaxPacket = 65535;
constexpr int kSolRaw = 255, kIcmpFilter = 1, kIpHdrincl = 3, kIpv6Checksum = 7, kIcmpv6Filter = 1;

// What both kinds share: they hear what their node hears; no ports.
class IpSocket : public InetSocket {
 public:
  IpSocket(const Caller& caller, int family, int type, int protocol, uint32_t flags, abi::Ucred owner, const Ref<Side>& side)
      : InetSocket(caller, family, type, protocol, flags, owner, side),
        node_(MakeRef<RawNode>(family, protocol, type == abi::kSockDgram, MakeRef<PacketQueue>(side, kDefaultBuffer))) {
    reuse_address.store(true);  // as at first on Linux
    absl::MutexLock lock(&node_->mu);
    node_->local = AnyAddress(family);
  }

  Result<void> Connect(const vfs::Walk& walk, std::string_view text) override;
  Result<RecvResult> Receive(mm::IoDst& dst, uint32_t flags) override;
  Result<void> Shutdown(int how) override;
  Result<std::string> PeerName() const override;
  Result<size_t> Readable() const override { return node_->queue->state().first_bytes; }
  void BuffersChanged() override { node_->queue->SetCapacity(static_cast<size_t>(receive_buffer.load())); }
  wait::EventMask Readiness(wait::EventMask mask) override;

 protected:
  ~IpSocket() override {
    RawTable::Get().Remove(*node_);
    node_->queue->CloseReader();
  }
  // A local address to bind to. EADDRNOTAVAIL, …
  Result<InetAddress> LocalIn(std::string_view text) const;
  // Where a message goes, and from where. EDESTADDRREQ, ENETUNREACH, EACCES, …
  struct Ends {
    InetAddress from, to;
  };
  Result<Ends> EndsOf(const SendRequest& request) const;
  RawNode& node() const { return *node_; }
  const Ref<RawNode>& shared_node() const { return node_; }
  bool send_shut() const { return send_shut_.load(); }

 private:
  const Ref<RawNode> node_;
  std::atomic<bool> send_shut_{false};
};

Result<InetAddress> IpSocket::LocalIn(std::string_view text) const {
  const InetAddress address = TRY(ParseInet(family(), text, false));
  if (family() == abi::kAfInet6 && address.IsV4()) return Errno::kEADDRNOTAVAIL;
  if (!address.IsAny() && !address.IsLoopback() && !address.IsMulticast()) return Errno::kEADDRNOTAVAIL;
  return address;
}

Result<void> IpSocket::Connect(const vfs::Walk&, std::string_view text) {
  if (text.size() >= 2 && text[0] == 0 && text[1] == 0) {
    absl::MutexLock lock(&node_->mu);
    node_->connected = false;
    return Ok();
  }
  InetAddress to = TRY(ParseInet(family(), text, false));
  if (to.IsBroadcast() && !broadcast.load()) return Errno::kEACCES;
  to = TRY(Route(to));
  absl::MutexLock lock(&node_->mu);
  node_->connected = true;
  node_->peer = to;
  if (node_->local.IsAny()) node_->local.ip = (to.IsV4() ? AddressV4(127, 0, 0, 1, 0) : InetAddress{kLoopback6, 0}).ip;
  return Ok();
}

Result<IpSocket::Ends> IpSocket::EndsOf(const SendRequest& request) const {
  Ends ends;
  if (request.to.empty()) {
    absl::MutexLock lock(&node_->mu);
    if (!node_->connected) return Errno::kEDESTADDRREQ;
    ends.to = node_->peer;
  } else {
    ends.to = TRY(ParseInet(family(), request.to, false));
    if (family() == abi::kAfInet6 && ends.to.IsV4()) return Errno::kENETUNREACH;
    if (ends.to.IsBroadcast() && !broadcast.load()) return Errno::kEACCES;
    ends.to = TRY(Route(ends.to));
  }
  ends.to.port = 0;
  absl::MutexLock lock(&node_->mu);
  ends.from = node_->local;
  ends.from.port = 0;
  if (ends.from.IsAny() || ends.from.IsMulticast()) ends.from = ends.to.IsV4() ? AddressV4(127, 0, 0, 1, 0) : InetAddress{kLoopback6, 0};
  return ends;
}

Result<RecvResult> IpSocket::Receive(mm::IoDst& dst, uint32_t flags) {
  if ((flags & abi::kMsgOob) != 0) return Errno::kEOPNOTSUPP;
  if ((flags & abi::kMsgErrqueue) != 0) return Errno::kEAGAIN;
  RecvResult result;
  bool end = false;
  Packet packet = TRY(node_->queue->Take((flags & abi::kMsgPeek) != 0, end));
  if (end) return result;
  result.from = FormatInet(family(), UnpackInet(packet.from));
  AddControls(packet, result);
  TRY(GivePacket(std::move(packet), dst, result));
  return result;
}

Result<void> IpSocket::Shutdown(int how) {
  {
    absl::MutexLock lock(&node_->mu);
    if (!node_->connected) return Errno::kENOTCONN;
  }
  if (how != abi::kShutWr) node_->queue->ShutReader();
  if (how != abi::kShutRd) send_shut_.store(true);
  side().Notify(kIn | kOut | abi::kPollHup | abi::kPollRdHup);
  return Ok();
}

Result<std::string> IpSocket::PeerName() const {
  absl::MutexLock lock(&node_->mu);
  if (!node_->connected || node_->peer.port == 0) return Errno::kENOTCONN;  // as Linux takes a peer without a port
  return FormatInet(family(), node_->peer);
}

wait::EventMask IpSocket::Readiness(wait::EventMask mask) {
  const PacketQueue::State rx = node_->queue->state();
  wait::EventMask ready = kOut | abi::kPollWrBand;
  if (side().has_error()) ready |= abi::kPollErr;
  if (rx.packets > 0 || rx.reader_shut) ready |= kIn;
  if (rx.reader_shut) ready |= abi::kPollRdHup;
  if (rx.reader_shut && send_shut()) ready |= abi::kPollHup;
  return ready & (mask | abi::kPollErr | abi::kPollHup);
}

class RawSocket final : public IpSocket {
 public:
  RawSocket(const Caller& caller, int family, int protocol, uint32_t flags, abi::Ucred owner, const Ref<Side>& side)
      : IpSocket(caller, family, abi::kSockRaw, protocol, flags, owner, side), own_header_(protocol == abi::kIpprotoRaw) {
    RawTable::Get().Add(shared_node());
  }

  Result<void> Bind(const vfs::Walk&, std::string_view text) override {
    const InetAddress address = TRY(LocalIn(text));
    absl::MutexLock lock(&node().mu);
    node().local.ip = address.ip;
    return Ok();
  }
  // Where a port would be stands the protocol, as on Linux.
  std::string LocalName() const override {
    absl::MutexLock lock(&node().mu);
    InetAddress shown = node().local;
    shown.port = static_cast<uint16_t>(protocol());
    return FormatInet(family(), shown);
  }
  Result<size_t> Send(const SendRequest& request) override;
  Result<void> SetOption(const Caller& caller, int level, int name, std::string_view value) override;
  Result<std::string> GetOption(const Caller& caller, int level, int name, size_t room) override;

 private:
  Result<std::string> WithOwnHeader(std::string bytes, const Ends& ends) const;
  bool IsIcmpv6() const { return family() == abi::kAfInet6 && protocol() == abi::kIpprotoIcmpv6; }

  std::atomic<bool> own_header_;           // IP_HDRINCL
  std::atomic<int32_t> checksum_at_{-1};   // IPV6_CHECKSUM
};

// IP_HDRINCL: the sender's header, in which the kernel fills in some fields.
Result<std::string> RawSocket::WithOwnHeader(std::string bytes, const Ends& ends) const {
  if (bytes.size() < kIpv4Header) return Errno::kEINVAL;
  const size_t header = (static_cast<uint8_t>(bytes[0]) & 15) * size_t{4};
  if (header < kIpv4Header || header > bytes.size()) return Errno::kEINVAL;
  if (std::all_of(bytes.begin() + 12, bytes.begin() + 16, [](char c) { return c == 0; })) std::memcpy(bytes.data() + 12, ends.from.ip.data() + 12, 4);
  bytes[2] = static_cast<char>(bytes.size() >> 8);
  bytes[3] = static_cast<char>(bytes.size() & 0xff);
  std::string head = bytes.substr(0, header);
  StoreChecksum(head, 10, 0);
  bytes.replace(0, header, head);
  return bytes;
}

Result<size_t> RawSocket::Send(const SendRequest& request) {
  const size_t size = request.src.remaining();
  if (size > kMaxPacket) return Errno::kEMSGSIZE;
  if ((request.flags & abi::kMsgOob) != 0) return Errno::kEOPNOTSUPP;
  if (send_shut()) return Errno::kEPIPE;
  const Ends ends = TRY(EndsOf(request));
  const bool v4 = family() == abi::kAfInet;
  if (v4 && own_header_.load()) {
    std::string own = TRY(GatherPacket(request.src));
    TransmitIp(TRY(WithOwnHeader(std::move(own), ends)));
    return size;
  }
  if (v4 && size > kMaxPacket - kIpv4Header) return Errno::kEMSGSIZE;
  std::string bytes = TRY(GatherPacket(request.src));
  const int32_t at = IsIcmpv6() ? 2 : checksum_at_.load();
  if (!v4 && at >= 0) {
    if (bytes.size() < static_cast<size_t>(at) + 2) return Errno::kEINVAL;
    StoreChecksum(bytes, static_cast<size_t>(at), PseudoHeaderSum(ends.from, ends.to, protocol(), bytes.size()));
  }
  Packet fields;
  TRY(SetHops(fields, ends.to, request.controls));
  TransmitIp(BuildIp({v4, protocol(), fields.hops, fields.traffic_class, ends.from, ends.to, bytes}));
  return size;
}

Result<void> RawSocket::SetOption(const Caller& caller, int level, int name, std::string_view value) {
  const bool v4 = family() == abi::kAfInet;
  if (level == abi::kIpprotoIp && name == kIpHdrincl && v4) {
    own_header_.store((value.empty() ? int32_t{0} : value.size() < 4 ? int32_t{value[0]} : TRY(IntegerIn(value))) != 0);
    return Ok();
  }
  if (level == kSolRaw && name == kIcmpFilter && v4) {
    if (protocol() != abi::kIpprotoIcmp) return Errno::kEOPNOTSUPP;
    absl::MutexLock lock(&node().mu);
    std::memcpy(node().filter.data(), value.data(), std::min<size_t>(value.size(), 4));
    return Ok();
  }
  if (level == abi::kIpprotoIcmpv6 && !v4) {
    if (protocol() != abi::kIpprotoIcmpv6 || name != kIcmpv6Filter) return Errno::kENOPROTOOPT;
    absl::MutexLock lock(&node().mu);
    std::memcpy(node().filter.data(), value.data(), std::min(value.size(), sizeof(node().filter)));
    return Ok();
  }
  if ((level == kSolRaw || level == abi::kIpprotoIpv6) && name == kIpv6Checksum && !v4) {
    const int32_t number = TRY(IntegerIn(value));
    if (number > 0 && number % 2 != 0) return Errno::kEINVAL;
    if (IsIcmpv6()) return Errno::kEINVAL;  // RFC 3542: it is the kernel's
    checksum_at_.store(number < 0 ? -1 : number);
    return Ok();
  }
  return InetSocket::SetOption(caller, level, name, value);
}

Result<std::string> RawSocket::GetOption(const Caller& caller, int level, int name, size_t room) {
  const bool v4 = family() == abi::kAfInet;
  if (level == abi::kIpprotoIp && name == kIpHdrincl && v4) return BytesOf(int32_t{own_header_.load() ? 1 : 0});
  if (level == kSolRaw && name == kIcmpFilter && v4) {
    if (protocol() != abi::kIpprotoIcmp) return Errno::kEOPNOTSUPP;
    absl::MutexLock lock(&node().mu);
    return BytesOf(node().filter[0]);
  }
  if (level == abi::kIpprotoIcmpv6 && name == kIcmpv6Filter && IsIcmpv6()) {
    absl::MutexLock lock(&node().mu);
    return BytesOf(node().filter);
  }
  if ((level == kSolRaw || level == abi::kIpprotoIpv6) && name == kIpv6Checksum && !v4) return BytesOf(checksum_at_.load());
  return InetSocket::GetOption(caller, level, name, room);
}

// Who sends echoes without being root: the kernel writes the identifier and the checksum, and gives only the answers that bear it.
class PingSocket final : public IpSocket {
 public:
  PingSocket(const Caller& caller, int family, uint32_t flags, abi::Ucred owner, const Ref<Side>& side)
      : IpSocket(caller, family, abi::kSockDgram, family == abi::kAfInet ? abi::kIpprotoIcmp : abi::kIpprotoIcmpv6, flags, owner, side) {
    RawTable::Get().Add(shared_node());
  }

  Result<void> Bind(const vfs::Walk&, std::string_view text) override {
    const InetAddress address = TRY(LocalIn(text));
    {
      absl::MutexLock lock(&node().mu);
      if (node().local.port != 0) return Errno::kEINVAL;
      node().shared = reuse_address.load();
    }
    TRY(RawTable::Get().TakeIdentifier(node(), address.port));
    absl::MutexLock lock(&node().mu);
    node().local.ip = address.ip;
    return Ok();
  }
  Result<void> Connect(const vfs::Walk& walk, std::string_view text) override {
    TRY(EnsureIdentifier());
    return IpSocket::Connect(walk, text);
  }
  std::string LocalName() const override {
    absl::MutexLock lock(&node().mu);
    return FormatInet(family(), node().local);
  }
  Result<size_t> Send(const SendRequest& request) override;

 private:
  Result<void> EnsureIdentifier() {
    {
      absl::MutexLock lock(&node().mu);
      if (node().local.port != 0) return Ok();
    }
    const Result<void> taken = RawTable::Get().TakeIdentifier(node(), 0);
    return taken.ok() ? taken : Errno::kEAGAIN;
  }
};

Result<size_t> PingSocket::Send(const SendRequest& request) {
  const size_t size = request.src.remaining();
  if (size > kMaxPacket) return Errno::kEMSGSIZE;
  if ((request.flags & abi::kMsgOob) != 0) return Errno::kEOPNOTSUPP;
  if (send_shut()) return Errno::kEPIPE;
  if (size < 8) return Errno::kEINVAL;
  const bool v4 = family() == abi::kAfInet;
  const Ends ends = TRY(EndsOf(request));
  std::string bytes = TRY(GatherPacket(request.src));
  if (static_cast<uint8_t>(bytes[0]) != (v4 ? kEcho4 : kEcho6) || bytes[1] != 0) return Errno::kEINVAL;
  if (v4 && size > kMaxPacket - kIpv4Header) return Errno::kEMSGSIZE;
  TRY(EnsureIdentifier());
  uint16_t identifier = 0;
  {
    absl::MutexLock lock(&node().mu);
    identifier = node().local.port;
  }
  bytes[4] = static_cast<char>(identifier >> 8);
  bytes[5] = static_cast<char>(identifier & 0xff);
  StoreChecksum(bytes, 2, v4 ? 0 : PseudoHeaderSum(ends.from, ends.to, protocol(), size));
  Packet fields;
  TRY(SetHops(fields, ends.to, request.controls));
  TransmitIp(BuildIp({v4, protocol(), fields.hops, fields.traffic_class, ends.from, ends.to, bytes}));
  return size;
}

}  // namespace

Ref<Socket> NewRawSocket(const Caller& caller, int family, int protocol, uint32_t flags, abi::Ucred owner) {
  return MakeRef<RawSocket>(caller, family, protocol, flags, owner, MakeRef<Side>());
}

Ref<Socket> NewPingSocket(const Caller& caller, int family, uint32_t flags, abi::Ucred owner) {
  return MakeRef<PingSocket>(caller, family, flags, owner, MakeRef<Side>());
}

}  // namespace rampart::net
