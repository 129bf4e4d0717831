// System V message queues (msgget(2), msgop(2), msgctl(2); Linux ipc/msg.c).
//
// Model. A message goes straight to the first sleeping receiver that wants it, else into the queue. A sender that finds no room sleeps and tries again
// when there is some.
// Thread safety: any thread. Lock order: MsgTable::mu_ → MsgQueue::mu_. No user memory is touched under them.
// Ownership: a queue by the table and by those who work on it. What all queues hold together is bounded (MsgTotals).
#pragma once

#include <atomic>
#include <list>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "sentry/ipc/blocker.h"
#include "sentry/ipc/id_table.h"

namespace rampart::ipc {

struct Message {
  int64_t type = 0;
  std::string text;
};

// Of all queues of a table.
struct MsgTotals {
  // What may be on the Sentry's heap at once, whatever the limits of the queues add up to; ENOMEM beyond it.
  static constexpr int64_t kMostBytes = int64_t{64} << 20;
  static constexpr int64_t kOverhead = 96;  // of a message
  std::atomic<int64_t> bytes{0};
  std::atomic<int64_t> messages{0};
};

// msgrcv(2), decoded.
struct MsgRequest {
  enum class Mode : uint8_t { kAny, kEqual, kNotEqual, kAtMost, kNumber };
  Mode mode = Mode::kAny;
  int64_t type = 0;        // kNumber: which, from 0
  uint64_t room = 0;       // bytes that the receiver takes
  bool cut = false;        // MSG_NOERROR
  bool copy = false;       // MSG_COPY
  bool nowait = false;
  static MsgRequest Of(int64_t type, uint64_t room, uint32_t flags);
};

class MsgQueue final : public RefCounted {
 public:
  Permissions permissions;  // under mu_; id, key and seq do not change once it is in the table

  // EACCES, EIDRM, EAGAIN (`nowait`), kERESTARTNOHAND, ENOMEM.
  Result<void> Send(const auth::Credentials& creds, Message message, bool nowait, const Blocker& blocker);
  // EACCES, EIDRM, ENOMSG, E2BIG, EINVAL (MSG_COPY), kERESTARTNOHAND. The text is not cut.
  Result<Message> Receive(const auth::Credentials& creds, MsgRequest request, const Blocker& blocker);

 private:
  friend class MsgTable;
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  // Those who sleep, on their stacks.
  struct Receiver {
    MsgRequest request;
    abi::Pid process;
    wait::Sleeper* sleeper;
    enum class State : uint8_t { kWaiting, kAgain, kDone } state = State::kWaiting;
    Errno error{};
    Message message;
    std::list<Receiver*>::iterator place{};
  };
  struct Sender {
    size_t size;
    wait::Sleeper* sleeper;
    std::list<Sender*>::iterator place{};
  };

  MsgQueue(const Permissions& p, MsgTotals& totals, uint64_t bytes) : permissions(p), totals_(totals), max_bytes_(bytes) {}
  ~MsgQueue() override;
  static bool Wants(const MsgRequest& request, const Message& message);
  std::list<Message>::iterator FindLocked(const MsgRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<std::optional<Message>> TakeLocked(const MsgRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HasRoomLocked(size_t size) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // Whether a sleeping receiver has taken it.
  bool HandOverLocked(Message& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LeaveLocked(Receiver& receiver, Receiver::State state, Errno error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WakeSendersLocked(bool all) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RemoveLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Count(const Message& message, int sign);
  abi::MsqidDs DescribeLocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_);

  MsgTotals& totals_;
  absl::Mutex mu_;
  std::list<Message> messages_ ABSL_GUARDED_BY(mu_);
  std::list<Receiver*> receivers_ ABSL_GUARDED_BY(mu_);
  std::list<Sender*> senders_ ABSL_GUARDED_BY(mu_);
  uint64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t max_bytes_ ABSL_GUARDED_BY(mu_);
  int64_t stime_ ABSL_GUARDED_BY(mu_) = 0, rtime_ ABSL_GUARDED_BY(mu_) = 0, ctime_ ABSL_GUARDED_BY(mu_) = 0;
  abi::Pid last_sender_ ABSL_GUARDED_BY(mu_) = 0, last_receiver_ ABSL_GUARDED_BY(mu_) = 0;
  bool removed_ ABSL_GUARDED_BY(mu_) = false;
};

struct MsgLimits {
  int32_t message = 8192;  // MSGMAX
  int32_t queue = 16384;   // MSGMNB
  int32_t queues = 32000;  // MSGMNI
};

class MsgTable {
 public:
  // msgget(2). ENOENT, EEXIST, EACCES, ENOSPC.
  Result<int32_t> Get(const auth::Credentials& creds, int32_t key, uint32_t flags);
  // EINVAL.
  Result<Ref<MsgQueue>> Find(int32_t id) const;
  enum class StatBy : uint8_t { kId, kSlot, kSlotUnchecked };
  Result<std::pair<int32_t, abi::MsqidDs>> Stat(const auth::Credentials& creds, int32_t id, StatBy by) const;
  // IPC_SET. EPERM: more bytes than MSGMNB without CAP_SYS_RESOURCE.
  Result<void> Set(const auth::Credentials& creds, int32_t id, const abi::MsqidDs& to);
  Result<void> RemoveId(const auth::Credentials& creds, int32_t id);
  // IPC_INFO; `usage`: MSG_INFO. .first: the highest slot.
  std::pair<int32_t, abi::MsgUsage> Info(bool usage) const;

  MsgLimits limits() const;
  void SetLimits(const MsgLimits& limits);
  std::string ProcText(absl::FunctionRef<abi::Pid(abi::Pid)> seen) const;

 private:
  Result<int32_t> CreateLocked(const auth::Credentials& creds, int32_t key, uint32_t flags) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  MsgTotals totals_;  // outlives the queues
  mutable absl::Mutex mu_;
  IdTable<MsgQueue> ids_ ABSL_GUARDED_BY(mu_);
  MsgLimits limits_ ABSL_GUARDED_BY(mu_);
};

}  // namespace rampart::ipc
