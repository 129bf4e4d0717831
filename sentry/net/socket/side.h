// Side: what a socket shares with those that it talks to: whom to tell of events, and the error that a peer left for it (SO_ERROR).
// Outlives the socket's description while a peer still holds it. Thread safety: any thread.
#pragma once

#include <atomic>

#include "base/errno.h"
#include "base/ref.h"
#include "sentry/wait/wait.h"

namespace rampart::net {

inline constexpr wait::EventMask kIn = abi::kPollIn | abi::kPollRdNorm, kOut = abi::kPollOut | abi::kPollWrNorm;

class Side final : public RefCounted {
 public:
  wait::WaitQueue& queue() { return queue_; }
  void Notify(wait::EventMask events) { queue_.Notify(events); }
  // The last error stays until it is taken.
  void SetError(Errno error) { error_.store(static_cast<int32_t>(error), std::memory_order_release); }
  Errno TakeError() { return Errno{error_.exchange(0, std::memory_order_acq_rel)}; }
  bool has_error() const { return error_.load(std::memory_order_acquire) != 0; }
  // Of the socket whose side it is; 0: none yet (a connection that was not accepted).
  uint64_t inode() const { return inode_.load(std::memory_order_relaxed); }
  void set_inode(uint64_t inode) { inode_.store(inode, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> inode_{0};
  std::atomic<int32_t> error_{0};
  wait::WaitQueue queue_;
};

}  // namespace rampart::net
