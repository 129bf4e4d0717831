// Server: the threads that read requests from sockets and answer them.
//
// Each connection has one or more workers. A worker takes the right to read, receives one request, passes the right on, answers, and
// queues again; when nobody is left to read while it works, one more worker is started, up to the limit. So a slow request does not
// hold up the ones behind it, and a fast one crosses no thread boundary.
// Thread safety: all functions may be called from any thread.
// Locks, outermost first: Connection::read_mutex_, then Connection::write_mutex_, then Connection::tags_mutex_; Server::mutex_ is a
// leaf. A worker blocks in the host under read_mutex_ (for the next request) and write_mutex_ (for a client that does not read): these
// belong to one client, who can hold up only itself.
#pragma once

#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "gofer/protocol/shared_lane.h"
#include "gofer/server/session.h"

namespace rampart::gofer {

class Server;

class Connection final : public RefCounted {
 public:
  // The socket that a session begins with.
  Connection(Server& server, Ref<Session> session, MessageSocket socket, uint32_t max_workers)
      : server_(server), session_(std::move(session)), socket_(std::move(socket)), max_workers_(max_workers), first_lane_(true) {}
  // A further lane, served by one worker: through `shared` if that is not null, else through `socket`.
  Connection(Server& server, Ref<Session> session, MessageSocket socket, std::unique_ptr<SharedLane> shared);
  ~Connection() override;
  // Starts the first worker. EAGAIN when the host gives no thread.
  Result<void> Start();

 private:
  struct Received {
    Frame frame;
    bool answer_later = false;  // a Tflush that waits for the request it names
  };
  static void* WorkerMain(void* self);
  Result<void> StartWorker();
  void Work();
  Result<Received> Receive(MutableBytes buffer);
  void Reply(const Frame& request, const Call& call, size_t size);
  void SendFlushes(const std::vector<uint16_t>& tags) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  void SendError(uint16_t tag, Errno error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  void Close();
  bool Register(const Frame& frame) ABSL_LOCKS_EXCLUDED(tags_mutex_);

  Server& server_;
  const Ref<Session> session_;
  const MessageSocket socket_;
  const std::unique_ptr<SharedLane> shared_;
  const uint32_t max_workers_;
  const bool first_lane_;
  std::atomic<bool> closed_{false};
  std::atomic<uint32_t> workers_{0};
  std::atomic<uint32_t> idle_{0};  // workers that read or queue to read
  absl::Mutex read_mutex_ ABSL_ACQUIRED_BEFORE(write_mutex_);
  absl::Mutex write_mutex_ ABSL_ACQUIRED_BEFORE(tags_mutex_);
  absl::Mutex tags_mutex_;
  // Requests being worked on, each with the Tflushes that wait for it.
  absl::flat_hash_map<uint16_t, std::vector<uint16_t>> in_flight_ ABSL_GUARDED_BY(tags_mutex_);
};

class Server final : public LaneMaker {
 public:
  explicit Server(GoferConfig config);
  // Serves config.channels until all are closed.
  void Serve();

  Result<void> MakeLane(Session& session, bool shared, FdList& fds, uint32_t& shared_size) override;
  void WorkerStarted();
  void WorkerEnded();

 private:
  Result<void> StartLane(Session& session, bool shared, FdList& fds);

  GoferConfig config_;
  Host host_;
  absl::Mutex mutex_;
  uint32_t live_workers_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace rampart::gofer
