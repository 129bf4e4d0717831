// Session: the state of one client (its fids and what was agreed with Tversion), and Call: one request being answered.
// HandleMessage answers any request; the handlers themselves are the overloads of On in handlers.h.
//
// Thread safety: a Session may be used by several threads at once, a Call by one.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "gofer/protocol/codec.h"
#include "gofer/protocol/shared_lane.h"
#include "gofer/server/config.h"
#include "gofer/server/fid.h"

namespace rampart::gofer {

class Session;

// Opens further lanes into a session; the connection layer implements it.
class LaneMaker {
 public:
  virtual ~LaneMaker() = default;
  // The client's end of a new lane. EMFILE when the session has enough.
  virtual Result<void> MakeLane(Session& session, bool shared, FdList& fds, uint32_t& shared_size) = 0;
};

class Session final : public RefCounted {
 public:
  Session(Host& h, const std::vector<AttachPoint>& points, size_t max_fids, LaneMaker* lane_maker)
      : host(h), attach_points(points), lanes(lane_maker), fids(max_fids) {}

  Host& host;
  const std::vector<AttachPoint>& attach_points;
  LaneMaker* const lanes;  // null: none
  FidTable fids;
  // What Tversion agreed on. msize 0: nothing yet, every other request is refused.
  std::atomic<uint32_t> msize{0};
  std::atomic<bool> extended{false};
  std::atomic<uint32_t> lane_count{0};

  // The session's lanes through shared memory, so that they can be told of its end.
  void AddShared(SharedLane& lane) {
    absl::MutexLock lock(&shared_mutex_);
    shared_.push_back(&lane);
    if (ended_) lane.Interrupt();
  }
  void RemoveShared(SharedLane& lane) {
    absl::MutexLock lock(&shared_mutex_);
    std::erase(shared_, &lane);
  }
  void InterruptShared() {
    absl::MutexLock lock(&shared_mutex_);
    ended_ = true;
    for (SharedLane* lane : shared_) lane->Interrupt();
  }

 private:
  absl::Mutex shared_mutex_;  // leaf
  std::vector<SharedLane*> shared_ ABSL_GUARDED_BY(shared_mutex_);
  bool ended_ ABSL_GUARDED_BY(shared_mutex_) = false;
};

struct Call {
  MutableBytes out;                // where the reply goes, header included; at most msize bytes
  bool first_lane = true;          // Tversion is allowed
  FdList fds;                      // to donate with the reply
  std::vector<std::byte> scratch;  // backs views in the reply until it is encoded
  std::string text;                // likewise

  // Where a payload that follows the header and a count lies in the reply: filled in place, it needs no copy.
  MutableBytes PayloadPlace(uint32_t wanted) const {
    const size_t room = out.size() - kReadOverhead;
    return out.subspan(kReadOverhead, wanted < room ? wanted : room);
  }
};

// Answers `request`; returns the size of the reply in call.out, never 0. Whatever the bytes are, there is an answer.
size_t HandleMessage(Session& session, const Frame& request, Call& call);

}  // namespace rampart::gofer
