// UDP over loopback: a datagram goes into its receiver's queue or is lost.
#include <algorithm>
#include <cstring>
#include <optional>

#include "sentry/net/inet/error_queue.h"
#include "sentry/net/inet/inet_base.h"
#include "sentry/net/inet/ip_input.h"
#include "sentry/net/socket/interface.h"
#include "sentry/net/socket/socket_list.h"

namespace rampart::net {
namespace {

constexpr size_t kMaxLength = 65535;  // of IP's field
constexpr int kUdpCork = 1;

constexpr int kSendCoverage = 10, kReceiveCoverage = 11;  // UDPLITE_SEND_CSCOV, UDPLITE_RECV_CSCOV
constexpr int32_t kInternetControl = 0xc0;  // the precedence that ICMP's messages have
constexpr int kIpRecverr = 11, kIpv6Recverr = 25, kSoSelectErrQueue = 45, kIpOrigdstaddr = 20, kIpv6Origdstaddr = 74;
constexpr int kIpMulticastIf = 32, kIpMulticastLoop = 34, kIpv6MulticastIf = 17, kIpv6MulticastLoop = 19;

// What a datagram holds: its own header counts, and IPv4's, which IPv6's does not.
size_t MaximumTo(const InetAddress& to) { return to.IsV4() ? kMaxLength - 28 : kMaxLength - 8; }

class UdpSocket final : public InetSocket {
 public:
  UdpSocket(const Caller& caller, int family, int protocol, uint32_t flags, abi::Ucred owner, Ref<Side> side)
      : InetSocket(caller, family, abi::kSockDgram, protocol, flags, owner, side), rx_(MakeRef<PacketQueue>(std::move(side), kDefaultBuffer)) {
    absl::MutexLock lock(&PortTable::Get().mu());
    port_.datagrams = rx_;
  }

  Result<void> Connect(const vfs::Walk& walk, std::string_view address) override;
  Result<size_t> Send(const SendRequest& request) override;
  Result<RecvResult> Receive(mm::IoDst& dst, uint32_t flags) override;
  Result<void> Shutdown(int how) override;
  Result<std::string> PeerName() const override;
  Result<size_t> Readable() const override { return rx_->state().first_bytes; }
  void Report(SocketReport& report) const override {
    InetSocket::Report(report);
    const PacketQueue::State rx = rx_->state();
    report.receive_queue = rx.cost;
  }
  void BuffersChanged() override { rx_->SetCapacity(static_cast<size_t>(receive_buffer.load())); }
  wait::EventMask Readiness(wait::EventMask mask) override;
  Result<void> SetOption(const Caller& caller, int level, int name, std::string_view value) override {
    if (level == abi::kIpprotoUdp) return SetCork(name, value);
    if (level != abi::kIpprotoUdplite || protocol() != level) {
      TRY(InetSocket::SetOption(caller, level, name, value));
      const bool recverr = level == abi::kIpprotoIp ? name == kIpRecverr : level == abi::kIpprotoIpv6 && name == kIpv6Recverr;
      if (recverr && !option(level, name)) errors_.Purge();
      return Ok();
    }
    if (name != kSendCoverage && name != kReceiveCoverage) return Errno::kENOPROTOOPT;
    const int32_t number = TRY(IntegerIn(value));  // how much a checksum covers: there are none; 0 is all, less than a header is a header
    Remember(level, name, number == 0 ? 0 : std::clamp(number, 8, 65535));
    return Ok();
  }
  Result<std::string> GetOption(const Caller& caller, int level, int name, size_t room) override {
    const bool coverage = level == abi::kIpprotoUdplite && protocol() == level && (name == kSendCoverage || name == kReceiveCoverage);
    if (coverage) return BytesOf(Remembered(level, name, 0));
    if (level == abi::kIpprotoUdp) return name == kUdpCork ? Result<std::string>(BytesOf(int32_t{cork_.load() ? 1 : 0})) : Errno::kENOPROTOOPT;
    return InetSocket::GetOption(caller, level, name, room);
  }

 protected:
  ~UdpSocket() override {
    {
      absl::MutexLock lock(&PortTable::Get().mu());
      port_.datagrams = nullptr;
      PortTable::Get().Unbind(port_);
    }
    rx_->CloseReader();
  }

 private:
  Result<InetAddress> Destination(const SendRequest& request) const;
  // A datagram on its way, with what decides where it goes.
  struct Outgoing {
    Packet packet;
    InetAddress to, from;
  };
  void Deliver(Outgoing out);
  // Nobody had the port.
  void ComesBack(const InetAddress& to, const InetAddress& from, std::string_view bytes);
  Result<RecvResult> ReceiveError(mm::IoDst& dst);
  // IP_RECVORIGDSTADDR, IPV6_RECVORIGDSTADDR.
  void AddOriginalAddress(const InetAddress& to, RecvResult& result) const;
  // IP_RECVERR or IPV6_RECVERR, for what goes there.
  bool WantsErrors(const InetAddress& to) const {
    return to.IsV4() ? option(abi::kIpprotoIp, kIpRecverr) : option(abi::kIpprotoIpv6, kIpv6Recverr);
  }
  Result<Outgoing> Address(const SendRequest& request);
  Result<void> SetCork(int name, std::string_view value);

  const Ref<PacketQueue> rx_;
  ErrorQueue errors_;
  std::atomic<bool> receive_shut_{false}, send_shut_{false};  // datagrams come all the same
  std::atomic<bool> cork_{false};  // UDP_CORK
  absl::Mutex cork_mu_;            // before the port table's
  // What MSG_MORE and UDP_CORK hold back: later sends add to it.
  std::optional<Outgoing> held_ ABSL_GUARDED_BY(cork_mu_);
};

Result<void> UdpSocket::Connect(const vfs::Walk&, std::string_view text) {
  if (text.size() >= 2 && text[0] == 0 && text[1] == 0) {
    absl::MutexLock lock(&PortTable::Get().mu());
    port_.connected = false;
    fixed_local_.reset();
    return Ok();
  }
  InetAddress to = TRY(ParseInet(family(), text, family() == abi::kAfInet6));
  if (to.IsBroadcast() && !broadcast.load()) return Errno::kEACCES;
  if (!to.IsMulticast() && !to.IsBroadcast()) to = TRY(Route(to));
  TRY(EnsureBound());
  {
    absl::MutexLock lock(&PortTable::Get().mu());
    fixed_local_.reset();
  }
  const InetAddress local = SourceFor(to);
  absl::MutexLock lock(&PortTable::Get().mu());
  port_.connected = true;
  port_.peer = to;
  fixed_local_ = local;
  return Ok();
}

Result<InetAddress> UdpSocket::Destination(const SendRequest& request) const {
  if (request.to.empty()) {
    absl::MutexLock lock(&PortTable::Get().mu());
    if (!port_.connected) return Errno::kEDESTADDRREQ;
    return port_.peer;
  }
  InetAddress to = TRY(ParseInet(family(), request.to, family() == abi::kAfInet6));
  if (to.port == 0) return Errno::kEINVAL;
  if (to.IsMulticast()) {
    const bool on_lo = to.IsV4() ? Remembered(abi::kIpprotoIp, kIpMulticastIf, 0) != 0 : Remembered(abi::kIpprotoIpv6, kIpv6MulticastIf, 0) == kLoopbackIndex;
    if (!on_lo) return Errno::kENETUNREACH;
    return to;
  }
  if (to.IsBroadcast()) {
    if (!broadcast.load()) return Errno::kEACCES;
    if (to.ip[12] == 255) return Errno::kENETUNREACH;  // no interface that has a broadcast address
    return to;
  }
  return Route(to);
}

void UdpSocket::Deliver(Outgoing out) {
  const InetAddress &to = out.to, &from = out.from;
  const bool group = to.IsMulticast() || to.IsBroadcast();
  const bool v4 = to.IsV4();
  if (to.IsMulticast() && Remembered(v4 ? abi::kIpprotoIp : abi::kIpprotoIpv6, v4 ? kIpMulticastLoop : kIpv6MulticastLoop, 1) == 0) return;
  const bool watched = IpWatched();
  std::string shown;
  if (watched) shown = ShowDatagram(protocol(), out.packet, to, from);
  std::string kept;
  if (WantsErrors(to) && !group) kept = out.packet.bytes;
  if (DeliverDatagram(protocol(), std::move(out.packet), to, from) || group) return;
  ComesBack(to, from, kept);
  if (watched) SendUnreachable(shown, Unreachable::kPort);
}

// A connected socket has only what its peer says (Linux: __udp4_lib_err looks it up by both addresses).
void UdpSocket::ComesBack(const InetAddress& to, const InetAddress& from, std::string_view bytes) {
  bool connected = false, others = false;
  {
    absl::MutexLock lock(&PortTable::Get().mu());
    connected = port_.connected && port_.peer == to;
    others = port_.connected && !connected;
  }
  if (others) return;
  if (WantsErrors(to)) {
    errors_.Put(ReturnedDatagram::PortUnreachable(to, from, bytes), static_cast<size_t>(std::max(receive_buffer.load(), 0)));
  } else if (!connected) {
    return;
  }
  side().SetError(Errno::kECONNREFUSED);
  side().Notify(abi::kPollErr | kIn | kOut | (option(abi::kSolSocket, kSoSelectErrQueue) ? abi::kPollPri : 0));
}

Result<void> UdpSocket::SetCork(int name, std::string_view value) {
  if (name != kUdpCork) return Errno::kENOPROTOOPT;
  const bool on = TRY(IntegerIn(value)) != 0;
  cork_.store(on);
  if (on) return Ok();
  std::optional<Outgoing> out;
  {
    absl::MutexLock lock(&cork_mu_);
    out.swap(held_);
  }
  if (out) Deliver(std::move(*out));
  return Ok();
}

Result<UdpSocket::Outgoing> UdpSocket::Address(const SendRequest& request) {
  Outgoing out;
  out.to = TRY(Destination(request));
  if (request.src.remaining() > MaximumTo(out.to)) return Errno::kEMSGSIZE;
  if (const Errno error = side().TakeError(); error != Errno{}) return error;
  if (send_shut_.load()) return Errno::kEPIPE;
  const InetAddress& to = out.to;
  out.from = SourceFor(to);
  Packet& packet = out.packet;
  packet.from = PackInet(out.from);
  packet.to = PackInet(to);
  TRY(SetHops(packet, to, request.controls));
  return out;
}

Result<size_t> UdpSocket::Send(const SendRequest& request) {
  TRY(EnsureBound());  // before anything can be wrong with the message
  const size_t size = request.src.remaining();
  if (size > kMaxLength && family() == abi::kAfInet) return Errno::kEMSGSIZE;  // the rest is known by the address
  if ((request.flags & abi::kMsgOob) != 0 && family() == abi::kAfInet) return Errno::kEOPNOTSUPP;
  const bool hold = cork_.load() || (request.flags & kMsgMore) != 0;
  bool adds = false;
  {
    absl::MutexLock lock(&cork_mu_);
    adds = held_.has_value();
  }
  std::optional<Outgoing> out;
  if (!adds) out = TRY(Address(request));
  std::string bytes = TRY(GatherPacket(request.src));
  {
    absl::MutexLock lock(&cork_mu_);
    if (held_) {
      if (held_->packet.bytes.size() + bytes.size() > MaximumTo(held_->to)) {
        held_.reset();
        return Errno::kEMSGSIZE;
      }
      held_->packet.bytes += bytes;
    } else {
      if (!out) return Errno::kEAGAIN;  // another thread sent what this would have added to
      out->packet.bytes = std::move(bytes);
      held_ = std::move(out);
    }
    if (hold) return size;
    out = std::move(held_);
    held_.reset();
  }
  Deliver(std::move(*out));
  return size;
}

Result<RecvResult> UdpSocket::Receive(mm::IoDst& dst, uint32_t flags) {
  if ((flags & abi::kMsgErrqueue) != 0) return ReceiveError(dst);  // MSG_OOB means nothing here
  RecvResult result;
  bool end = false;
  Result<Packet> taken = rx_->Take((flags & abi::kMsgPeek) != 0, end);
  // Only who waits is told the end (Linux: __skb_wait_for_more_packets).
  const bool waits = !nonblocking() && (flags & abi::kMsgDontwait) == 0;
  if (!taken.ok() && taken.error() == Errno::kEAGAIN && receive_shut_.load() && waits) return result;
  Packet packet = TRY(std::move(taken));
  result.from = FormatInet(family(), UnpackInet(packet.from));
  AddControls(packet, result);
  AddOriginalAddress(UnpackInet(packet.to), result);
  TRY(GivePacket(std::move(packet), dst, result));
  return result;
}

void UdpSocket::AddOriginalAddress(const InetAddress& to, RecvResult& result) const {
  if (to.IsV4() && option(abi::kIpprotoIp, kIpOrigdstaddr)) {
    result.controls.push_back({abi::kIpprotoIp, kIpOrigdstaddr, FormatInet(abi::kAfInet, to)});
  }
  if (family() == abi::kAfInet6 && option(abi::kIpprotoIpv6, kIpv6Origdstaddr)) {
    result.controls.push_back({abi::kIpprotoIpv6, kIpv6Origdstaddr, FormatInet(abi::kAfInet6, to)});
  }
}

// What was asked for with the datagram comes first. Nothing is told of bytes that did not fit but that there were some.
Result<RecvResult> UdpSocket::ReceiveError(mm::IoDst& dst) {
  Errno next{};
  std::optional<ReturnedDatagram> back = errors_.Take(next);
  if (!back) return Errno::kEAGAIN;
  if (next == Errno{}) {
    (void)side().TakeError();
  } else {
    side().SetError(next);
    side().Notify(abi::kPollErr);
  }
  RecvResult result;
  result.from = FormatInet(family(), back->to);
  Packet message;  // as the ICMP message that told of it
  message.bytes = std::move(back->bytes);
  message.to = PackInet(back->from);
  message.hops = 64;
  message.traffic_class = back->to.IsV4() ? kInternetControl : 0;
  message.time = back->time;
  AddControls(message, result);
  const bool v6 = family() == abi::kAfInet6;
  result.controls.push_back({v6 ? abi::kIpprotoIpv6 : abi::kIpprotoIp, v6 ? kIpv6Recverr : kIpRecverr, back->Describe(family())});
  TRY(GivePacket(std::move(message), dst, result));
  result.full_length = result.copied;
  result.flags |= abi::kMsgErrqueue;
  return result;
}

Result<void> UdpSocket::Shutdown(int how) {
  bool connected = false;
  {
    absl::MutexLock lock(&PortTable::Get().mu());
    connected = port_.connected;
  }
  // Linux shuts down what is not connected as well, and says that it is not.
  if (how != abi::kShutWr) receive_shut_.store(true);
  if (how != abi::kShutRd) send_shut_.store(true);
  side().Notify(kIn | kOut | abi::kPollHup | abi::kPollRdHup);
  return connected ? Result<void>(Ok()) : Errno::kENOTCONN;
}

Result<std::string> UdpSocket::PeerName() const {
  absl::MutexLock lock(&PortTable::Get().mu());
  if (!port_.connected) return Errno::kENOTCONN;
  return FormatInet(family(), port_.peer);
}

wait::EventMask UdpSocket::Readiness(wait::EventMask mask) {
  const PacketQueue::State rx = rx_->state();
  wait::EventMask ready = kOut | abi::kPollWrBand;
  if (side().has_error() || !errors_.empty()) ready |= abi::kPollErr | (option(abi::kSolSocket, kSoSelectErrQueue) ? abi::kPollPri : 0);
  if (rx.packets > 0 || receive_shut_.load()) ready |= kIn;
  if (receive_shut_.load()) ready |= abi::kPollRdHup;
  if (receive_shut_.load() && send_shut_.load()) ready |= abi::kPollHup;
  return ready & (mask | abi::kPollErr | abi::kPollHup);
}

}  // namespace

bool DeliverDatagram(int protocol, Packet packet, const InetAddress& to, const InetAddress& from) {
  std::vector<RefPtr<PacketQueue>> receivers;
  {
    PortTable& table = PortTable::Get();
    absl::MutexLock lock(&table.mu());
    if (to.IsMulticast() || to.IsBroadcast()) {
      for (const PortHolder* h : table.FindAll(protocol, to)) receivers.push_back(h->datagrams);
    } else if (const PortHolder* h = table.FindDatagram(protocol, to, from)) {
      receivers.push_back(h->datagrams);
    }
  }
  for (const RefPtr<PacketQueue>& queue : receivers) {
    Packet copy = packet;
    if (queue) (void)queue->Put(copy, PacketQueue::kNoMaximum, nullptr);  // a full receiver loses it
  }
  return !receivers.empty();
}

Ref<Socket> NewUdpSocket(const Caller& caller, int family, int protocol, uint32_t flags, abi::Ucred owner) {
  return MakeRef<UdpSocket>(caller, family, protocol, flags, owner, MakeRef<Side>());
}

}  // namespace rampart::net
