#include "gofer/protocol/client.h"

#include "base/log.h"

namespace rampart::gofer {
namespace {

constexpr size_t kClunkBatch = 64;
constexpr uint32_t kMaxClientFids = 1u << 24;

}  // namespace

Client::Lease::Lease(Client* client, std::unique_ptr<Lane> lane) : client_(client), lane_(std::move(lane)) {}
Client::Lease::~Lease() {
  if (lane_ != nullptr) client_->GiveBack(std::move(lane_));
}

Client::~Client() = default;

std::unique_ptr<Client::Lane> Client::MakeLane(MessageSocket socket) const {
  auto lane = std::make_unique<Lane>();
  lane->socket = std::move(socket);
  lane->out = MessageBuffer(msize_);
  lane->in = MessageBuffer(msize_);
  return lane;
}

Result<std::unique_ptr<Client>> Client::Connect(UniqueFd socket, const Options& options) {
  std::unique_ptr<Client> client(new Client(options));
  auto lane = client->MakeLane(MessageSocket(std::move(socket), options.kind));
  const size_t size = EncodeMessage(kNoTag, Tversion{kMaxMessage, kVersionRampart}, lane->out);
  FdList fds;
  TRY(lane->socket.Send(Bytes(lane->out).first(size), fds));
  const size_t received = TRY(lane->socket.Receive(lane->in, nullptr));
  const Frame frame = TRY(ParseFrame(Bytes(lane->in).first(received)));
  const Rversion version = TRY(DecodeReply<Tversion>(frame));
  if (version.version != kVersionRampart) return Errno::kEPROTONOSUPPORT;
  if (version.msize < kMinMessageExtended || version.msize > kMaxMessage) return Errno::kEPROTO;
  client->msize_ = version.msize;
  lane->out.Shorten(version.msize);
  client->control_ = std::move(lane);
  client->shared_ = options.shared;
  auto first = client->NewLane();
  if (first == nullptr && options.shared) {
    client->shared_ = false;
    first = client->NewLane();
  }
  if (first == nullptr) first = std::move(client->control_);
  absl::MutexLock lock(&client->mutex_);
  client->may_add_ = client->control_ != nullptr;
  client->idle_.push_back(std::move(first));
  client->lanes_ = 1;
  return client;
}

Result<Client::Lease> Client::Acquire() {
  {
    absl::MutexLock lock(&mutex_);
    auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return broken_ || !idle_.empty() || (may_add_ && !adding_ && lanes_ < options_.max_lanes);
    };
    mutex_.Await(absl::Condition(&ready));
    if (broken_) return Errno::kEIO;
    if (!idle_.empty()) {
      std::unique_ptr<Lane> lane = std::move(idle_.back());  // the warmest
      idle_.pop_back();
      return Lease(this, std::move(lane));
    }
    adding_ = true;
  }
  std::unique_ptr<Lane> added = NewLane();
  {
    absl::MutexLock lock(&mutex_);
    adding_ = false;
    if (added != nullptr) ++lanes_;
    if (added == nullptr) may_add_ = false;  // the session works on with fewer
  }
  if (added == nullptr) return Acquire();  // at most once more: may_add_ is off
  return Lease(this, std::move(added));
}

std::unique_ptr<Client::Lane> Client::NewLane() {
  const size_t size = EncodeMessage(0, Telane{shared_ ? uint8_t{1} : uint8_t{0}}, control_->out);
  FdList fds;
  auto frame = Exchange(*control_, size, fds);
  if (!frame.ok()) return nullptr;
  const auto reply = DecodeReply<Telane>(*frame);
  if (!reply.ok() || fds.size() != (shared_ ? 2u : 1u)) return nullptr;
  MessageSocket socket(fds.Take(0), SocketKind::kSeqPacket);
  if (!shared_) return MakeLane(std::move(socket));
  auto window = SharedLane::Create(fds.Take(1), std::move(socket));
  if (!window.ok()) {
    Log(LogLevel::kWarning, "gofer: no shared memory: %s", ErrnoText(window.error()));
    return nullptr;
  }
  auto lane = MakeLane(MessageSocket());
  lane->shared = std::move(*window);
  return lane;
}

Result<Frame> Client::Exchange(Lane& lane, size_t size, FdList& fds) {
  const auto through_socket = [&]() -> Result<size_t> {
    TRY(lane.socket.Send(Bytes(lane.out).first(size), FdList()));
    return lane.socket.Receive(lane.in, &fds);
  };
  auto received = lane.shared != nullptr ? lane.shared->Exchange(Bytes(lane.out).first(size), lane.in, fds) : through_socket();
  auto frame = received.ok() ? ParseFrame(Bytes(lane.in).first(*received)) : Result<Frame>(received.error());
  if (frame.ok() && frame->tag != 0) frame = Errno::kEBADMSG;
  if (!frame.ok()) {
    Log(LogLevel::kWarning, "gofer connection lost: %s", ErrnoText(frame.error()));
    MarkBroken();
    return Errno::kEIO;
  }
  return frame;
}

void Client::GiveBack(std::unique_ptr<Lane> lane) {
  absl::MutexLock lock(&mutex_);
  idle_.push_back(std::move(lane));
}

void Client::MarkBroken() {
  absl::MutexLock lock(&mutex_);
  broken_ = true;
}

bool Client::broken() const {
  absl::MutexLock lock(&mutex_);
  return broken_;
}

Result<FidNum> Client::NewFid() {
  absl::MutexLock lock(&mutex_);
  if (!free_fids_.empty()) {
    const FidNum fid = free_fids_.back();
    free_fids_.pop_back();
    return fid;
  }
  if (next_fid_ >= kMaxClientFids) return Errno::kENFILE;
  return FidNum{next_fid_++};
}

void Client::ReturnUnused(FidNum fid) {
  if (fid == kNoFid) return;
  absl::MutexLock lock(&mutex_);
  free_fids_.push_back(fid);
}

// Never waits for a lane: the caller may be holding the only one.
void Client::Clunk(FidNum fid) {
  if (fid == kNoFid) return;
  std::unique_ptr<Lane> lane;
  std::vector<FidNum> fids;
  {
    absl::MutexLock lock(&mutex_);
    clunks_.push_back(fid);
    if (clunks_.size() < kClunkBatch || idle_.empty() || broken_) return;
    lane = std::move(idle_.back());
    idle_.pop_back();
    fids.swap(clunks_);
  }
  SendClunks(Lease(this, std::move(lane)), std::move(fids));
}

void Client::FlushClunks() {
  std::vector<FidNum> fids;
  {
    absl::MutexLock lock(&mutex_);
    fids.swap(clunks_);
  }
  if (fids.empty()) return;
  auto lease = Acquire();
  if (lease.ok()) SendClunks(std::move(*lease), std::move(fids));
}

void Client::SendClunks(Lease lease, std::vector<FidNum> fids) {
  constexpr size_t kMost = 1024;
  Teclunk request;
  std::vector<FidNum> rest;
  if (fids.size() > kMost) {
    rest.assign(fids.begin() + kMost, fids.end());
    fids.resize(kMost);
  }
  request.fids = std::move(fids);
  if (!CallOn(std::move(lease), request).ok()) return;  // broken: the numbers are of no more use
  absl::MutexLock lock(&mutex_);
  free_fids_.insert(free_fids_.end(), request.fids.begin(), request.fids.end());
  clunks_.insert(clunks_.end(), rest.begin(), rest.end());
}

}  // namespace rampart::gofer
