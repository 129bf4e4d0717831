#include "sentry/net/socket/wire.h"

#include <algorithm>

namespace rampart::net {

Wire& Wire::Get() {
  static Wire* const wire = new Wire;
  return *wire;
}

void Wire::Attach(Ref<WireTap> tap) {
  absl::MutexLock lock(&mu_);
  taps_.push_back(std::move(tap));
  count_.store(taps_.size(), std::memory_order_release);
}

void Wire::Detach(const WireTap& tap) {
  std::vector<Ref<WireTap>> gone;  // dropped after the lock
  absl::MutexLock lock(&mu_);
  const auto it = std::find_if(taps_.begin(), taps_.end(), [&](const Ref<WireTap>& t) { return t.get() == &tap; });
  if (it == taps_.end()) return;
  gone.push_back(std::move(*it));
  taps_.erase(it);
  count_.store(taps_.size(), std::memory_order_release);
}

void Wire::Show(uint16_t ether_type, std::string_view packet, const WireTap* sender) {
  if (!watched()) return;
  std::vector<Ref<WireTap>> taps;
  {
    absl::MutexLock lock(&mu_);
    taps = taps_;
  }
  for (const Ref<WireTap>& tap : taps) {
    if (tap.get() != sender) tap->Take(ether_type, packet, true);
  }
  for (const Ref<WireTap>& tap : taps) tap->Take(ether_type, packet, false);
}

}  // namespace rampart::net
