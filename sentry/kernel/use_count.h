// UseCount: how many tasks use a resource that they may share (address space, descriptor table). Observers (/proc) hold references to the
// resource itself but do not count, so that the last *user* can close or unmap.
// Thread safety: atomic.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/ref.h"

namespace rampart::kernel {

class UseCount final : public RefCounted {
 public:
  void Enter() { users_.fetch_add(1, std::memory_order_relaxed); }
  // True for the last user.
  [[nodiscard]] bool Leave() { return users_.fetch_sub(1, std::memory_order_acq_rel) == 1; }
  bool shared() const { return users_.load(std::memory_order_acquire) > 1; }

 private:
  std::atomic<uint32_t> users_{1};
};

}  // namespace rampart::kernel
