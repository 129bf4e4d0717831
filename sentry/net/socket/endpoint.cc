#include "sentry/net/socket/endpoint.h"

#include <algorithm>
#include <cstring>

namespace rampart::net {
namespace {

constexpr wait::EventMask kIn = abi::kPollIn | abi::kPollRdNorm, kOut = abi::kPollOut | abi::kPollWrNorm;

void Append(std::string& to, std::span<const iovec> segments, size_t n) {
  for (const iovec& s : segments) {
    const size_t some = std::min(n, s.iov_len);
    to.append(static_cast<const char*>(s.iov_base), some);
    n -= some;
  }
}

}  // namespace

absl::Mutex& NetMutex() {
  static absl::Mutex mu;
  return mu;
}

void Endpoint::Pair(Endpoint& a, Endpoint& b) {
  Lock lock(&NetMutex());
  a.peer_ = ShareRef(&b);
  b.peer_ = ShareRef(&a);
  a.connected_ = b.connected_ = true;
  a.peer_cred_ = b.owner_;
  b.peer_cred_ = a.owner_;
}

Result<void> Endpoint::Listen(int backlog) {
  Lock lock(&NetMutex());
  if (connected_) return Errno::kEINVAL;
  listening_ = true;
  backlog_limit_ = static_cast<size_t>(std::clamp(backlog < 0 ? 4096 : backlog, 0, 4096));
  return Ok();
}

Result<void> Endpoint::Connect(Endpoint& listener, std::string listener_name) {
  {
    Lock lock(&NetMutex());
    if (connected_) return Errno::kEISCONN;
    if (listening_) return Errno::kEINVAL;
    if (listener.kind_ != kind_) return Errno::kEPROTOTYPE;
    if (!listener.listening_ || listener.closed_ || listener.read_shut_) return Errno::kECONNREFUSED;
    if (listener.backlog_.size() > listener.backlog_limit_) return Errno::kEAGAIN;
    Ref<Endpoint> other = MakeRef<Endpoint>(kind_, listener.owner_);
    other->name_ = listener_name;  // what was asked for: a wildcard listener has many
    other->peer_name_ = name_;
    other->peer_ = ShareRef(this);
    other->peer_cred_ = owner_;
    other->connected_ = connected_ = true;
    peer_ = other;
    peer_name_ = std::move(listener_name);
    peer_cred_ = listener.owner_;
    eof_ = peer_gone_ = false;
    listener.backlog_.push_back(std::move(other));
  }
  listener.queue_.Notify(kIn);
  queue_.Notify(kOut);
  return Ok();
}

Result<Ref<Endpoint>> Endpoint::Accept() {
  RefPtr<Endpoint> taken;
  {
    Lock lock(&NetMutex());
    if (!listening_ || read_shut_) return Errno::kEINVAL;
    if (backlog_.empty()) return Errno::kEAGAIN;
    taken = backlog_.front();
    backlog_.pop_front();
  }
  queue_.Notify(kOut);  // a connect that waits for room
  return std::move(taken).ToRef();
}

void Endpoint::SetDatagramPeer(RefPtr<Endpoint> peer, std::string peer_name) {
  Lock lock(&NetMutex());
  std::swap(peer_, peer);  // the old one goes after the lock
  connected_ = peer_ != nullptr;
  peer_name_ = std::move(peer_name);
  if (connected_) peer_cred_ = peer_->owner_;
}

Result<Ref<Endpoint>> Endpoint::SendTarget(const RefPtr<Endpoint>& to) {
  if (error_ != Errno{}) return std::exchange(error_, Errno{});
  if (write_shut_ || peer_gone_) return Errno::kEPIPE;
  if (kind_ == Kind::kDatagram && to) {
    if (to->closed_) return Errno::kECONNREFUSED;
    return to.ToRef();
  }
  if (!connected_) return kind_ == Kind::kDatagram ? Errno::kEDESTADDRREQ : Errno::kENOTCONN;
  if (!peer_ || peer_->closed_) return kind_ == Kind::kDatagram ? Errno::kECONNREFUSED : Errno::kEPIPE;
  if (peer_->read_shut_) return Errno::kEPIPE;
  return peer_.ToRef();
}

Result<size_t> Endpoint::SendStream(mm::IoSrc& src, Ancillary& ancillary, RefPtr<Endpoint>& told) {
  return src.Drain(src.remaining(), [&](std::span<const iovec> segments) -> Result<size_t> {
    size_t total = 0;
    for (const iovec& s : segments) total += s.iov_len;
    Lock lock(&NetMutex());
    const Ref<Endpoint> target = TRY(SendTarget(nullptr));
    if (target->Full()) return Errno::kEAGAIN;
    const size_t n = std::min(total, kQueueLimit - target->queued_);
    const bool joins = !target->messages_.empty() && ancillary.files.empty() && target->messages_.back().ancillary.files.empty() &&
                       target->messages_.back().bytes.size() + n <= 65536;
    if (!joins) target->messages_.push_back({"", 0, name_, std::move(ancillary)}), ancillary = {};
    Append(target->messages_.back().bytes, segments, n);
    target->queued_ += n;
    told = target;
    return n;
  });
}

Result<size_t> Endpoint::SendPacket(mm::IoSrc& src, RefPtr<Endpoint> to, Ancillary& ancillary, bool lossy, RefPtr<Endpoint>& told) {
  const size_t size = src.remaining();
  if (size > kQueueLimit - 32) return Errno::kEMSGSIZE;
  std::string bytes;
  const auto deliver = [&]() -> Result<void> {
    Lock lock(&NetMutex());
    const Ref<Endpoint> target = TRY(SendTarget(to));
    // A connected datagram socket takes messages from its peer only.
    if (kind_ == Kind::kDatagram && target->connected_ && target->peer_.get() != this) return lossy ? Result<void>(Ok()) : Errno::kEPERM;
    if (!target->messages_.empty() && (target->queued_ + size > kQueueLimit || target->Full())) return lossy ? Result<void>(Ok()) : Errno::kEAGAIN;
    target->messages_.push_back({std::move(bytes), 0, name_, std::move(ancillary)});
    ancillary = {};
    target->queued_ += size;
    told = target;
    return Ok();
  };
  if (size == 0) {
    TRY(deliver());
    return size_t{0};
  }
  const Result<size_t> moved = src.Drain(size, [&](std::span<const iovec> segments) -> Result<size_t> {
    size_t total = 0;
    for (const iovec& s : segments) total += s.iov_len;
    Append(bytes, segments, total);
    if (bytes.size() == size) TRY(deliver());
    return total;
  });
  if (moved.ok() && *moved != size) return Errno::kEFAULT;  // the source broke off in the middle
  return moved;
}

Result<size_t> Endpoint::Send(mm::IoSrc& src, RefPtr<Endpoint> to, Ancillary ancillary, bool lossy) {
  RefPtr<Endpoint> told;
  const Result<size_t> sent =
      kind_ == Kind::kStream ? SendStream(src, ancillary, told) : SendPacket(src, std::move(to), ancillary, lossy, told);
  if (told) told->queue_.Notify(kIn);
  return sent;
}

Result<void> Endpoint::CheckReceive() {
  if (!messages_.empty()) return Ok();
  if (error_ != Errno{}) return std::exchange(error_, Errno{});
  if (eof_ || read_shut_) return Ok();
  if (kind_ != Kind::kDatagram && !connected_) return kind_ == Kind::kStream && listening_ ? Errno::kEINVAL : Errno::kENOTCONN;
  return Errno::kEAGAIN;
}

// Fills from the front of a stream's queue; `skip` bytes are passed over first (a peek that comes in pieces).
size_t Endpoint::TakeStream(std::span<const iovec> segments, bool peek, RecvResult& result, std::deque<Message>& used) {
  size_t moved = 0, index = 0, skip = peek ? result.copied : 0;
  for (const iovec& s : segments) {
    for (size_t filled = 0; filled < s.iov_len;) {
      if (index >= messages_.size()) return moved;
      Message& m = messages_[index];
      // Descriptors mark a boundary that one receive does not cross.
      if (result.copied + moved > 0 && !m.ancillary.files.empty() && !(peek && index == 0)) return moved;
      const size_t left = m.bytes.size() - m.at;
      if (peek && skip >= left) {
        skip -= left, ++index;
        continue;
      }
      if (result.copied + moved == 0) {
        result.from = m.from;
        result.ancillary = peek ? m.ancillary : std::exchange(m.ancillary, Ancillary{m.ancillary.credentials, {}});
      }
      const size_t n = std::min(left - skip, s.iov_len - filled);
      std::memcpy(static_cast<char*>(s.iov_base) + filled, m.bytes.data() + m.at + skip, n);
      filled += n, moved += n;
      if (peek) {
        skip += n;
        continue;
      }
      m.at += n, queued_ -= n;
      if (m.at < m.bytes.size()) continue;
      used.push_back(std::move(messages_.front()));
      messages_.pop_front();
    }
  }
  return moved;
}

Result<RecvResult> Endpoint::Receive(mm::IoDst& dst, bool peek) {
  RecvResult result;
  std::deque<Message> used;  // dropped without the lock
  RefPtr<Endpoint> sender;
  const auto take = [&](std::span<const iovec> segments) -> Result<size_t> {
    Lock lock(&NetMutex());
    TRY(CheckReceive());
    const size_t moved = TakeStream(segments, peek, result, used);
    if (peer_) sender = peer_;
    result.copied += moved;
    return moved;
  };
  if (kind_ == Kind::kStream) {
    if (dst.remaining() == 0) return result;
    const Result<size_t> moved = dst.Fill(dst.remaining(), take);
    if (!moved.ok()) return moved.error();
    result.full_length = result.copied;
  } else {
    Message packet;
    {
      Lock lock(&NetMutex());
      TRY(CheckReceive());
      if (messages_.empty()) return result;
      Message& m = messages_.front();
      if (peek) {
        packet.bytes = m.bytes;
        packet.from = m.from;
        packet.ancillary = m.ancillary;
      } else {
        packet = std::move(m);
        messages_.pop_front();
        queued_ -= packet.bytes.size();
        sender = peer_;
      }
    }
    result.full_length = packet.bytes.size();
    const size_t n = std::min(dst.remaining(), packet.bytes.size());
    if (n > 0) result.copied = TRY(dst.Write(std::as_bytes(std::span(packet.bytes)).first(n)));
    result.from = std::move(packet.from);
    result.ancillary = std::move(packet.ancillary);
  }
  if (!peek && sender) sender->queue_.Notify(kOut);
  return result;
}

Result<void> Endpoint::Shutdown(int how) {
  if (how < abi::kShutRd || how > abi::kShutRdwr) return Errno::kEINVAL;
  RefPtr<Endpoint> peer;
  {
    Lock lock(&NetMutex());
    if (!connected_ && !listening_) return Errno::kENOTCONN;
    if (how != abi::kShutWr) read_shut_ = true;
    if (how != abi::kShutRd) {
      write_shut_ = true;
      if (peer_ && kind_ != Kind::kDatagram) peer_->eof_ = true;
    }
    peer = peer_;
  }
  queue_.Notify(kIn | kOut | abi::kPollHup | abi::kPollRdHup);
  if (peer) peer->queue_.Notify(kIn | kOut | abi::kPollHup | abi::kPollRdHup);
  return Ok();
}

void Endpoint::Close(bool reset) {
  RefPtr<Endpoint> peer;
  std::deque<Message> unread;
  std::deque<Ref<Endpoint>> pending;
  {
    Lock lock(&NetMutex());
    closed_ = true;
    std::swap(peer, peer_);
    unread.swap(messages_);
    pending.swap(backlog_);
    if (peer && kind_ != Kind::kDatagram) {
      peer->eof_ = peer->peer_gone_ = true;
      if (!unread.empty() || reset) peer->error_ = Errno::kECONNRESET;
    }
    queued_ = 0;
  }
  for (const Ref<Endpoint>& p : pending) {
    RefPtr<Endpoint> client;
    {
      Lock lock(&NetMutex());
      client = p->peer_;
      if (client) client->error_ = Errno::kECONNRESET;
    }
    p->Close();
  }
  queue_.Notify(kIn | kOut | abi::kPollHup);
  if (!peer) return;
  peer->queue_.Notify(kIn | kOut | abi::kPollHup | abi::kPollErr | abi::kPollRdHup);
  RefPtr<Endpoint> self;  // the peer's reference to this one
  Lock lock(&NetMutex());
  if (kind_ != Kind::kDatagram && peer->peer_.get() == this) std::swap(self, peer->peer_);
}

wait::EventMask Endpoint::Readiness() const {
  Lock lock(&NetMutex());
  wait::EventMask ready = 0;
  if (error_ != Errno{}) ready |= abi::kPollErr | kIn | kOut;
  if (listening_) return ready | (backlog_.empty() ? 0 : kIn);
  if (!messages_.empty() || eof_ || read_shut_) ready |= kIn;
  if (eof_ || read_shut_) ready |= abi::kPollRdHup;
  if (kind_ != Kind::kDatagram && (peer_gone_ || ((eof_ || read_shut_) && write_shut_) || !connected_)) ready |= abi::kPollHup;
  const bool room = !peer_ || (peer_->queued_ < kQueueLimit - 4096 && !peer_->Full());
  if (room || peer_gone_ || write_shut_) ready |= kOut;
  return ready;
}

size_t Endpoint::Readable() const {
  Lock lock(&NetMutex());
  if (kind_ == Kind::kStream) return queued_;
  return messages_.empty() ? 0 : messages_.front().bytes.size();
}
bool Endpoint::listening() const {
  Lock lock(&NetMutex());
  return listening_;
}
bool Endpoint::connected() const {
  Lock lock(&NetMutex());
  return connected_;
}
Errno Endpoint::TakeError() {
  Lock lock(&NetMutex());
  return std::exchange(error_, Errno{});
}
std::string Endpoint::name() const {
  Lock lock(&NetMutex());
  return name_;
}
std::string Endpoint::peer_name() const {
  Lock lock(&NetMutex());
  return peer_name_;
}
void Endpoint::SetName(std::string name) {
  Lock lock(&NetMutex());
  name_ = std::move(name);
}
abi::Ucred Endpoint::peer_credentials() const {
  Lock lock(&NetMutex());
  return peer_cred_;
}

}  // namespace rampart::net
