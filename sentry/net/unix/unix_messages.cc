// Sending, receiving and readiness of AF_UNIX sockets.
#include "sentry/net/unix/unix_socket_impl.h"

namespace rampart::net {
namespace {

constexpr size_t kMaxWaiting = 10;  // net.unix.max_dgram_qlen: more than this many from others than the peer must wait
constexpr wait::EventMask kUnixOut = kOut | abi::kPollWrBand;

// Whether datagrams from `from` may fill `to`'s queue: those of its own peer may, until the bytes are too many.
size_t MaximumFor(UnixNode& to, const UnixNode& from) {
  return to.Peer().get() == &from ? PacketQueue::kNoMaximum : kMaxWaiting + 1;
}

}  // namespace

Result<size_t> UnixSocket::SendStream(const SendRequest& request, const UnixLink& link) {
  if (!request.to.empty()) return Errno::kEISCONN;
  return link.stream_tx->Write(request.src, request.ancillary, {.file_limit = request.file_limit});
}

Result<size_t> UnixSocket::SendPacket(const SendRequest& request, const UnixLink& link) {
  if (pass_credentials.load()) TRY(EnsureName());
  const size_t size = request.src.remaining();
  if (size > static_cast<size_t>(send_buffer.load()) - 32) return Errno::kEMSGSIZE;
  TRY(link.packet_tx->CheckPut(PacketQueue::kNoMaximum, shared_side()));
  Packet packet;
  packet.bytes = TRY(GatherPacket(request.src));
  packet.ancillary = request.ancillary;
  const Result<void> sent = link.packet_tx->Put(packet, PacketQueue::kNoMaximum, shared_side(), request.file_limit);
  if (!sent.ok()) return sent.error();
  return size;
}

// Linux's order of errors (unix_dgram_sendmsg): the address's form, the size, the socket's own state, the bytes; then only whom it goes to.
Result<size_t> UnixSocket::SendDatagram(const SendRequest& request) {
  const bool named = !request.to.empty();
  if (named && TRY(UnixNameIn(request.to)).empty()) return Errno::kEINVAL;
  if (pass_credentials.load()) TRY(EnsureName());
  const size_t size = request.src.remaining();
  if (size > static_cast<size_t>(send_buffer.load()) - 32) return Errno::kEMSGSIZE;
  if (const Errno error = side().TakeError(); error != Errno{}) return error;
  {
    absl::MutexLock lock(&mu_);
    if (send_shut_) return Errno::kEPIPE;
  }
  Packet packet;
  packet.bytes = TRY(GatherPacket(request.src));
  RefPtr<UnixNode> target = node_->Peer();
  if (named) target = TRY(FindUnixNode(*request.walk, request.to, type()));
  if (!target) return Errno::kENOTCONN;
  if (target->type != type()) return Errno::kEPROTOTYPE;
  {
    // One that is connected hears its peer only.
    const RefPtr<UnixNode> its_peer = target->Peer();
    if (its_peer && its_peer.get() != node_.get()) return Errno::kEPERM;
  }
  packet.sender = node_;
  packet.ancillary = request.ancillary;
  const Result<void> sent = target->datagrams->Put(packet, MaximumFor(*target, *node_), shared_side(), request.file_limit);
  if (sent.ok()) return size;
  if (sent.error() != Errno::kEPIPE || !target->datagrams->state().reader_gone) return sent.error();
  if (!named) Disconnect();
  return Errno::kECONNREFUSED;
}

Result<void> UnixSocket::CheckBeforeControl() {
  if (type() != abi::kSockSeqpacket) return Ok();
  if (const Errno error = side().TakeError(); error != Errno{}) return error;
  return link() ? Result<void>(Ok()) : Errno::kENOTCONN;
}

Result<size_t> UnixSocket::Send(const SendRequest& request) {
  TRY(CheckBeforeControl());
  if ((request.flags & abi::kMsgOob) != 0) return Errno::kEOPNOTSUPP;
  if (is_datagram()) return SendDatagram(request);
  const UnixLink own = link();
  if (!own) return !request.to.empty() && type() == abi::kSockStream ? Errno::kEOPNOTSUPP : Errno::kENOTCONN;
  const Result<size_t> sent = own.stream_tx ? SendStream(request, own) : SendPacket(request, own);
  if (sent.ok() && own.packet_tx) request.ancillary.files.clear();
  return sent;
}

Result<RecvResult> UnixSocket::ReceivePacket(PacketQueue& queue, mm::IoDst& dst, uint32_t flags) {
  RecvResult result;
  bool end = false;
  Packet packet = TRY(queue.Take((flags & abi::kMsgPeek) != 0, end));
  // Only who waits is told the end of a datagram socket (Linux: __skb_wait_for_more_packets).
  if (end && is_datagram() && (nonblocking() || (flags & abi::kMsgDontwait) != 0)) return Errno::kEAGAIN;
  if (end) return result;
  if (auto* const node = dynamic_cast<UnixNode*>(packet.sender.get())) result.from = node->Name();  // as it is now
  result.is_message = true;
  TRY(GivePacket(std::move(packet), dst, result));
  return result;
}

Result<RecvResult> UnixSocket::Receive(mm::IoDst& dst, uint32_t flags) {
  const UnixLink own = link();
  if (!own && !is_datagram()) return type() == abi::kSockStream ? Errno::kEINVAL : Errno::kENOTCONN;
  if ((flags & abi::kMsgOob) != 0) return Errno::kEOPNOTSUPP;
  if (is_datagram()) return ReceivePacket(*node_->datagrams, dst, flags);
  if (own.packet_rx) {
    Result<RecvResult> got = ReceivePacket(*own.packet_rx, dst, flags);
    if (got.ok() && got->is_message) got->from = own.PeerName();
    return got;
  }
  RecvResult result;
  StreamQueue::ReadOptions options;
  options.peek = (flags & abi::kMsgPeek) != 0;
  options.split_writers = pass_credentials.load();
  TRY(own.stream_rx->Read(dst, options, result));
  if (result.full_length > 0 || result.is_message) result.from = own.PeerName();
  return result;
}

wait::EventMask UnixSocket::DatagramReadiness() {
  const PacketQueue::State rx = node_->datagrams->state();
  wait::EventMask ready = side().has_error() ? abi::kPollErr : 0u;
  bool sends_no_more = false;
  {
    absl::MutexLock lock(&mu_);
    sends_no_more = send_shut_;
  }
  if (rx.packets > 0 || rx.reader_shut) ready |= kIn;
  if (rx.reader_shut) ready |= abi::kPollRdHup;
  if (rx.reader_shut && sends_no_more) ready |= abi::kPollHup;
  const RefPtr<UnixNode> peer = node_->Peer();
  if (!peer || peer->datagrams->Writable(MaximumFor(*peer, *node_), shared_side())) ready |= kUnixOut;
  return ready;
}

wait::EventMask UnixSocket::Readiness(wait::EventMask mask) {
  mask |= abi::kPollErr | abi::kPollHup;
  if (is_datagram()) return DatagramReadiness() & mask;
  wait::EventMask ready = side().has_error() ? abi::kPollErr : 0u;
  const UnixLink own = link();
  if (own.stream_rx) {
    const StreamQueue::State rx = own.stream_rx->state();
    const bool receives_no_more = rx.writer_done || rx.reader_shut;
    if (rx.bytes > 0 || receives_no_more) ready |= kIn;
    if (receives_no_more) ready |= abi::kPollRdHup;
    if ((mask & (kUnixOut | abi::kPollHup)) != 0) {
      const StreamQueue::State tx = own.stream_tx->state();
      const bool sends_no_more = tx.writer_done || tx.reader_shut || tx.reader_gone;
      if (receives_no_more && sends_no_more) ready |= abi::kPollHup;
      if (tx.writable || tx.reader_gone) ready |= kUnixOut;
    }
    return ready & mask;
  }
  if (own.packet_rx) {
    const PacketQueue::State rx = own.packet_rx->state(), tx = own.packet_tx->state();
    const bool receives_no_more = rx.writer_done || rx.reader_shut;
    if (rx.packets > 0 || receives_no_more) ready |= kIn;
    if (receives_no_more) ready |= abi::kPollRdHup;
    if (receives_no_more && (tx.writer_done || tx.reader_shut || tx.reader_gone)) ready |= abi::kPollHup;
    if (own.packet_tx->Writable(PacketQueue::kNoMaximum, shared_side())) ready |= kUnixOut;
    return ready & mask;
  }
  {
    absl::MutexLock lock(&mu_);
    if (receive_shut_) ready |= kIn | abi::kPollRdHup;
    if (receive_shut_ && send_shut_) ready |= abi::kPollHup;
  }
  absl::MutexLock lock(&node_->mu);
  if (!node_->listening) return (ready | abi::kPollHup | kUnixOut) & mask;
  if (!node_->backlog.empty() || node_->shut) ready |= kIn;
  return ready & mask;
}

Result<size_t> UnixSocket::Readable() const {
  if (is_datagram()) return node_->datagrams->state().first_bytes;
  const UnixLink own = link();
  if (own.stream_rx) return own.stream_rx->state().bytes;
  if (own.packet_rx) return own.packet_rx->state().bytes;
  if (listening()) return Errno::kEINVAL;
  return size_t{0};
}

size_t UnixSocket::Unsent() const {
  const UnixLink own = link();
  if (own.stream_tx) return own.stream_tx->state().cost;
  if (own.packet_tx) return own.packet_tx->state().cost;
  return 0;
}

}  // namespace rampart::net
