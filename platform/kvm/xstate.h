// The extended state (XSAVE area, standard format) that guests of this machine have: x87, SSE, AVX and AVX-512 as far as the host has them.
// Protection keys, AMX and CET are left out: nothing in the Sentry manages them. Thread safety: values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rampart::platform::kvm {

struct Xstate {
  uint64_t features = 3;  // XCR0
  size_t size = 576;
  uint32_t mxcsr_mask = 0xffff;
  std::vector<std::byte> initial;

  // What both the host's XCR0 and `supported` (KVM's CPUID leaf 0xd) have.
  static Xstate Of(uint64_t supported);
  // Whether the processor would take it.
  bool Valid(std::span<const std::byte> state) const;
  // What KVM gives as signal frames have it: only our features, XCR0 in the bytes for software.
  void Normalize(std::span<std::byte> state) const;
};

}  // namespace rampart::platform::kvm
