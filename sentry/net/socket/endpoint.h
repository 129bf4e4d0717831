// Endpoint: one end of a connection, a listener, or a receiver of datagrams; knows nothing of names. All local families are made of it.
//
// Model. Each endpoint has a queue of messages that it will receive; its peer appends to it. A socket's description owns one endpoint and closes it;
// endpoints hold each other until either closes.
// Thread safety: any thread. Lock: one lock for all endpoints (NetMutex), a leaf taken in IoDst/IoSrc callbacks; queues are told, and descriptions
// that were in flight dropped, without it.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "abi/socket.h"
#include "base/ref.h"
#include "sentry/vfs/file_description.h"

namespace rampart::net {

absl::Mutex& NetMutex();

inline constexpr size_t kMessageLimit = 1024;    // messages, so that empty ones and descriptors in flight are bounded too
inline constexpr size_t kQueueLimit = 212992;  // bytes: net.core.rmem_default

// What travels beside the bytes.
struct Ancillary {
  abi::Ucred credentials{};
  std::vector<Ref<vfs::FileDescription>> files;
};

struct RecvResult {
  size_t copied = 0;
  size_t full_length = 0;   // of the packet: MSG_TRUNC
  std::string from;         // sockaddr of the sender; empty: none
  Ancillary ancillary;
};

class Endpoint final : public RefCounted {
 public:
  enum class Kind : uint8_t { kStream, kSeqpacket, kDatagram };
  Endpoint(Kind kind, abi::Ucred owner) : kind_(kind), owner_(owner) {}

  Kind kind() const { return kind_; }
  wait::WaitQueue& queue() { return queue_; }

  static void Pair(Endpoint& a, Endpoint& b);             // socketpair(2)
  Result<void> Listen(int backlog);                       // EINVAL
  // To a listener: makes the other end and puts it in the backlog. ECONNREFUSED, EAGAIN (backlog full), EISCONN, EPROTOTYPE.
  Result<void> Connect(Endpoint& listener, std::string listener_name);
  Result<Ref<Endpoint>> Accept();                         // EAGAIN, EINVAL
  void SetDatagramPeer(RefPtr<Endpoint> peer, std::string peer_name);
  // `to` null: the connected peer. EAGAIN, EPIPE, ECONNRESET, ENOTCONN, EDESTADDRREQ, EMSGSIZE, ECONNREFUSED. `lossy`: a full receiver drops it.
  Result<size_t> Send(mm::IoSrc& src, RefPtr<Endpoint> to, Ancillary ancillary, bool lossy);
  // EAGAIN, ENOTCONN, ECONNRESET.
  Result<RecvResult> Receive(mm::IoDst& dst, bool peek);
  Result<void> Shutdown(int how);                         // ENOTCONN, EINVAL
  // `reset`: the peer sees ECONNRESET even if everything was read.
  void Close(bool reset = false);

  wait::EventMask Readiness() const;
  size_t Readable() const;
  bool listening() const;
  bool connected() const;
  Errno TakeError();
  std::string name() const;
  std::string peer_name() const;
  void SetName(std::string name);
  abi::Ucred peer_credentials() const;

 private:
  struct Message {
    std::string bytes;
    size_t at = 0;
    std::string from;
    Ancillary ancillary;
  };
  using Lock = absl::MutexLock;
  Result<size_t> SendStream(mm::IoSrc& src, Ancillary& ancillary, RefPtr<Endpoint>& told);
  Result<size_t> SendPacket(mm::IoSrc& src, RefPtr<Endpoint> to, Ancillary& ancillary, bool lossy, RefPtr<Endpoint>& told);
  Result<Ref<Endpoint>> SendTarget(const RefPtr<Endpoint>& to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(NetMutex());
  bool Full() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(NetMutex()) { return queued_ >= kQueueLimit || messages_.size() >= kMessageLimit; }
  size_t TakeStream(std::span<const iovec> segments, bool peek, RecvResult& result, std::deque<Message>& used)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(NetMutex());
  Result<void> CheckReceive() ABSL_EXCLUSIVE_LOCKS_REQUIRED(NetMutex());

  const Kind kind_;
  const abi::Ucred owner_;
  wait::WaitQueue queue_;
  // Guarded by NetMutex().
  std::deque<Message> messages_;
  size_t queued_ = 0;
  RefPtr<Endpoint> peer_;
  std::string name_, peer_name_;
  abi::Ucred peer_cred_{0, ~0u, ~0u};
  std::deque<Ref<Endpoint>> backlog_;
  size_t backlog_limit_ = 0;
  bool listening_ = false, connected_ = false, closed_ = false;
  bool eof_ = false;         // the peer will send no more
  bool peer_gone_ = false;   // nobody reads what is sent
  bool read_shut_ = false, write_shut_ = false;
  Errno error_{};
};

}  // namespace rampart::net
