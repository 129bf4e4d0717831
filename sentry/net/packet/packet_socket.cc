#include "sentry/net/packet/packet_socket.h"

#include <algorithm>
#include <cstring>

#include "sentry/net/socket/interface.h"
#include "sentry/net/socket/packet_queue.h"
#include "sentry/net/socket/socket_list.h"

namespace rampart::net {
namespace {

constexpr size_t kEthernetHeader = 14;
constexpr uint16_t kEtherAll = 3, kSmallestEtherType = 0x600, kEther8022 = 4;
constexpr uint8_t kToUs = 0, kOutgoing = 4;
constexpr int kSolPacket = 263;
constexpr int kAddMembership = 1, kDropMembership = 2, kStatistics = 6, kAuxdata = 8, kOrigdev = 9, kVersion = 10, kHeaderLength = 11, kIgnoreOutgoing = 23;

// struct sockaddr_ll. The protocol is in network order.
struct Address {
  uint16_t family, protocol;
  int32_t index;
  uint16_t hardware;
  uint8_t kind, length;
  std::array<uint8_t, 8> address;
};
static_assert(sizeof(Address) == 20);
constexpr size_t kShortAddress = 18;  // with the six bytes of an Ethernet address

// Whether a protocol that was asked for (in network order) takes one in the processor's.
bool Takes(uint16_t asked, uint16_t ether_type) { return asked == __builtin_bswap16(kEtherAll) || asked == __builtin_bswap16(ether_type); }

class Tap final : public WireTap {
 public:
  Tap(bool headers, Ref<PacketQueue> queue) : headers_(headers), queue_(std::move(queue)) {}
  void Take(uint16_t ether_type, std::string_view packet, bool outgoing) override {
    const uint16_t asked = protocol.load();
    if (asked == 0 || !Takes(asked, ether_type)) return;
    // Only those who want everything see what leaves.
    if (outgoing && (asked != __builtin_bswap16(kEtherAll) || ignore_outgoing.load())) return;
    received.fetch_add(1);
    Packet out;
    if (headers_) {
      out.bytes.assign(kEthernetHeader, '\0');
      out.bytes[12] = static_cast<char>(ether_type >> 8);
      out.bytes[13] = static_cast<char>(ether_type & 0xff);
    }
    out.bytes.append(packet);
    out.from = BytesOf(Address{static_cast<uint16_t>(abi::kAfPacket), __builtin_bswap16(ether_type), kLoopbackIndex, kHardwareLoopback,
                               outgoing ? kOutgoing : kToUs, 6, {}});
    if (!queue_->Put(out, PacketQueue::kNoMaximum, nullptr).ok()) dropped.fetch_add(1);
  }

  std::atomic<uint16_t> protocol{0};  // in network order; 0: nothing
  std::atomic<bool> ignore_outgoing{false};
  std::atomic<uint32_t> received{0}, dropped{0};

 private:
  const bool headers_;
  const Ref<PacketQueue> queue_;
};

Result<Address> Parse(std::string_view text) {
  if (text.size() < sizeof(Address)) return Errno::kEINVAL;
  Address a{};
  std::memcpy(&a, text.data(), sizeof(a));
  return a;
}

class PacketSocket final : public Socket {
 public:
  PacketSocket(const Caller& caller, int type, int protocol, uint32_t flags, IpReceiver receive_ip, const Ref<Side>& side)
      : Socket(abi::kAfPacket, type, protocol, flags, side, caller), receive_ip_(receive_ip), rx_(MakeRef<PacketQueue>(side, kDefaultBuffer)),
        tap_(MakeRef<Tap>(type == abi::kSockRaw, rx_)) {
    tap_->protocol.store(static_cast<uint16_t>(protocol));
    Wire::Get().Attach(tap_);
  }

  Result<void> Bind(const vfs::Walk&, std::string_view text) override {
    const Address a = TRY(Parse(text));
    if (a.family != abi::kAfPacket) return Errno::kEINVAL;
    if (a.index != 0 && a.index != kLoopbackIndex) return Errno::kENODEV;
    index_.store(a.index);
    if (a.protocol != 0) tap_->protocol.store(a.protocol);
    return Ok();
  }
  Result<void> Connect(const vfs::Walk&, std::string_view) override { return Errno::kEOPNOTSUPP; }
  Result<size_t> Send(const SendRequest& request) override;
  Result<RecvResult> Receive(mm::IoDst& dst, uint32_t flags) override {
    if ((flags & abi::kMsgErrqueue) != 0) return Errno::kEAGAIN;
    RecvResult result;
    bool end = false;
    Packet packet = TRY(rx_->Take((flags & abi::kMsgPeek) != 0, end));
    result.from = packet.from;
    AddTimestamp(packet, result);
    TRY(GivePacket(std::move(packet), dst, result));
    return result;
  }
  Result<void> Shutdown(int) override { return Errno::kEOPNOTSUPP; }
  std::string LocalName() const override {
    const int32_t index = index_.load();
    const bool bound = index == kLoopbackIndex;
    const Address a{static_cast<uint16_t>(abi::kAfPacket), tap_->protocol.load(), index, bound ? kHardwareLoopback : uint16_t{0}, 0,
                    static_cast<uint8_t>(bound ? 6 : 0), {}};
    return BytesOf(a).substr(0, bound ? kShortAddress : kShortAddress - 6);
  }
  Result<std::string> PeerName() const override { return Errno::kEOPNOTSUPP; }
  Result<size_t> Readable() const override { return rx_->state().first_bytes; }
  void BuffersChanged() override { rx_->SetCapacity(static_cast<size_t>(receive_buffer.load())); }
  wait::EventMask Readiness(wait::EventMask mask) override {
    return (kOut | abi::kPollWrBand | (rx_->state().packets > 0 ? kIn : 0u) | (side().has_error() ? abi::kPollErr : 0u)) & (mask | abi::kPollErr);
  }
  Result<void> SetOption(const Caller& caller, int level, int name, std::string_view value) override;
  Result<std::string> GetOption(const Caller& caller, int level, int name, size_t room) override;

 protected:
  ~PacketSocket() override {
    Wire::Get().Detach(*tap_);
    rx_->CloseReader();
  }

 private:
  const IpReceiver receive_ip_;
  const Ref<PacketQueue> rx_;
  const Ref<Tap> tap_;
  std::atomic<int32_t> index_{0};
};

Result<size_t> PacketSocket::Send(const SendRequest& request) {
  if ((request.flags & abi::kMsgOob) != 0) return Errno::kEOPNOTSUPP;
  uint16_t protocol = __builtin_bswap16(tap_->protocol.load());
  int32_t index = index_.load();
  if (!request.to.empty()) {
    const Address a = TRY(Parse(request.to));
    protocol = __builtin_bswap16(a.protocol), index = a.index;
  }
  if (index != kLoopbackIndex) return Errno::kENXIO;
  const size_t size = request.src.remaining(), header = type() == abi::kSockRaw ? kEthernetHeader : 0;
  if (size > kLoopbackMtu + header) return Errno::kEMSGSIZE;
  if (size < header) return Errno::kEINVAL;
  const std::string bytes = TRY(GatherPacket(request.src));
  if (header != 0) {  // on lo the header counts, not what the address says
    protocol = static_cast<uint16_t>(static_cast<uint8_t>(bytes[12]) << 8 | static_cast<uint8_t>(bytes[13]));
    if (protocol < kSmallestEtherType) protocol = kEther8022;
  }
  const std::string_view packet = std::string_view(bytes).substr(header);
  Wire::Get().Show(protocol, packet, tap_.get());
  // What IPv4 gets in this way is from or to loopback and has no route yet: a martian, which Linux drops (route_localnet is off).
  if (protocol == kEtherIpv6) receive_ip_(packet);
  return size;
}

Result<void> PacketSocket::SetOption(const Caller& caller, int level, int name, std::string_view value) {
  if (level != kSolPacket) return Socket::SetOption(caller, level, name, value);
  const int32_t number = TRY(IntegerIn(value));
  switch (name) {
    case kAddMembership:
    case kDropMembership:  // struct packet_mreq: lo hears everything anyway
      if (value.size() < 16) return Errno::kEINVAL;
      return number == kLoopbackIndex ? Result<void>(Ok()) : name == kAddMembership ? Errno::kENODEV : Errno::kEADDRNOTAVAIL;
    case kAuxdata:
    case kOrigdev: Remember(level, name, number != 0 ? 1 : 0); return Ok();
    case kIgnoreOutgoing:
      if (number < 0 || number > 1) return Errno::kEINVAL;
      tap_->ignore_outgoing.store(number != 0);
      return Ok();
    default: return Errno::kENOPROTOOPT;
  }
}

Result<std::string> PacketSocket::GetOption(const Caller& caller, int level, int name, size_t room) {
  if (level != kSolPacket) return Socket::GetOption(caller, level, name, room);
  switch (name) {
    case kStatistics: return BytesOf(std::array<uint32_t, 2>{tap_->received.exchange(0), tap_->dropped.exchange(0)});
    case kAuxdata:
    case kOrigdev: return BytesOf(Remembered(level, name, 0));
    case kIgnoreOutgoing: return BytesOf(int32_t{tap_->ignore_outgoing.load() ? 1 : 0});
    case kVersion: return BytesOf(int32_t{0});
    case kHeaderLength: return Errno::kEINVAL;  // of no version of the rings
    default: return Errno::kENOPROTOOPT;
  }
}

}  // namespace

Result<Ref<Socket>> NewPacketSocket(const Caller& caller, int type, int protocol, uint32_t flags, IpReceiver receive_ip) {
  if (!caller.creds().HasCapability(abi::Capability::kNetRaw)) return Errno::kEPERM;
  if (type != abi::kSockRaw && type != abi::kSockDgram) return Errno::kESOCKTNOSUPPORT;
  return Ref<Socket>(MakeRef<PacketSocket>(caller, type, protocol, flags, receive_ip, MakeRef<Side>()));
}

}  // namespace rampart::net
