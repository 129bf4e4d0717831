#include "sentry/net/netlink/netlink_socket.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <iterator>

#include "absl/container/flat_hash_set.h"
#include "sentry/net/netlink/diag_messages.h"
#include "sentry/net/netlink/route_messages.h"
#include "sentry/net/socket/packet_queue.h"
#include "sentry/net/socket/socket_list.h"

namespace rampart::net {
namespace {

constexpr int kNetlinkRoute = 0, kNetlinkDiag = 4, kNetlinkUevent = 15, kSolNetlink = 270;

constexpr size_t kMaxRest = 4096;  // packets of an answer that a slow reader leaves, and complaints

// sockaddr_nl.
struct Address {
  uint16_t family;
  uint16_t pad;
  uint32_t port;
  uint32_t groups;
};

// Port numbers in use: a process's first socket has its process number.
struct PortNumbers {
  absl::Mutex mu;
  absl::flat_hash_set<uint32_t> used ABSL_GUARDED_BY(mu);
};
PortNumbers& ThePorts() {
  static PortNumbers* const ports = new PortNumbers;
  return *ports;
}

Result<Address> Parse(std::string_view text) {
  Address a{};
  if (text.size() < sizeof(a)) return Errno::kEINVAL;
  std::memcpy(&a, text.data(), sizeof(a));
  if (a.family != abi::kAfNetlink) return Errno::kEINVAL;
  return a;
}

class NetlinkSocket final : public Socket {
 public:
  NetlinkSocket(const Caller& caller, int type, int protocol, uint32_t flags, abi::Ucred owner, Ref<Side> side)
      : Socket(abi::kAfNetlink, type, protocol, flags, side, caller), owner_(owner), rx_(MakeRef<PacketQueue>(std::move(side), kDefaultBuffer)) {}

  Result<void> Bind(const vfs::Walk&, std::string_view text) override {
    const Address a = TRY(Parse(text));
    absl::MutexLock lock(&mu_);
    if (port_ != 0) return a.port == 0 || a.port == port_ ? Result<void>(Ok()) : Errno::kEINVAL;
    groups_ = a.groups;
    return TakePort(a.port);
  }
  Result<void> Connect(const vfs::Walk&, std::string_view text) override {
    if (text.size() >= 2 && text[0] == 0 && text[1] == 0) return Ok();
    const Address a = TRY(Parse(text));
    if (a.port != 0) return Errno::kECONNREFUSED;  // only the kernel is there
    absl::MutexLock lock(&mu_);
    return port_ == 0 ? TakePort(0) : Result<void>(Ok());
  }
  Result<size_t> Send(const SendRequest& request) override;
  Result<RecvResult> Receive(mm::IoDst& dst, uint32_t flags) override {
    RecvResult result;
    bool end = false;
    Packet packet = TRY(rx_->Take((flags & abi::kMsgPeek) != 0, end));
    if ((flags & abi::kMsgPeek) == 0) ContinueDump();
    result.from = packet.from;
    TRY(GivePacket(std::move(packet), dst, result));
    return result;
  }
  // A packet of the kernel's.
  Result<void> Give(std::string bytes) {
    Packet packet;
    packet.bytes = std::move(bytes);
    packet.from = BytesOf(Address{static_cast<uint16_t>(abi::kAfNetlink), 0, 0, 0});
    return rx_->Put(packet, PacketQueue::kNoMaximum, nullptr);
  }
  Result<void> Shutdown(int) override { return Errno::kEOPNOTSUPP; }
  std::string LocalName() const override {
    absl::MutexLock lock(&mu_);
    return BytesOf(Address{static_cast<uint16_t>(abi::kAfNetlink), 0, port_, groups_});
  }
  void Report(SocketReport& report) const override;
  Result<std::string> PeerName() const override { return BytesOf(Address{static_cast<uint16_t>(abi::kAfNetlink), 0, 0, 0}); }
  Result<size_t> Readable() const override { return rx_->state().first_bytes; }
  void BuffersChanged() override { rx_->SetCapacity(static_cast<size_t>(receive_buffer.load())); }
  wait::EventMask Readiness(wait::EventMask mask) override {
    return (kOut | abi::kPollWrBand | (rx_->state().packets > 0 ? kIn : 0u) | (side().has_error() ? abi::kPollErr : 0u)) & mask;
  }
  // NETLINK_ADD_MEMBERSHIP and the switches of SOL_NETLINK: there is never any news, so that all of them are already obeyed.
  Result<void> SetOption(const Caller& caller, int level, int name, std::string_view value) override {
    if (level != kSolNetlink) return Socket::SetOption(caller, level, name, value);
    if (name < 1 || name > 12) return Errno::kENOPROTOOPT;
    Remember(level, name, TRY(IntegerIn(value)));
    return Ok();
  }
  Result<std::string> GetOption(const Caller& caller, int level, int name, size_t room) override {
    if (level != kSolNetlink) return Socket::GetOption(caller, level, name, room);
    if (name < 3 || name > 12 || name == 9) return Errno::kENOPROTOOPT;
    return BytesOf(Remembered(level, name, 0));
  }

 protected:
  ~NetlinkSocket() override {
    rx_->CloseReader();
    absl::MutexLock table(&ThePorts().mu);
    ThePorts().used.erase(port_);
  }

 private:
  Result<void> TakePort(uint32_t wanted) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    absl::MutexLock table(&ThePorts().mu);
    auto& used = ThePorts().used;
    if (wanted != 0) {
      if (!used.insert(wanted).second) return Errno::kEADDRINUSE;
      port_ = wanted;
      return Ok();
    }
    uint32_t port = static_cast<uint32_t>(owner_.pid);
    for (uint32_t next = UINT32_MAX - 4096; !used.insert(port).second; --next) port = next;
    port_ = port;
    return Ok();
  }
  Result<void> Answer(std::string_view request);
  // The rest of a long answer, as far as there is room for it.
  void ContinueDump();

  const abi::Ucred owner_;
  const Ref<PacketQueue> rx_;
  mutable absl::Mutex mu_;
  uint32_t port_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t groups_ ABSL_GUARDED_BY(mu_) = 0;
  bool feeding_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<std::string> rest_ ABSL_GUARDED_BY(mu_);  // of an answer: what is not yet in the queue; its reader makes the room
};

Result<void> NetlinkSocket::Answer(std::string_view request) {
  uint32_t port = 0;
  {
    absl::MutexLock lock(&mu_);
    if (port_ == 0) TRY(TakePort(0));
    port = port_;
  }
  if (protocol() == kNetlinkUevent) return Errno::kECONNREFUSED;  // the kernel listens to nobody there
  std::vector<std::string> answers = protocol() == kNetlinkDiag ? AnswerDiag(request, port) : AnswerRoute(request, port, owner_.uid);
  {
    absl::MutexLock lock(&mu_);
    if (!rest_.empty()) {
      // Another answer is still under way: as Linux tells of a second dump.
      NetlinkHeader header{};
      std::memcpy(&header, request.data(), sizeof(header));
      answers.assign(1, ErrorMessage(header, request.substr(sizeof(header)), port, Errno::kEBUSY));
      rest_.push_back(std::move(answers[0]));
      if (rest_.size() > kMaxRest) rest_.pop_back(), side().SetError(Errno::kENOBUFS);
    } else {
      rest_.assign(std::make_move_iterator(answers.begin()), std::make_move_iterator(answers.end()));
    }
  }
  ContinueDump();
  return Ok();
}

void NetlinkSocket::ContinueDump() {
  {
    absl::MutexLock lock(&mu_);
    if (feeding_) return;  // whoever does it looks again
    feeding_ = true;
  }
  while (true) {
    std::string next;
    {
      absl::MutexLock lock(&mu_);
      if (rest_.empty() || !rx_->HasRoom(PacketQueue::kNoMaximum, nullptr)) {
        feeding_ = false;
        return;
      }
      next = std::move(rest_.front());
      rest_.pop_front();
    }
    if (!Give(std::move(next)).ok()) side().SetError(Errno::kENOBUFS);
  }
}

void NetlinkSocket::Report(SocketReport& report) const {
  Socket::Report(report);
  report.peer.clear();
  report.state = SocketReport::kClose;
  absl::MutexLock lock(&mu_);
  report.groups = groups_;
}

Result<size_t> NetlinkSocket::Send(const SendRequest& request) {
  if (!request.to.empty()) {
    const Address to = TRY(Parse(request.to));
    if (to.port != 0 || to.groups != 0) return Errno::kECONNREFUSED;
  }
  const size_t size = request.src.remaining();
  if (size > static_cast<size_t>(send_buffer.load()) - 32) return Errno::kEMSGSIZE;
  const std::string bytes = TRY(GatherPacket(request.src));
  std::string_view rest = bytes;
  while (rest.size() >= sizeof(NetlinkHeader)) {
    NetlinkHeader header{};
    std::memcpy(&header, rest.data(), sizeof(header));
    if (header.length < sizeof(header) || header.length > rest.size()) break;
    if ((header.flags & kNlmFRequest) != 0) TRY(Answer(rest.substr(0, header.length)));
    rest.remove_prefix(std::min<size_t>(rest.size(), (header.length + size_t{3}) & ~size_t{3}));
  }
  return size;
}

}  // namespace

Result<Ref<Socket>> NewNetlinkSocket(const Caller& caller, abi::Ucred owner, int type, int protocol, uint32_t flags) {
  if (type != abi::kSockRaw && type != abi::kSockDgram) return Errno::kESOCKTNOSUPPORT;
  if (protocol != kNetlinkRoute && protocol != kNetlinkDiag && protocol != kNetlinkUevent) return Errno::kEPROTONOSUPPORT;
  return Ref<Socket>(MakeRef<NetlinkSocket>(caller, type, protocol, flags, owner, MakeRef<Side>()));
}

Result<void> SendFromKernel(Socket& socket, std::string bytes) {
  auto* const netlink = dynamic_cast<NetlinkSocket*>(&socket);
  if (netlink == nullptr) return Errno::kEINVAL;
  return netlink->Give(std::move(bytes));
}

}  // namespace rampart::net
