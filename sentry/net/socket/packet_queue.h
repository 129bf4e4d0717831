// PacketQueue: messages that a socket has yet to receive, each whole: datagrams, and one direction of a SOCK_SEQPACKET connection.
//
// Model. Each packet counts its bytes and a fixed overhead against the capacity; one that finds room is taken even if it goes beyond it, as Linux does.
// Senders that found no room are remembered and told when there is some.
// Thread safety: any thread. Lock order: InFlightMutex (only when descriptions move) → mu_. Sides are told without it.
#pragma once

#include <atomic>
#include <deque>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "sentry/net/socket/in_flight.h"
#include "sentry/net/socket/message.h"
#include "sentry/net/socket/side.h"

namespace rampart::net {

struct Packet {
  std::string bytes;
  std::string from;  // of the sender, and where it was sent to: in the family's own form
  std::string to;
  RefPtr<RefCounted> sender;    // of families whose senders may get their name later; else null
  int32_t hops = 0;             // IP: time to live, traffic class
  int32_t traffic_class = 0;
  Nanos time = 0;               // when it came into the queue
  Ancillary ancillary;
};

class PacketQueue final : public RefCounted {
 public:
  static constexpr size_t kOverhead = 768;  // of each packet: what Linux's smallest sk_buff takes
  // What a packet counts: its bytes and kOverhead, or as Linux's local sockets count (buffer_cost.h).
  enum class Count : uint8_t { kFlat, kLocal };
  static constexpr size_t kNoMaximum = SIZE_MAX;
  PacketQueue(Ref<Side> reader, size_t capacity, Count count = Count::kFlat) : reader_(std::move(reader)), count_(count), capacity_(capacity) {}

  // `maximum`: packets that may wait. EAGAIN (and `sender` is told later), EPIPE (nobody will read), ETOOMANYREFS (`file_limit`).
  Result<void> Put(Packet& packet, size_t maximum, const RefPtr<Side>& sender, uint64_t file_limit = UINT64_MAX);
  // What Put would answer before it has the packet: EAGAIN (`sender` is told later), EPIPE.
  Result<void> CheckPut(size_t maximum, const RefPtr<Side>& sender);
  // The reader side's error, which comes before any packet; EAGAIN; `end`: the writer has closed, or the reader has shut down.
  Result<Packet> Take(bool peek, bool& end);
  // Whether a packet would find room; if not, `sender` (may be null) is told when it does.
  bool HasRoom(size_t maximum, const RefPtr<Side>& sender);
  // Likewise for poll(2): at most a quarter is used (Linux: unix_writable).
  bool Writable(size_t maximum, const RefPtr<Side>& sender);

  void SetCapacity(size_t capacity);
  void CloseWriter();
  void ShutReader();
  bool CloseReader();   // true: bytes were unread (and are dropped)
  bool Purge();         // drops what is unread; true: there was something

  struct State {
    size_t packets;
    size_t first_bytes;   // of the first packet: FIONREAD
    size_t bytes;         // of all
    size_t cost;          // likewise, as they count
    bool writer_done, reader_shut, reader_gone;
  };
  State state() const;

  void ForEachFile(absl::FunctionRef<void(vfs::FileDescription&)> f) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(InFlightMutex());
  void TakeFiles(Files& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(InFlightMutex());

 protected:
  ~PacketQueue() override;

 private:
  bool HasRoomLocked(size_t maximum) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return used_ < capacity_ && packets_.size() < maximum; }
  Result<void> CheckPutLocked(size_t maximum, const RefPtr<Side>& sender) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RememberLocked(const RefPtr<Side>& sender) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TellSenders();

  size_t CostOf(const Packet& packet) const;

  const Ref<Side> reader_;
  const Count count_;
  std::atomic<size_t> with_files_{0};  // packets that carry descriptions
  mutable absl::Mutex mu_;
  std::deque<Packet> packets_ ABSL_GUARDED_BY(mu_);
  size_t used_ ABSL_GUARDED_BY(mu_) = 0;   // what they count
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  size_t capacity_ ABSL_GUARDED_BY(mu_);
  std::vector<Ref<Side>> waiting_ ABSL_GUARDED_BY(mu_);
  bool writer_done_ ABSL_GUARDED_BY(mu_) = false, reader_shut_ ABSL_GUARDED_BY(mu_) = false, reader_gone_ ABSL_GUARDED_BY(mu_) = false;
};

// The bytes of one packet out of `src`: all of them or EFAULT.
Result<std::string> GatherPacket(mm::IoSrc& src);
// Into `dst`, as far as it fits: sets copied, full_length, flags (MSG_TRUNC) and the rest of `result`, but for `from`.
Result<void> GivePacket(Packet packet, mm::IoDst& dst, RecvResult& result);

}  // namespace rampart::net
