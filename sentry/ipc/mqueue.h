// POSIX message queues (mq_overview(7); Linux ipc/mqueue.c): the queues themselves. Their names and files: mqueue_fs.h.
//
// Model. Messages of each priority are in order of arrival. A message that somebody waits for goes straight to him; one that a sender waits to put in is
// put in by the receiver that makes room. A process may register for one notice, given when a message comes into an empty queue that nobody waits at.
// Thread safety: any thread. Lock order: MqQueue::mu_ → WaitQueue; notices are given without it. No user memory is touched under it.
#pragma once

#include <atomic>
#include <deque>
#include <list>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "sentry/context/caller.h"
#include "sentry/ipc/blocker.h"
#include "sentry/ipc/object.h"

namespace rampart::ipc {

// fs.mqueue.*
struct MqLimits {
  int32_t queues = 256;            // queues_max
  int32_t messages = 10;           // msg_max
  int32_t message_size = 8192;     // msgsize_max
  int32_t default_messages = 10;   // msg_default
  int32_t default_size = 8192;     // msgsize_default
};
inline constexpr int32_t kMqHardMessages = 65536, kMqHardSize = 16 << 20, kMqLeastSize = 128;

// What the queues of a namespace share: limits, and what is counted against them. Outlives the queues, which refer to it.
class MqAccounts final : public RefCounted {
 public:
  // Queues that even CAP_SYS_RESOURCE may make, and bytes of messages in all of them: they are on the Sentry's heap.
  static constexpr int32_t kMostQueues = 16384;
  static constexpr int64_t kMostBytes = int64_t{64} << 20;

  MqLimits limits() const;
  void SetLimits(const MqLimits& limits);
  // One more queue. ENOSPC.
  Result<void> AddQueue(const auth::Credentials& creds);
  void RemoveQueue();
  // RLIMIT_MSGQUEUE: what a queue could hold, for its user. EMFILE.
  Result<void> Charge(abi::Uid user, uint64_t bytes, uint64_t limit);
  void Uncharge(abi::Uid user, uint64_t bytes);
  // Bytes that are in queues now. ENOMEM.
  Result<void> AddBytes(int64_t bytes);
  void RemoveBytes(int64_t bytes) { held_.fetch_sub(bytes, std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> held_{0};
  mutable absl::Mutex mu_;
  MqLimits limits_ ABSL_GUARDED_BY(mu_);
  int32_t queues_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<abi::Uid, uint64_t> users_ ABSL_GUARDED_BY(mu_);
};

// What mq_notify(2) asked for. Called without locks, at most one of them and once.
class MqNotice : public RefCounted {
 public:
  enum class Kind : uint8_t { kSignal = 0, kNone = 1, kThread = 2 };  // SIGEV_…
  MqNotice(abi::Pid p, Kind k, int32_t s) : process(p), kind(k), signo(s) {}
  // A message has come, from a task with `creds`.
  virtual void Give(const auth::Credentials& sender) = 0;
  // It will never come.
  virtual void Withdraw() = 0;
  // The number of the process as `reader` knows it.
  virtual abi::Pid ProcessFor(Caller& reader) const = 0;

  const abi::Pid process;
  const Kind kind;
  const int32_t signo;
};

struct MqMessage {
  uint32_t priority = 0;
  std::string text;
};

class MqQueue {
 public:
  struct Shape {
    int64_t messages;
    int64_t message_size;
  };
  // The shape that `asked` (null: none) becomes. EINVAL, EOVERFLOW.
  static Result<Shape> Decide(const abi::MqAttr* asked, const MqLimits& limits, const auth::Credentials& creds);
  // What a queue of that shape counts for (RLIMIT_MSGQUEUE).
  static uint64_t BytesOf(Shape shape);

  MqQueue(Ref<MqAccounts> accounts, Shape shape) : accounts_(std::move(accounts)), shape_(shape) {}
  ~MqQueue();

  const Shape& shape() const { return shape_; }
  struct SendArgs {
    MqMessage message;
    bool nonblocking;
    Deadline deadline;
  };
  // EAGAIN, ETIMEDOUT, kERESTARTSYS, ENOMEM. The size has been checked.
  Result<void> Send(const auth::Credentials& creds, SendArgs args, const Blocker& blocker);
  // EAGAIN, ETIMEDOUT, kERESTARTSYS.
  Result<MqMessage> Receive(bool nonblocking, Deadline deadline, const Blocker& blocker);
  int64_t count() const;

  // mq_notify(2). EBUSY: somebody has registered.
  Result<void> Register(Ref<MqNotice> notice);
  // Takes the registration of `process` back, if it is its.
  void Unregister(abi::Pid process);

  // "QSIZE:…", what reading the queue's file gives to `reader`.
  std::string StatusText(Caller& reader) const;
  wait::EventMask Readiness() const;
  wait::WaitQueue& events() { return events_; }

 private:
  // Those who sleep, on their stacks.
  struct Waiter {
    MqMessage message;  // to be put in, or what was received
    wait::Sleeper* sleeper;
    bool done = false;
    std::list<Waiter*>::iterator place{};
  };
  enum class Side : uint8_t { kSenders, kReceivers };
  void InsertLocked(MqMessage message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  MqMessage TakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Until another thread has served `waiter`, which stands among those of `side`. ETIMEDOUT, kERESTARTSYS: it stands there no longer.
  Result<void> SleepAmong(Side side, Waiter& waiter, Deadline deadline, const Blocker& blocker) ABSL_LOCKS_EXCLUDED(mu_);

  const Ref<MqAccounts> accounts_;
  const Shape shape_;
  mutable absl::Mutex mu_;
  std::map<uint32_t, std::deque<std::string>, std::greater<>> messages_ ABSL_GUARDED_BY(mu_);
  int64_t count_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::list<Waiter*> senders_ ABSL_GUARDED_BY(mu_), receivers_ ABSL_GUARDED_BY(mu_);
  RefPtr<MqNotice> notice_ ABSL_GUARDED_BY(mu_);
  wait::WaitQueue events_;
};

}  // namespace rampart::ipc
