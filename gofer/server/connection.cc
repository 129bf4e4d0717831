#include "gofer/server/connection.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"
#include "base/sanitizers.h"
#include "gofer/protocol/message_buffer.h"

namespace rampart::gofer {
namespace {

constexpr size_t kWorkerStack = (kSanitized ? 1024 : 256) * 1024;
constexpr uint32_t kMaxLanes = 16;
constexpr rlim_t kReservedFiles = 64;  // channels, lanes, log, and descriptors of calls under way
constexpr int64_t kDefaultMaxFiles = 900;

}  // namespace

Connection::Connection(Server& server, Ref<Session> session, MessageSocket socket, std::unique_ptr<SharedLane> shared)
    : server_(server), session_(std::move(session)), socket_(std::move(socket)), shared_(std::move(shared)), max_workers_(1), first_lane_(false) {
  if (shared_ != nullptr) session_->AddShared(*shared_);
}

Connection::~Connection() {
  if (shared_ != nullptr) session_->RemoveShared(*shared_);
  if (!first_lane_) session_->lane_count.fetch_sub(1);
}

// The session's other workers wait for the right to read, and find out when they get it. Those who sleep on shared memory must be told.
void Connection::Close() {
  closed_.store(true);
  if (first_lane_) session_->InterruptShared();
}

Result<void> Connection::Start() { return StartWorker(); }

Result<void> Connection::StartWorker() {
  if (workers_.fetch_add(1) >= max_workers_) {
    workers_.fetch_sub(1);
    return Errno::kEAGAIN;
  }
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kWorkerStack);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  idle_.fetch_add(1);
  server_.WorkerStarted();
  Connection* self = ShareRef(this).Leak();
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, &WorkerMain, self);
  pthread_attr_destroy(&attributes);
  if (error == 0) return Ok();
  idle_.fetch_sub(1);
  workers_.fetch_sub(1);
  server_.WorkerEnded();
  self->DecRef();
  return ErrnoFromHost(error);
}

void* Connection::WorkerMain(void* self) {
  auto* connection = static_cast<Connection*>(self);
  Server& server = connection->server_;
  connection->Work();
  connection->DecRef();
  server.WorkerEnded();  // last: the server may go when nobody works
  return nullptr;
}

void Connection::Work() {
  MessageBuffer in(kMaxMessage), out(kMaxMessage);
  Call call;
  for (;;) {
    auto received = Receive(in);
    if (!received.ok()) {
      if (received.error() != Errno::kEPIPE) Log(LogLevel::kWarning, "session ended: %s", ErrnoText(received.error()));
      Close();
      return;
    }
    if (!received->answer_later) {
      if (idle_.load() == 0) (void)StartWorker();  // without one more, those behind wait a little
      const uint32_t msize = session_->msize.load(std::memory_order_relaxed);
      call.out = MutableBytes(out).first(msize == 0 ? kMinMessage : msize);
      call.first_lane = first_lane_;
      const size_t size = HandleMessage(*session_, received->frame, call);
      Reply(received->frame, call, size);
      call.fds.Clear();
    }
    idle_.fetch_add(1);
  }
}

Result<Connection::Received> Connection::Receive(MutableBytes buffer) {
  absl::MutexLock lock(&read_mutex_);
  if (closed_.load()) return Errno::kEPIPE;
  auto size = shared_ != nullptr ? shared_->ReceiveRequest(buffer) : socket_.Receive(buffer, nullptr);
  idle_.fetch_sub(1);
  if (!size.ok()) {
    closed_.store(true);
    return size.error();
  }
  Received received;
  received.frame = TRY(ParseFrame(Bytes(buffer).first(*size)));
  // Before the next request is read, which may be the Tflush for this one.
  received.answer_later = Register(received.frame);
  return received;
}

// True for a Tflush that must wait.
bool Connection::Register(const Frame& frame) {
  absl::MutexLock lock(&tags_mutex_);
  if (frame.type == MsgType::kTflush) {
    const auto flush = DecodeBody<Tflush>(frame);
    if (!flush.ok()) return false;
    const auto it = in_flight_.find(flush->oldtag);
    if (it == in_flight_.end()) return false;
    it->second.push_back(frame.tag);
    return true;
  }
  in_flight_.try_emplace(frame.tag);
  return false;
}

// The tag is free from the moment the client can know it: it leaves in_flight_ before the reply is sent, and a Tflush that misses it
// there is answered after the reply, because that too needs write_mutex_.
void Connection::Reply(const Frame& request, const Call& call, size_t size) {
  absl::MutexLock lock(&write_mutex_);
  std::vector<uint16_t> flushes;
  if (request.type != MsgType::kTflush) {
    absl::MutexLock tags(&tags_mutex_);
    const auto it = in_flight_.find(request.tag);
    if (it != in_flight_.end()) {
      flushes.swap(it->second);
      in_flight_.erase(it);
    }
  }
  if (shared_ != nullptr) {
    // One request at a time: a Tflush has nothing to wait for.
    const auto replied = shared_->SendReply(Bytes(call.out).first(size), call.fds);
    if (!replied.ok()) SendError(request.tag, replied.error());
    return;
  }
  const auto sent = socket_.Send(Bytes(call.out).first(size), call.fds);
  if (!sent.ok() && call.fds.size() != 0) SendError(request.tag, sent.error());  // ETOOMANYREFS: the client takes no descriptors off
  SendFlushes(flushes);
}

void Connection::SendFlushes(const std::vector<uint16_t>& tags) {
  const FdList none;
  for (const uint16_t tag : tags) {
    std::byte reply[kHeaderSize];
    const size_t size = EncodeMessage(tag, Rflush{}, reply);
    (void)socket_.Send(Bytes(reply).first(size), none);  // a client that has gone ends the session when it is read from
  }
}

void Connection::SendError(uint16_t tag, Errno error) {
  std::byte reply[kHeaderSize + sizeof(uint32_t)];
  const size_t size = EncodeMessage(tag, Rlerror{static_cast<uint32_t>(error)}, reply);
  if (shared_ != nullptr) {
    (void)shared_->SendReply(Bytes(reply).first(size), FdList());
  } else {
    (void)socket_.Send(Bytes(reply).first(size), FdList());
  }
}

Server::Server(GoferConfig config) : config_(std::move(config)) {
  host_.proc_self_fd = std::move(config_.proc_self_fd);
  host_.uid = config_.uid;
  host_.max_files = config_.max_files != 0 ? int64_t{config_.max_files} : kDefaultMaxFiles;
}

void Server::Serve() {
  for (GoferChannel& channel : config_.channels) {
    Ref<Session> session = MakeRef<Session>(host_, config_.attach_points, config_.max_fids, this);
    const uint32_t workers = std::max(config_.max_workers, 1u);
    auto started = MakeRef<Connection>(*this, std::move(session), MessageSocket(std::move(channel.fd), channel.kind), workers)->Start();
    if (!started.ok()) Log(LogLevel::kError, "cannot serve a channel: %s", ErrnoText(started.error()));
  }
  absl::MutexLock lock(&mutex_);
  auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return live_workers_ == 0; };
  mutex_.Await(absl::Condition(&ended));
}

void Server::WorkerStarted() {
  absl::MutexLock lock(&mutex_);
  ++live_workers_;
}

void Server::WorkerEnded() {
  absl::MutexLock lock(&mutex_);
  --live_workers_;
}

Result<void> Server::MakeLane(Session& session, bool shared, FdList& fds, uint32_t& shared_size) {
  if (session.lane_count.fetch_add(1) >= kMaxLanes) {
    session.lane_count.fetch_sub(1);
    return Errno::kEMFILE;
  }
  auto made = StartLane(session, shared, fds);
  if (!made.ok() && made.error() != Errno::kEAGAIN) session.lane_count.fetch_sub(1);  // else the Connection's end gave it back
  shared_size = made.ok() && shared ? SharedLane::kWindowSize : 0;
  return made;
}

// EAGAIN: no thread, and the lane's place has been given back.
Result<void> Server::StartLane(Session& session, bool shared, FdList& fds) {
  auto pair = TRY(MakeSocketPair(SocketKind::kSeqPacket));
  MessageSocket socket(std::move(pair[0]), SocketKind::kSeqPacket);
  UniqueFd window;
  std::unique_ptr<SharedLane> lane;
  if (shared) {
    window = TRY(SharedLane::MakeWindow());
    lane = TRY(SharedLane::Create(window, std::move(socket)));
    socket = MessageSocket();
  }
  const auto started = MakeRef<Connection>(*this, ShareRef(&session), std::move(socket), std::move(lane))->Start();
  if (!started.ok()) return Errno::kEAGAIN;
  fds.Add(std::move(pair[1]));
  if (shared) fds.Add(std::move(window));
  return Ok();
}

namespace {

uint32_t RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0 || ::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlim_t most = std::min<rlim_t>(limit.rlim_cur, 1u << 20);
  return static_cast<uint32_t>(most > 2 * kReservedFiles ? most - kReservedFiles : most / 2);
}

}  // namespace

void PrepareGofer(GoferConfig& config) {
  auto proc = FdFromHost(::open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (proc.ok()) config.proc_self_fd = std::move(*proc);
  config.uid = ::geteuid();
  config.max_files = RaiseFileLimit();
  ::umask(0);
  bool host_sockets = false;
  for (const AttachPoint& point : config.attach_points) host_sockets |= point.host_sockets;
  if (host_sockets && config.proc_self_fd.valid() && ::fchdir(config.proc_self_fd.get()) != 0) {
    Log(LogLevel::kError, "host sockets cannot be reached: %s", ErrnoText(ErrnoFromHost(errno)));
    config.proc_self_fd.Reset();
  }
}

int ServeGofer(GoferConfig config) {
  Server(std::move(config)).Serve();
  return 0;
}

}  // namespace rampart::gofer
