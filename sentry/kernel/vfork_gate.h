// VforkGate: what the parent of a vfork waits on until the child has called exec or exited.
// Thread safety: any thread.
#pragma once

#include <atomic>

#include "base/ref.h"
#include "sentry/wait/wait.h"

namespace rampart::kernel {

class VforkGate final : public RefCounted {
 public:
  void Open() {
    open_.store(true, std::memory_order_release);
    queue_.Notify(abi::kPollIn);
  }
  bool IsOpen() const { return open_.load(std::memory_order_acquire); }
  wait::WaitQueue& queue() { return queue_; }

 private:
  std::atomic<bool> open_{false};
  wait::WaitQueue queue_;
};

}  // namespace rampart::kernel
