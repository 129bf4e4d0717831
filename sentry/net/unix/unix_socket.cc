// Names, connections and the life of AF_UNIX sockets; bytes are in unix_messages.cc.
#include "sentry/net/unix/unix_socket.h"

#include <algorithm>

#include "sentry/net/socket/socket_list.h"
#include "sentry/net/unix/unix_socket_impl.h"

namespace rampart::net {
namespace {

constexpr wait::EventMask kGone = kIn | kOut | abi::kPollHup | abi::kPollRdHup | abi::kPollErr;

// Ends a link: what is unread when a socket closes is an error for its peer.
void CloseLink(const UnixLink& link) {
  bool unread = false;
  if (link.stream_rx) unread = link.stream_rx->CloseReader();
  if (link.packet_rx) unread = link.packet_rx->CloseReader();
  if (unread && link.peer) link.peer->SetError(Errno::kECONNRESET);
  if (link.stream_tx) link.stream_tx->CloseWriter();
  if (link.packet_tx) link.packet_tx->CloseWriter();
  if (link.peer) link.peer->Notify(kGone);
}

}  // namespace

UnixSocket::UnixSocket(const Caller& caller, int type, uint32_t flags, abi::Ucred owner, Ref<Side> side)
    : Socket(abi::kAfUnix, type, 0, flags, std::move(side), caller), owner_(owner), node_(MakeRef<UnixNode>(type, shared_side(), owner)) {}

UnixSocket::~UnixSocket() {
  std::deque<UnixPending> pending;
  std::vector<Ref<Side>> waiting;
  RefPtr<UnixNode> peer;
  {
    absl::MutexLock lock(&node_->mu);
    node_->closed = true;
    pending.swap(node_->backlog);
    waiting.swap(node_->waiting);
    std::swap(peer, node_->peer);
  }
  node_->datagrams->CloseReader();
  for (const UnixPending& p : pending) {
    if (p.link.peer) p.link.peer->SetError(Errno::kECONNRESET);
    CloseLink(p.link);
  }
  for (const Ref<Side>& side : waiting) side->Notify(kOut);
  CloseLink(link());
  CollectCycles();
}

Result<void> UnixSocket::EnsureName() {
  absl::MutexLock lock(&bind_mu_);
  if (!LocalName().empty()) return Ok();
  return name_.TakeAutomatic(*node_);
}

Result<void> UnixSocket::Bind(const vfs::Walk& walk, std::string_view address) {
  const std::string_view name = TRY(UnixNameIn(address));
  absl::MutexLock lock(&bind_mu_);
  const bool bound = !LocalName().empty();
  if (name.empty()) return bound ? Result<void>(Ok()) : name_.TakeAutomatic(*node_);
  if (name[0] == '\0') return bound ? Errno::kEINVAL : name_.TakeAbstract(*node_, std::string(name));
  Result<vfs::Path> made = vfs::BindSocketNode(walk, name, 0777);
  if (!made.ok()) return made.error() == Errno::kEEXIST ? Errno::kEADDRINUSE : made.error();
  if (bound) {  // Linux notices only when the name is there (unix_bind_bsd)
    (void)vfs::Unlink(walk, name);
    return Errno::kEINVAL;
  }
  name_.TakePath(*node_, std::move(made).value(), name);
  return Ok();
}

Result<void> UnixSocket::Listen(Caller& caller, int backlog) {
  if (is_datagram()) return Errno::kEOPNOTSUPP;
  if (LocalName().empty() || link()) return Errno::kEINVAL;
  absl::MutexLock lock(&node_->mu);
  node_->listening = true;
  node_->listener_credentials = {owner_.pid, caller.creds().euid, caller.creds().egid};
  node_->backlog_limit = static_cast<size_t>(backlog < 0 || backlog > kMaxBacklog ? kMaxBacklog : backlog);
  return Ok();
}

std::pair<UnixLink, UnixLink> UnixSocket::MakeLinks(const Ref<Side>& far_side, int32_t far_send_buffer, abi::Ucred far_owner) const {
  UnixLink near, far;
  const Ref<Side>& own = shared_side();
  const auto mine = static_cast<size_t>(send_buffer.load()), theirs = static_cast<size_t>(far_send_buffer);
  if (type() == abi::kSockStream) {
    near.stream_tx = MakeRef<StreamQueue>(StreamQueue::Style::kUnix, far_side, own, mine, 0);
    near.stream_rx = MakeRef<StreamQueue>(StreamQueue::Style::kUnix, own, far_side, theirs, 0);
  } else {
    near.packet_tx = MakeRef<PacketQueue>(far_side, mine, PacketQueue::Count::kLocal);
    near.packet_rx = MakeRef<PacketQueue>(own, theirs, PacketQueue::Count::kLocal);
  }
  far.stream_tx = near.stream_rx, far.stream_rx = near.stream_tx;
  far.packet_tx = near.packet_rx, far.packet_rx = near.packet_tx;
  near.peer = far_side, far.peer = own;
  near.peer_credentials = far_owner, far.peer_credentials = owner_;
  far.peer_node = node_;
  return {std::move(near), std::move(far)};
}

Result<void> UnixSocket::ConnectStream(UnixNode& target) {
  if (pass_credentials.load()) TRY(EnsureName());
  const bool listens = listening();
  const Ref<Side> far_side = MakeRef<Side>();
  auto [near, far] = MakeLinks(far_side, kDefaultBuffer, target.owner);
  {
    absl::MutexLock lock(&mu_);
    absl::MutexLock node(&target.mu);
    if (!target.listening || target.closed || target.shut) return Errno::kECONNREFUSED;
    if (target.type != type()) return Errno::kEPROTOTYPE;
    if (target.backlog.size() > target.backlog_limit) {
      const bool known = std::any_of(target.waiting.begin(), target.waiting.end(), [&](const Ref<Side>& s) { return s.get() == &side(); });
      if (!known) target.waiting.push_back(shared_side());
      return Errno::kEAGAIN;
    }
    // What the caller's own socket is comes last (Linux: unix_stream_connect).
    if (link_) return Errno::kEISCONN;
    if (listens) return Errno::kEINVAL;
    near.peer_credentials = target.listener_credentials;
    near.peer_name = target.name;
    target.backlog.push_back({far_side, std::move(far)});
    link_ = std::move(near);
  }
  target.side->Notify(kIn);
  side().Notify(kOut);
  return Ok();
}

Result<void> UnixSocket::ConnectDatagram(Ref<UnixNode> target) {
  if (target->type != type()) return Errno::kEPROTOTYPE;
  if (pass_credentials.load()) TRY(EnsureName());
  RefPtr<UnixNode> peer = target->Peer();
  if (peer && peer.get() != node_.get()) return Errno::kEPERM;
  ChangePeer(std::move(target));
  side().Notify(kOut);
  return Ok();
}

// Linux: unix_dgram_disconnected. What came from the old peer goes with it, and a peer that still is connected to this socket is told.
void UnixSocket::ChangePeer(RefPtr<UnixNode> peer) {
  const UnixNode* const now = peer.get();
  {
    absl::MutexLock lock(&node_->mu);
    std::swap(node_->peer, peer);
  }
  if (!peer || peer.get() == now || !node_->datagrams->Purge()) return;
  if (peer->Peer().get() != node_.get()) return;
  peer->side->SetError(Errno::kECONNRESET);
  peer->side->Notify(abi::kPollErr | kIn | kOut);
}

void UnixSocket::Disconnect() { ChangePeer(nullptr); }

Result<void> UnixSocket::Connect(const vfs::Walk& walk, std::string_view address) {
  if (is_datagram() && address.size() >= 2 && address[0] == 0 && address[1] == 0) {
    Disconnect();
    return Ok();
  }
  const Ref<UnixNode> target = TRY(FindUnixNode(walk, address, type()));
  if (is_datagram()) return ConnectDatagram(target);
  if (target->type != type()) return Errno::kEPROTOTYPE;
  return ConnectStream(*target);
}

Result<Ref<Socket>> UnixSocket::Accept(const Caller& caller, uint32_t flags) {
  if (is_datagram()) return Errno::kEOPNOTSUPP;
  std::optional<UnixPending> taken;
  std::vector<Ref<Side>> waiting;
  {
    absl::MutexLock lock(&node_->mu);
    if (!node_->listening) return Errno::kEINVAL;
    // Who came before the shutdown is let in; only who waits is told of it (Linux: __skb_wait_for_more_packets).
    if (node_->backlog.empty()) return node_->shut && !nonblocking() ? Errno::kEINVAL : Errno::kEAGAIN;
    taken = std::move(node_->backlog.front());
    node_->backlog.pop_front();
    waiting.swap(node_->waiting);
  }
  for (const Ref<Side>& s : waiting) s->Notify(kOut);
  Ref<UnixSocket> accepted = MakeRef<UnixSocket>(caller, type(), flags, owner_, taken->side);
  accepted->SetLink(std::move(taken->link), LocalName());
  accepted->pass_credentials.store(pass_credentials.load());
  return Ref<Socket>(std::move(accepted));
}

void UnixSocket::SetLink(UnixLink link, std::string local_name) {
  {
    absl::MutexLock lock(&mu_);
    link_ = std::move(link);
  }
  absl::MutexLock lock(&node_->mu);
  node_->name = std::move(local_name);
}

void UnixSocket::JoinPair(UnixSocket& a, UnixSocket& b) {
  if (a.is_datagram()) {
    a.pair_peer_ = b.owner_;
    b.pair_peer_ = a.owner_;
    {
      absl::MutexLock lock(&a.node_->mu);
      a.node_->peer = b.node_;
    }
    absl::MutexLock lock(&b.node_->mu);
    b.node_->peer = a.node_;
    return;
  }
  auto [near, far] = a.MakeLinks(b.shared_side(), b.send_buffer.load(), b.owner_);
  near.peer_node = b.node_;
  a.SetLink(std::move(near), "");
  b.SetLink(std::move(far), "");
}

Result<std::string> UnixSocket::PeerName() const {
  if (is_datagram()) {
    const RefPtr<UnixNode> peer = node_->Peer();
    if (!peer) return Errno::kENOTCONN;
    return peer->Name();
  }
  const UnixLink own = link();
  if (!own) return Errno::kENOTCONN;
  return own.PeerName();
}

void UnixSocket::Report(SocketReport& report) const {
  Socket::Report(report);
  {
    absl::MutexLock lock(&bind_mu_);
    if (name_.path()) {
      report.path_inode = name_.path()->dentry->inode()->ino();
      report.path_device = name_.path()->dentry->inode()->device();
    }
  }
  const UnixLink own = link();
  if (own.peer) report.peer_inode = own.peer->inode();
  RefPtr<UnixNode> peer;
  {
    absl::MutexLock lock(&node_->mu);
    peer = node_->peer;
    if (node_->listening) {
      report.state = SocketReport::kListen;
      report.receive_queue = node_->backlog.size();
      report.send_queue = node_->backlog_limit;
      for (const UnixPending& p : node_->backlog) report.waiting.push_back(static_cast<uint32_t>(p.link.peer->inode()));
    }
  }
  if (peer) report.peer_inode = peer->side->inode();
}

bool UnixSocket::listening() const {
  absl::MutexLock lock(&node_->mu);
  return node_->listening;
}

abi::Ucred UnixSocket::peer_credentials() const {
  {
    absl::MutexLock lock(&mu_);
    if (link_) return link_.peer_credentials;
  }
  absl::MutexLock lock(&node_->mu);
  if (node_->listening) return node_->listener_credentials;
  return pair_peer_;
}

Result<void> UnixSocket::Shutdown(int how) {
  const bool read = how != abi::kShutWr, write = how != abi::kShutRd;
  const UnixLink own = link();
  if (own.stream_rx) {
    if (read) own.stream_rx->ShutReader();
    if (write) own.stream_tx->CloseWriter();
  } else if (own.packet_rx) {
    if (read) own.packet_rx->ShutReader();
    if (write) own.packet_tx->CloseWriter();
  } else {
    if (is_datagram() && read) node_->datagrams->ShutReader();
    {
      absl::MutexLock lock(&mu_);
      receive_shut_ = receive_shut_ || read;
      send_shut_ = send_shut_ || write;
    }
    absl::MutexLock lock(&node_->mu);
    if (read && node_->listening) node_->shut = true;
  }
  side().Notify(kIn | kOut | abi::kPollHup | abi::kPollRdHup);
  return Ok();
}

void UnixSocket::BuffersChanged() {
  const UnixLink own = link();
  const auto bytes = static_cast<size_t>(send_buffer.load());
  if (own.stream_tx) own.stream_tx->SetWriterPart(bytes);
  if (own.packet_tx) own.packet_tx->SetCapacity(bytes);
}

Result<void> UnixSocket::SetOption(const Caller& caller, int level, int name, std::string_view value) {
  if (level != abi::kSolSocket) return Errno::kEOPNOTSUPP;
  return Socket::SetOption(caller, level, name, value);
}

Result<std::string> UnixSocket::GetOption(const Caller& caller, int level, int name, size_t room) {
  if (level != abi::kSolSocket) return Errno::kEOPNOTSUPP;
  return Socket::GetOption(caller, level, name, room);
}

void UnixSocket::ForEachQueuedFile(absl::FunctionRef<void(vfs::FileDescription&)> f) {
  const UnixLink own = link();
  if (own.stream_rx) own.stream_rx->ForEachFile(f);
  if (own.packet_rx) own.packet_rx->ForEachFile(f);
  node_->datagrams->ForEachFile(f);
  absl::MutexLock lock(&node_->mu);
  for (const UnixPending& p : node_->backlog) {
    if (p.link.stream_rx) p.link.stream_rx->ForEachFile(f);
    if (p.link.packet_rx) p.link.packet_rx->ForEachFile(f);
  }
}

void UnixSocket::TakeQueuedFiles(Files& out) {
  const UnixLink own = link();
  if (own.stream_rx) own.stream_rx->TakeFiles(out);
  if (own.packet_rx) own.packet_rx->TakeFiles(out);
  node_->datagrams->TakeFiles(out);
  absl::MutexLock lock(&node_->mu);
  for (const UnixPending& p : node_->backlog) {
    if (p.link.stream_rx) p.link.stream_rx->TakeFiles(out);
    if (p.link.packet_rx) p.link.packet_rx->TakeFiles(out);
  }
}

namespace {

Result<void> CheckType(int& type, int protocol) {
  if (protocol != 0 && protocol != abi::kAfUnix) return Errno::kEPROTONOSUPPORT;
  if (type == abi::kSockRaw) type = abi::kSockDgram;  // as Linux
  if (type != abi::kSockStream && type != abi::kSockDgram && type != abi::kSockSeqpacket) return Errno::kESOCKTNOSUPPORT;
  return Ok();
}

}  // namespace

Result<Ref<Socket>> NewUnixSocket(const Caller& caller, abi::Ucred owner, int type, int protocol, uint32_t flags) {
  TRY(CheckType(type, protocol));
  return Ref<Socket>(MakeRef<UnixSocket>(caller, type, flags, owner, MakeRef<Side>()));
}

Result<std::pair<Ref<Socket>, Ref<Socket>>> NewUnixPair(const Caller& caller, abi::Ucred owner, int type, int protocol, uint32_t flags) {
  TRY(CheckType(type, protocol));
  Ref<UnixSocket> a = MakeRef<UnixSocket>(caller, type, flags, owner, MakeRef<Side>());
  Ref<UnixSocket> b = MakeRef<UnixSocket>(caller, type, flags, owner, MakeRef<Side>());
  UnixSocket::JoinPair(*a, *b);
  return std::pair(Ref<Socket>(std::move(a)), Ref<Socket>(std::move(b)));
}

}  // namespace rampart::net
