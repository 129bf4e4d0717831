// Wire: the packets that cross lo, for those who look at packets rather than at what they carry.
//
// Model. Sockets of TCP and UDP talk to each other through queues. Only while somebody looks (a packet socket here, a raw socket in inet/) is a datagram
// also made into the packet that Linux would send, and shown: once as it leaves, once as it comes in. TCP's segments do not exist, and are not shown.
// Thread safety: any thread. The wire's lock is a leaf; taps are called without it.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/ref.h"

namespace rampart::net {

inline constexpr uint16_t kEtherIpv4 = 0x0800, kEtherIpv6 = 0x86dd;

class WireTap : public RefCounted {
 public:
  // `packet`: without the Ethernet header. `outgoing`: as it leaves.
  virtual void Take(uint16_t ether_type, std::string_view packet, bool outgoing) = 0;
};

class Wire {
 public:
  static Wire& Get();
  void Attach(Ref<WireTap> tap);
  void Detach(const WireTap& tap);
  bool watched() const { return count_.load(std::memory_order_acquire) != 0; }
  // `sender` (may be null) does not see its own as it leaves.
  void Show(uint16_t ether_type, std::string_view packet, const WireTap* sender);

 private:
  std::atomic<size_t> count_{0};
  absl::Mutex mu_;
  std::vector<Ref<WireTap>> taps_ ABSL_GUARDED_BY(mu_);
};

}  // namespace rampart::net
