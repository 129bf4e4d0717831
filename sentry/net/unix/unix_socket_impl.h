// UnixSocket: see unix_socket.h. Streams and SOCK_SEQPACKET have a link of two queues; SOCK_DGRAM has its node's queue and a peer node.
#pragma once

#include "sentry/net/unix/unix_names.h"
#include "sentry/net/unix/unix_socket.h"

namespace rampart::net {

class UnixSocket final : public Socket {
 public:
  UnixSocket(const Caller& caller, int type, uint32_t flags, abi::Ucred owner, Ref<Side> side);

  Result<void> Bind(const vfs::Walk& walk, std::string_view address) override;
  Result<void> Listen(Caller& caller, int backlog) override;
  Result<void> Connect(const vfs::Walk& walk, std::string_view address) override;
  Result<Ref<Socket>> Accept(const Caller& caller, uint32_t flags) override;
  Result<void> CheckBeforeControl() override;
  Result<size_t> Send(const SendRequest& request) override;
  Result<RecvResult> Receive(mm::IoDst& dst, uint32_t flags) override;
  Result<void> Shutdown(int how) override;
  std::string LocalName() const override { return node_->Name(); }
  Result<std::string> PeerName() const override;
  bool listening() const override;
  abi::Ucred peer_credentials() const override;
  Result<size_t> Readable() const override;
  size_t Unsent() const override;
  void Report(SocketReport& report) const override;
  void BuffersChanged() override;
  Result<void> SetOption(const Caller& caller, int level, int name, std::string_view value) override;
  Result<std::string> GetOption(const Caller& caller, int level, int name, size_t room) override;
  void ForEachQueuedFile(absl::FunctionRef<void(vfs::FileDescription&)> f) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(InFlightMutex());
  void TakeQueuedFiles(Files& out) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(InFlightMutex());
  wait::EventMask Readiness(wait::EventMask mask) override;

  // Before it is shared: the end of an accepted connection or of a pair.
  void SetLink(UnixLink link, std::string local_name);
  static void JoinPair(UnixSocket& a, UnixSocket& b);

 protected:
  ~UnixSocket() override;

 private:
  bool is_datagram() const { return type() == abi::kSockDgram; }
  // Two ends, `near` for this socket. `far_owner` is whom this one sees.
  std::pair<UnixLink, UnixLink> MakeLinks(const Ref<Side>& far_side, int32_t far_send_buffer, abi::Ucred far_owner) const;
  Result<void> ConnectStream(UnixNode& target);
  Result<void> ConnectDatagram(Ref<UnixNode> target);
  void ChangePeer(RefPtr<UnixNode> peer);
  void Disconnect();
  Result<void> EnsureName();
  Result<size_t> SendStream(const SendRequest& request, const UnixLink& link);
  Result<size_t> SendPacket(const SendRequest& request, const UnixLink& link);
  Result<size_t> SendDatagram(const SendRequest& request);
  Result<RecvResult> ReceivePacket(PacketQueue& queue, mm::IoDst& dst, uint32_t flags);
  UnixLink link() const {
    absl::MutexLock lock(&mu_);
    return link_;
  }
  wait::EventMask DatagramReadiness();

  const abi::Ucred owner_;
  abi::Ucred pair_peer_{0, ~0u, ~0u};  // SOCK_DGRAM: of socketpair(2) only, whatever becomes of the peer; set before it is shared
  const Ref<UnixNode> node_;
  mutable absl::Mutex bind_mu_;
  UnixName name_ ABSL_GUARDED_BY(bind_mu_);
  mutable absl::Mutex mu_;
  UnixLink link_ ABSL_GUARDED_BY(mu_);
  bool receive_shut_ ABSL_GUARDED_BY(mu_) = false, send_shut_ ABSL_GUARDED_BY(mu_) = false;  // without a link
};

}  // namespace rampart::net
