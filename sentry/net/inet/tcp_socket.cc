// TCP over loopback: two queues, with the states, errors and shutdowns of TCP as a program sees them.
#include <algorithm>
#include <cstring>

#include "sentry/net/inet/inet_base.h"
#include "sentry/net/inet/tcp_info.h"
#include "sentry/net/inet/tcp_listener.h"
#include "sentry/net/socket/socket_list.h"

namespace rampart::net {
namespace {

constexpr wait::EventMask kAll = kIn | kOut | abi::kPollErr | abi::kPollHup | abi::kPollRdHup;
// What a direction holds while neither side has set its buffer: enough that a sender seldom waits, little enough that thousands fit.
constexpr size_t kDefaultCapacity = 512 * 1024;
constexpr int32_t kInitialSendBuffer = 16384, kTunedSendBuffer = 2626560, kInitialReceiveBuffer = 131072;

class TcpSocket final : public InetSocket {
 public:
  TcpSocket(const Caller& caller, int family, uint32_t flags, abi::Ucred owner, Ref<Side> side)
      : InetSocket(caller, family, abi::kSockStream, abi::kIpprotoTcp, flags, owner, std::move(side)) {
    send_buffer.store(kInitialSendBuffer);
    receive_buffer.store(kInitialReceiveBuffer);
  }

  Result<void> Bind(const vfs::Walk& walk, std::string_view address) override;
  Result<void> Listen(Caller& caller, int backlog) override;
  Result<void> Connect(const vfs::Walk& walk, std::string_view address) override;
  Result<void> FinishConnect() override;
  Result<Ref<Socket>> Accept(const Caller& caller, uint32_t flags) override;
  Result<size_t> Send(const SendRequest& request) override;
  Result<RecvResult> Receive(mm::IoDst& dst, uint32_t flags) override;
  Result<void> Shutdown(int how) override;
  Result<std::string> PeerName() const override;
  bool Established() const override { return Info().state == TcpInfo::kEstablished; }
  bool listening() const override { return Now().phase == Phase::kListening; }
  Result<size_t> Readable() const override;
  size_t Unsent() const override;
  void Report(SocketReport& report) const override;
  void ReportWaiting(std::vector<SocketReport>& reports) const override;
  Result<bool> AtMark() const override;
  void BuffersChanged() override;
  Result<void> SetOption(const Caller& caller, int level, int name, std::string_view value) override;
  Result<std::string> GetOption(const Caller& caller, int level, int name, size_t room) override;
  wait::EventMask Readiness(wait::EventMask mask) override;

 protected:
  ~TcpSocket() override;

 private:
  enum class Phase : uint8_t { kIdle, kListening, kConnecting, kConnected };
  // What the socket is now, taken at once.
  struct View {
    Phase phase = Phase::kIdle;
    RefPtr<StreamQueue> rx, tx;
    RefPtr<Side> peer;
    RefPtr<TcpListener> listener;
    RefPtr<TcpHandshake> handshake;
    InetAddress peer_address;
    bool reported = false;      // connect(2) has said that it succeeded
    bool was_refused = false;   // idle again after a connection that failed or ended
    bool receive_shut = false;  // shutdown(2) of what is idle: ENOTCONN, and done all the same
    int32_t accepted_port = 0;  // in the table's connections
    bool accepted_reuse = false;
  };
  View Now() const {
    absl::MutexLock lock(&mu_);
    return view_;
  }
  // Nothing flows any more in either direction.
  static bool Ended(const StreamQueue::State& rx, const StreamQueue::State& tx) {
    return rx.reset || rx.broken || ((rx.writer_done || tx.reader_gone) && (tx.writer_done || tx.broken));
  }
  size_t CapacityFor(bool sending) const;
  void StartHandshake(const InetAddress& to, const InetAddress& local) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> ResolveHandshake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AdoptEnd(TcpEnd end, bool reuse);
  void CloseLink(const View& view, bool reset);
  Result<void> Disconnect();
  // The port that was not asked for by number, when the connection has ended or failed (Linux: tcp_set_state to TCP_CLOSE): bind(2) may name another.
  void GiveBackPort(bool keeps_address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  TcpInfo Info() const;

  std::atomic<bool> corked_{false};
  mutable absl::Mutex mu_;
  View view_ ABSL_GUARDED_BY(mu_);
};

size_t TcpSocket::CapacityFor(bool sending) const {
  const bool set = sending ? send_buffer_set.load() : receive_buffer_set.load();
  if (!set) return kDefaultCapacity / 2;
  return static_cast<size_t>(sending ? send_buffer.load() : receive_buffer.load()) / 2;
}

void TcpSocket::GiveBackPort(bool keeps_address) {
  PortTable& table = PortTable::Get();
  absl::MutexLock ports(&table.mu());
  const bool asked = port_.bound && port_.asked;
  if (keeps_address && (asked || !fixed_local_)) return;
  const std::optional<InetAddress> local = std::exchange(fixed_local_, std::nullopt);
  if (asked) return;
  if (port_.bound) {
    given_back_ = keeps_address && local ? *local : port_.address;
    table.Unbind(port_);
  } else if (local) {
    given_back_ = *local;
    if (!keeps_address) given_back_->ip = AnyAddress(family()).ip;
  }
  if (view_.accepted_port != 0) table.RemoveConnection(static_cast<uint16_t>(view_.accepted_port), view_.accepted_reuse);
  view_.accepted_port = 0;
}

Result<void> TcpSocket::Bind(const vfs::Walk& walk, std::string_view address) {
  {
    absl::MutexLock lock(&mu_);
    if (view_.phase == Phase::kConnected && Ended(view_.rx->state(), view_.tx->state())) GiveBackPort(true);
  }
  return InetSocket::Bind(walk, address);
}

Result<void> TcpSocket::Listen(Caller&, int backlog) {
  const auto limit = static_cast<size_t>(backlog < 0 || backlog > kMaxBacklog ? kMaxBacklog : backlog);
  TRY(EnsureBound());
  absl::MutexLock lock(&mu_);
  if (view_.phase == Phase::kListening) {
    view_.listener->SetLimit(limit);
    return Ok();
  }
  if (view_.phase != Phase::kIdle) return Errno::kEINVAL;
  PortTable& table = PortTable::Get();
  absl::MutexLock ports(&table.mu());
  TRY(table.CheckListen(port_));
  view_.listener = MakeRef<TcpListener>(shared_side(), limit);
  view_.phase = Phase::kListening;
  port_.listener = view_.listener;
  return Ok();
}

void TcpSocket::StartHandshake(const InetAddress& to, const InetAddress& local) {
  const Ref<Side> far_side = MakeRef<Side>();
  Ref<StreamQueue> tx = MakeRef<StreamQueue>(StreamQueue::Style::kTcp, far_side, shared_side(), CapacityFor(true), kDefaultCapacity / 2);
  Ref<StreamQueue> rx = MakeRef<StreamQueue>(StreamQueue::Style::kTcp, shared_side(), far_side, kDefaultCapacity / 2, CapacityFor(false));
  Ref<TcpHandshake> handshake = MakeRef<TcpHandshake>();
  view_.rx = rx, view_.tx = tx, view_.peer = far_side, view_.handshake = handshake;
  view_.peer_address = to;
  view_.phase = Phase::kConnecting;
  view_.reported = view_.was_refused = false;
  RefPtr<TcpListener> listener;
  {
    PortTable& table = PortTable::Get();
    absl::MutexLock ports(&table.mu());
    fixed_local_ = local;
    listener = table.FindListener(to, local);
  }
  if (listener) {
    listener->Offer({far_side, shared_side(), tx, rx, handshake, to, local});
  } else if (to == local) {  // simultaneous open with itself
    view_.rx = view_.tx = MakeRef<StreamQueue>(StreamQueue::Style::kTcp, shared_side(), shared_side(), kDefaultCapacity / 2, kDefaultCapacity / 2);
    view_.peer = shared_side();
    handshake->state.store(TcpHandshake::State::kEstablished);
  } else {
    side().SetError(Errno::kECONNREFUSED);
    handshake->state.store(TcpHandshake::State::kRefused);
    side().Notify(kAll);
  }
}

// What has become of a connection that is under way. EAGAIN: nothing yet.
Result<void> TcpSocket::ResolveHandshake() {
  switch (view_.handshake->state.load(std::memory_order_acquire)) {
    case TcpHandshake::State::kPending: return Errno::kEAGAIN;
    case TcpHandshake::State::kEstablished:
      view_.phase = Phase::kConnected;
      if (!send_buffer_set.load()) send_buffer.store(kTunedSendBuffer);
      return Ok();
    case TcpHandshake::State::kRefused: break;
  }
  view_ = View{};
  view_.was_refused = true;
  GiveBackPort(false);
  const Errno error = side().TakeError();
  return error != Errno{} ? error : Errno::kECONNABORTED;
}

Result<void> TcpSocket::Disconnect() {
  View old;
  {
    absl::MutexLock lock(&mu_);
    std::swap(old, view_);
    {
      absl::MutexLock ports(&PortTable::Get().mu());
      port_.listener = nullptr;
    }
    GiveBackPort(false);
  }
  CloseLink(old, true);
  return Ok();
}

Result<void> TcpSocket::Connect(const vfs::Walk&, std::string_view text) {
  if (text.size() >= 2 && text[0] == 0 && text[1] == 0) return Disconnect();
  InetAddress to = TRY(ParseInet(family(), text, false));
  {
    absl::MutexLock lock(&mu_);
    switch (view_.phase) {
      case Phase::kListening: return Errno::kEISCONN;
      case Phase::kConnected:
        if (std::exchange(view_.reported, true)) return Errno::kEISCONN;
        return Ok();
      case Phase::kConnecting: {
        const Result<void> outcome = ResolveHandshake();
        if (outcome.ok()) view_.reported = true;
        return outcome.ok() || outcome.error() != Errno::kEAGAIN ? outcome : Errno::kEALREADY;
      }
      case Phase::kIdle: break;
    }
  }
  if (to.IsMulticast() || to.IsBroadcast()) return Errno::kENETUNREACH;
  to = TRY(Route(to));
  TRY(EnsureBound());
  const InetAddress local = SourceFor(to);
  absl::MutexLock lock(&mu_);
  if (view_.phase != Phase::kIdle) return Errno::kEALREADY;
  (void)side().TakeError();
  StartHandshake(to, local);
  return Errno::kEINPROGRESS;
}

Result<void> TcpSocket::FinishConnect() {
  absl::MutexLock lock(&mu_);
  if (view_.phase == Phase::kConnecting) TRY(ResolveHandshake());
  if (view_.phase != Phase::kConnected) return Errno::kECONNABORTED;
  view_.reported = true;
  return Ok();
}

void TcpSocket::AdoptEnd(TcpEnd end, bool reuse) {
  absl::MutexLock lock(&mu_);
  view_.phase = Phase::kConnected;
  view_.reported = true;
  view_.rx = end.rx, view_.tx = end.tx, view_.peer = end.client;
  view_.peer_address = end.peer;
  view_.accepted_port = end.local.port;
  view_.accepted_reuse = reuse;
  PortTable& table = PortTable::Get();
  absl::MutexLock ports(&table.mu());
  fixed_local_ = end.local;
  table.AddConnection(end.local.port, reuse);
}

Result<Ref<Socket>> TcpSocket::Accept(const Caller& caller, uint32_t flags) {
  const RefPtr<TcpListener> listener = Now().listener;
  if (!listener) return Errno::kEINVAL;
  TcpEnd end = TRY(listener->Take());
  Ref<TcpSocket> accepted = MakeRef<TcpSocket>(caller, family(), flags, owner_, end.side);
  accepted->reuse_address.store(reuse_address.load());
  accepted->reuse_port.store(reuse_port.load());
  accepted->urgent_inline.store(urgent_inline.load());
  accepted->linger.store(linger.load());
  accepted->corked_.store(corked_.load());
  accepted->RememberAllOf(*this);
  accepted->receive_buffer.store(receive_buffer.load());
  accepted->receive_buffer_set.store(receive_buffer_set.load());
  accepted->send_buffer_set.store(send_buffer_set.load());
  accepted->send_buffer.store(send_buffer_set.load() ? send_buffer.load() : kTunedSendBuffer);
  accepted->AdoptEnd(std::move(end), reuse_address.load());
  if (receive_buffer_set.load() || send_buffer_set.load()) accepted->BuffersChanged();
  return Ref<Socket>(std::move(accepted));
}

void TcpSocket::CloseLink(const View& view, bool reset) {
  if (view.listener) view.listener->Close();
  if (view.accepted_port != 0) {
    absl::MutexLock ports(&PortTable::Get().mu());
    PortTable::Get().RemoveConnection(static_cast<uint16_t>(view.accepted_port), view.accepted_reuse);
  }
  if (!view.rx) return;
  const bool over = view.rx->state().reset;
  // What was not read is answered with a reset, as is SO_LINGER with no time.
  reset = (view.rx->CloseReader() || reset) && !over && view.rx.get() != view.tx.get();
  if (reset) {
    view.peer->SetError(Errno::kECONNRESET);
    view.tx->Reset();
    view.rx->Break();
    view.peer->Notify(kAll);
  } else {
    view.tx->CloseWriter();
  }
}

TcpSocket::~TcpSocket() {
  const uint64_t value = linger.load(std::memory_order_relaxed);
  {
    absl::MutexLock ports(&PortTable::Get().mu());
    port_.listener = nullptr;
  }
  CloseLink(Now(), static_cast<uint32_t>(value) != 0 && (value >> 32) == 0);
}

Result<size_t> TcpSocket::Send(const SendRequest& request) {
  View now = Now();
  if (now.phase == Phase::kConnecting) {
    absl::MutexLock lock(&mu_);
    if (view_.phase == Phase::kConnecting) TRY(ResolveHandshake());
    now = view_;
  }
  if (now.phase != Phase::kConnected) return Errno::kEPIPE;
  if (const Errno error = side().TakeError(); error != Errno{}) return error;
  const bool urgent = (request.flags & abi::kMsgOob) != 0;
  const bool hold = !urgent && (corked_.load() || (request.flags & kMsgMore) != 0);
  return now.tx->Write(request.src, request.ancillary, {.urgent = urgent, .hold = hold, .file_limit = request.file_limit});
}

Result<RecvResult> TcpSocket::Receive(mm::IoDst& dst, uint32_t flags) {
  if ((flags & abi::kMsgErrqueue) != 0) return Errno::kEAGAIN;  // there is never anything in it
  View now = Now();
  if (now.phase == Phase::kConnecting) {
    absl::MutexLock lock(&mu_);
    if (view_.phase == Phase::kConnecting) TRY(ResolveHandshake());
    now = view_;
  }
  if (now.phase == Phase::kIdle && (flags & abi::kMsgOob) != 0) return Errno::kEINVAL;
  if (now.phase == Phase::kIdle && now.receive_shut) {
    if (const Errno error = side().TakeError(); error != Errno{}) return error;
    return RecvResult{};
  }
  if (now.phase != Phase::kConnected) return Errno::kENOTCONN;
  RecvResult result;
  if ((flags & abi::kMsgOob) != 0) {
    if (urgent_inline.load()) return Errno::kEINVAL;
    const std::byte value = TRY(now.rx->TakeUrgent((flags & abi::kMsgPeek) != 0));
    result.flags |= abi::kMsgOob;
    if (dst.remaining() > 0) result.copied = TRY(dst.Write(std::span(&value, 1)));
    result.full_length = result.copied;
    return result;
  }
  StreamQueue::ReadOptions options;
  options.peek = (flags & abi::kMsgPeek) != 0;
  options.discard = (flags & abi::kMsgTrunc) != 0;
  options.urgent_inline = urgent_inline.load();
  TRY(now.rx->Read(dst, options, result));
  return result;
}

Result<void> TcpSocket::Shutdown(int how) {
  const bool read = how != abi::kShutWr, write = how != abi::kShutRd;
  const View now = Now();
  if (now.phase == Phase::kListening) {
    if (read) return Disconnect();
    return Ok();
  }
  if (now.phase == Phase::kConnecting) {
    absl::MutexLock lock(&mu_);
    if (view_.phase == Phase::kConnecting && !ResolveHandshake().ok()) return Errno::kENOTCONN;
  } else if (now.phase != Phase::kConnected) {
    if (!read) return Errno::kENOTCONN;
    {
      absl::MutexLock lock(&mu_);
      view_.receive_shut = true;
    }
    side().Notify(kIn | abi::kPollRdHup);
    return Errno::kENOTCONN;
  }
  if (Ended(now.rx->state(), now.tx->state())) return Errno::kENOTCONN;
  if (read) now.rx->ShutReader();
  if (write) now.tx->CloseWriter();
  if (now.rx.get() != now.tx.get() && now.rx->state().reader_shut && now.tx->state().writer_done) now.rx->RefuseBytes();
  side().Notify(kIn | kOut | abi::kPollHup | abi::kPollRdHup);
  return Ok();
}

Result<std::string> TcpSocket::PeerName() const {
  const View now = Now();
  const bool established =
      now.phase == Phase::kConnected || (now.phase == Phase::kConnecting && now.handshake->state.load() == TcpHandshake::State::kEstablished);
  if (!established || Ended(now.rx->state(), now.tx->state())) return Errno::kENOTCONN;
  return FormatInet(family(), now.peer_address);
}

Result<size_t> TcpSocket::Readable() const {
  const View now = Now();
  if (now.phase == Phase::kListening) return Errno::kEINVAL;
  return now.rx ? now.rx->state().bytes : 0;
}

size_t TcpSocket::Unsent() const {
  const View now = Now();
  if (!now.tx) return 0;
  const StreamQueue::State tx = now.tx->state();
  return tx.bytes + tx.held;
}

Result<bool> TcpSocket::AtMark() const {
  const View now = Now();
  return now.rx && now.rx->AtUrgentMark();
}

void TcpSocket::BuffersChanged() {
  const View now = Now();
  if (!now.rx || now.rx.get() == now.tx.get()) return;
  now.tx->SetWriterPart(CapacityFor(true));
  now.rx->SetReaderPart(CapacityFor(false));
}

wait::EventMask TcpSocket::Readiness(wait::EventMask mask) {
  mask |= abi::kPollErr | abi::kPollHup;
  wait::EventMask ready = side().has_error() ? abi::kPollErr : 0u;
  const View now = Now();
  switch (now.phase) {
    case Phase::kListening: return (ready | (now.listener->waiting() > 0 ? kIn : 0u)) & mask;
    case Phase::kIdle: return (ready | kOut | abi::kPollHup | (now.was_refused || now.receive_shut ? kIn | abi::kPollRdHup : 0u)) & mask;
    case Phase::kConnecting: {
      const TcpHandshake::State state = now.handshake->state.load(std::memory_order_acquire);
      if (state == TcpHandshake::State::kPending) return ready & mask;
      if (state == TcpHandshake::State::kRefused) return (ready | kIn | kOut | abi::kPollHup | abi::kPollRdHup) & mask;
      break;
    }
    case Phase::kConnected: break;
  }
  const StreamQueue::State rx = now.rx->state(), tx = now.tx->state();
  const bool receives_no_more = rx.writer_done || rx.reader_shut, sends_no_more = tx.writer_done || tx.broken || rx.reset;
  if (rx.bytes > 0 || receives_no_more) ready |= kIn;
  if (receives_no_more) ready |= abi::kPollRdHup;
  if (rx.urgent) ready |= abi::kPollPri;
  if (receives_no_more && sends_no_more) ready |= abi::kPollHup;
  if (sends_no_more || tx.writable) ready |= kOut;
  return ready & mask;
}

TcpInfo TcpSocket::Info() const {
  const View now = Now();
  TcpInfo info = TcpInfo::OfLoopback();
  switch (now.phase) {
    case Phase::kIdle: info.state = TcpInfo::kClose; return info;
    case Phase::kListening:
      info.state = TcpInfo::kListen;
      info.unacked = static_cast<uint32_t>(now.listener->waiting());
      return info;
    case Phase::kConnecting:
      if (now.handshake->state.load() != TcpHandshake::State::kEstablished) {
        info.state = TcpInfo::kSynSent;
        return info;
      }
      break;
    case Phase::kConnected: break;
  }
  const StreamQueue::State rx = now.rx->state(), tx = now.tx->state();
  if (Ended(rx, tx)) {
    info.state = TcpInfo::kClose;
  } else if (tx.writer_done) {
    info.state = TcpInfo::kFinWait2;
  } else {
    info.state = rx.writer_done ? TcpInfo::kCloseWait : TcpInfo::kEstablished;
  }
  info.bytes_acked = tx.written - tx.held + 1;
  info.bytes_sent = tx.written - tx.held;
  info.bytes_received = rx.written - rx.held;
  info.notsent_bytes = static_cast<uint32_t>(tx.held);
  return info;
}

void TcpSocket::Report(SocketReport& report) const {
  InetSocket::Report(report);
  const View now = Now();
  const TcpInfo info = Info();
  report.state = info.state;
  report.tcp_info = BytesOf(info);
  if (now.phase == Phase::kListening) {
    report.receive_queue = now.listener->waiting();
    report.send_queue = now.listener->limit();
  } else if (now.phase != Phase::kIdle) {
    report.peer = FormatInet(family(), now.peer_address);
    const StreamQueue::State rx = now.rx->state(), tx = now.tx->state();
    // What the peer has room for it has got, as far as Linux can tell.
    constexpr uint64_t kWindow = kDefaultCapacity / 2;
    report.receive_queue = std::min<uint64_t>(rx.bytes, kWindow);
    report.send_queue = tx.held + (tx.bytes > kWindow ? tx.bytes - kWindow : 0);
    report.shutdown = static_cast<uint8_t>((rx.writer_done || rx.reader_shut ? 1 : 0) | (tx.writer_done ? 2 : 0));
  }
}

void TcpSocket::ReportWaiting(std::vector<SocketReport>& reports) const {
  const RefPtr<TcpListener> listener = Now().listener;
  if (!listener) return;
  TcpInfo info = TcpInfo::OfLoopback();
  info.state = TcpInfo::kEstablished;
  for (const TcpEnd& end : listener->Waiting()) {
    SocketReport& report = reports.emplace_back();
    report.family = family(), report.type = type(), report.protocol = protocol();
    report.state = TcpInfo::kEstablished;
    report.local = FormatInet(family(), end.local), report.peer = FormatInet(family(), end.peer);
    report.receive_queue = end.rx->state().bytes;
    report.receive_buffer = receive_buffer.load(), report.send_buffer = send_buffer.load();
    report.tcp_info = BytesOf(info);
  }
}

Result<void> TcpSocket::SetOption(const Caller& caller, int level, int name, std::string_view value) {
  if (level != abi::kIpprotoTcp) return InetSocket::SetOption(caller, level, name, value);
  if (name == kTcpCongestion) return CheckCongestion(value);
  const int32_t number = TRY(IntegerIn(value));
  const TcpOption* const option = TcpOption::Find(name);
  if (option == nullptr) return Errno::kENOPROTOOPT;
  if (number < option->smallest || number > option->largest) return Errno::kEINVAL;
  Remember(level, name, option->is_flag ? (number != 0 ? 1 : 0) : number);
  if (name == kTcpCork) corked_.store(number != 0);
  if (name == (number != 0 ? abi::kTcpNodelay : kTcpCork)) {
    if (const View now = Now(); now.tx) now.tx->Push();
  }
  return Ok();
}

Result<std::string> TcpSocket::GetOption(const Caller& caller, int level, int name, size_t room) {
  if (level != abi::kIpprotoTcp) return InetSocket::GetOption(caller, level, name, room);
  if (name == kTcpInfo) return BytesOf(Info());
  if (name == kTcpCongestion) return std::string(kCongestion, sizeof(kCongestion));
  // TCP_CC_INFO of cubic, TCP_SAVED_SYN, TCP_ULP, TCP_FASTOPEN_KEY: nothing.
  if (name == 26 || name == 28 || name == 31 || name == 33) return std::string();
  const TcpOption* const option = TcpOption::Find(name);
  if (option == nullptr) return Errno::kENOPROTOOPT;
  if (name == kTcpMaxseg && Now().phase == Phase::kConnected) return BytesOf(int32_t{65483});
  return BytesOf(Remembered(level, name, option->initial));
}

}  // namespace

Ref<Socket> NewTcpSocket(const Caller& caller, int family, uint32_t flags, abi::Ucred owner) {
  return MakeRef<TcpSocket>(caller, family, flags, owner, MakeRef<Side>());
}

}  // namespace rampart::net
