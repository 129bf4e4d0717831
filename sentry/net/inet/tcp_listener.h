// TcpListener: the connections that a listening TCP socket has not accepted yet.
//
// Model. A connection is complete when it is in the backlog; if that is full the client stays pending (Linux drops its SYN) and completes when
// accept(2) makes room. Outlives its socket while a client still looks at it.
// Thread safety: any thread. Lock order: mu_ → a queue's lock. Sides are told without it.
#pragma once

#include <atomic>
#include <deque>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/net/inet/inet_address.h"
#include "sentry/net/socket/stream_queue.h"

namespace rampart::net {

// How far a connection attempt has come: shared by the client and the listener.
class TcpHandshake final : public RefCounted {
 public:
  enum class State : uint8_t { kPending, kEstablished, kRefused };
  std::atomic<State> state{State::kPending};
};

// The server's end of a connection.
struct TcpEnd {
  Ref<Side> side;         // of the end itself
  Ref<Side> client;
  Ref<StreamQueue> rx, tx;
  Ref<TcpHandshake> handshake;
  InetAddress local, peer;
};

class TcpListener final : public RefCounted {
 public:
  TcpListener(Ref<Side> side, size_t limit) : side_(std::move(side)), limit_(limit) {}
  void SetLimit(size_t limit);
  // The end's handshake tells what became of it.
  void Offer(TcpEnd end);
  // EAGAIN, EINVAL (closed).
  Result<TcpEnd> Take();
  // Resets those that wait. Idempotent.
  void Close();
  size_t waiting() const;
  std::vector<TcpEnd> Waiting() const;  // copies of what is in the backlog
  size_t limit() const {
    absl::MutexLock lock(&mu_);
    return limit_;
  }

 private:
  static void Refuse(const TcpEnd& end, bool established);

  const Ref<Side> side_;
  mutable absl::Mutex mu_;
  size_t limit_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<TcpEnd> backlog_ ABSL_GUARDED_BY(mu_), pending_ ABSL_GUARDED_BY(mu_);
};

}  // namespace rampart::net
