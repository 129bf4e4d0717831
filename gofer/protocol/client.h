// Client: typed calls to a Gofer that speaks the extension. Used by the Sentry's gofer filesystem, by gofer-mount and by tests.
//
//   auto client = TRY(Client::Connect(std::move(socket), {}));
//   auto walked = TRY(client->Call(Tewalk{root, steps}));
//   walked->attrs[0] ...                                // views into the reply live as long as `walked`
//   UniqueFd file = TRY(opened.TakeFd());
//
// A call occupies a lane (a channel of its own into the session: shared memory, or a socket) until its Answer is destroyed, so hold an Answer briefly and never
// make a second call while holding one: with every lane occupied by such holders nobody would get on.
// Thread safety: all functions may be called from any thread; an Answer belongs to one thread.
// Errors: the server's errno; EIO after the connection broke, for good; EMSGSIZE when the request does not fit a message.
// Host calls: sendmsg, recvmsg, futex; for a new lane also mmap, fcntl(F_GET_SEALS), lseek.
// Locks: mutex_ only; no host call under it.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/result.h"
#include "gofer/protocol/codec.h"
#include "gofer/protocol/message_buffer.h"
#include "gofer/protocol/message_socket.h"
#include "gofer/protocol/shared_lane.h"

namespace rampart::gofer {

class Client {
 public:
  struct Options {
    SocketKind kind = SocketKind::kSeqPacket;
    size_t max_lanes = 4;  // how many calls may be under way at once; lanes are added when they are wanted
    bool shared = true;    // lanes through shared memory, where the server offers them
  };
  template <class Reply>
  class Answer;

  // Agrees on the version. EPROTONOSUPPORT when the server does not speak the extension.
  static Result<std::unique_ptr<Client>> Connect(UniqueFd socket, const Options& options);
  ~Client();

  template <class Request>
  Result<Answer<typename Request::Reply>> Call(const Request& request);

  // A number that no live fid has; ENFILE when there are too many.
  Result<FidNum> NewFid();
  // Forgets a fid, some time: clunks are collected and sent in batches. kNoFid is ignored. May be called while holding an Answer.
  void Clunk(FidNum fid);
  // Takes back a number that was never bound on the server (the call that should have bound it failed).
  void ReturnUnused(FidNum fid);
  // Sends the collected clunks now.
  void FlushClunks();

  bool broken() const;
  uint64_t requests() const { return requests_.load(std::memory_order_relaxed); }  // sent so far

 private:
  struct Lane {
    MessageSocket socket;
    std::unique_ptr<SharedLane> shared;  // instead of the socket
    MessageBuffer out, in;
  };
  // Owns a lane for a call, and gives it back.
  class Lease {
   public:
    Lease(Client* client, std::unique_ptr<Lane> lane);
    Lease(Lease&&) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease();
    Lane& lane() { return *lane_; }

   private:
    Client* client_;
    std::unique_ptr<Lane> lane_;
  };

  explicit Client(const Options& options) : options_(options) {}
  std::unique_ptr<Lane> MakeLane(MessageSocket socket) const;
  Result<Lease> Acquire();
  template <class Request>
  Result<Answer<typename Request::Reply>> CallOn(Lease lease, const Request& request);
  void SendClunks(Lease lease, std::vector<FidNum> fids);
  // Sends the first `size` bytes of lane.out, waits, and splits the reply. EIO and broken for good on any trouble.
  Result<Frame> Exchange(Lane& lane, size_t size, FdList& fds);
  // Asks through control_ for a lane; null when there is none to be had. REQUIRES: the caller has set adding_, or nobody else knows us yet.
  std::unique_ptr<Lane> NewLane();
  void GiveBack(std::unique_ptr<Lane> lane);
  void MarkBroken();

  const Options options_;
  std::atomic<uint64_t> requests_{0};
  uint32_t msize_ = kMaxMessage;  // immutable after Connect
  bool shared_ = false;           // immutable after Connect
  // The socket that the session began with: further lanes are asked for through it. Null: it is the only lane. Used by whoever set adding_.
  std::unique_ptr<Lane> control_;
  mutable absl::Mutex mutex_;
  std::vector<std::unique_ptr<Lane>> idle_ ABSL_GUARDED_BY(mutex_);
  size_t lanes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool adding_ ABSL_GUARDED_BY(mutex_) = false;
  bool may_add_ ABSL_GUARDED_BY(mutex_) = true;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  uint32_t next_fid_ ABSL_GUARDED_BY(mutex_) = 1;
  std::vector<FidNum> free_fids_ ABSL_GUARDED_BY(mutex_);
  std::vector<FidNum> clunks_ ABSL_GUARDED_BY(mutex_);
};

// A reply, the lane that holds its bytes, and the descriptors that came with it.
template <class Reply>
class Client::Answer {
 public:
  Answer(Lease lease, FdList fds, Reply reply) : lease_(std::move(lease)), fds_(std::move(fds)), reply_(std::move(reply)) {}
  const Reply* operator->() const { return &reply_; }
  const Reply& operator*() const { return reply_; }
  // The donated descriptor; EIO when the server sent none.
  Result<UniqueFd> TakeFd(size_t index = 0) {
    if (index >= fds_.size()) return Errno::kEIO;
    return fds_.Take(index);
  }

 private:
  Lease lease_;
  FdList fds_;
  Reply reply_;
};

template <class Request>
Result<Client::Answer<typename Request::Reply>> Client::Call(const Request& request) {
  return CallOn(TRY(Acquire()), request);
}

template <class Request>
Result<Client::Answer<typename Request::Reply>> Client::CallOn(Lease lease, const Request& request) {
  const size_t size = EncodeMessage(0, request, lease.lane().out);
  if (size == 0) return Errno::kEMSGSIZE;
  FdList fds;
  requests_.fetch_add(1, std::memory_order_relaxed);
  const Frame frame = TRY(Exchange(lease.lane(), size, fds));
  auto reply = DecodeReply<Request>(frame);
  if (!reply.ok()) {
    if (reply.error() == Errno::kEBADMSG && frame.type != MsgType::kRlerror) {
      MarkBroken();
      return Errno::kEIO;
    }
    return reply.error();
  }
  return Answer<typename Request::Reply>(std::move(lease), std::move(fds), std::move(*reply));
}

}  // namespace rampart::gofer
