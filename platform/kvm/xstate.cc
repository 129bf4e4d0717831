#include "platform/kvm/xstate.h"

#include <cpuid.h>

#include <algorithm>
#include <cstring>

namespace rampart::platform::kvm {
namespace {

// Offsets in the area (Intel SDM vol. 1, 13.4).
constexpr size_t kMxcsr = 24, kMxcsrMask = 28, kSwReserved = 464, kHeader = 512, kHeaderEnd = 576;
constexpr uint64_t kX87AndSse = 3, kAvx = 4, kAvx512 = 0xe0;

template <class T>
T Load(std::span<const std::byte> from, size_t offset) {
  T value;
  std::memcpy(&value, from.data() + offset, sizeof(value));
  return value;
}
template <class T>
void Store(std::span<std::byte> to, size_t offset, T value) {
  std::memcpy(to.data() + offset, &value, sizeof(value));
}

uint64_t HostXcr0() {
  uint32_t low, high;
  // SAFETY: XGETBV with index 0 reads XCR0; every x86-64 host that XSAVE-enables processes allows it in user mode.
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

uint32_t HostMxcsrMask() {
  // SAFETY: FXSAVE writes 512 bytes to an aligned buffer of that size.
  alignas(16) std::byte area[512]{};
  asm volatile("fxsave64 %0" : "=m"(area));
  const auto mask = Load<uint32_t>(area, kMxcsrMask);
  return mask == 0 ? 0xffbf : mask;
}

}  // namespace

Xstate Xstate::Of(uint64_t supported) {
  Xstate x;
  const uint64_t both = HostXcr0() & supported;
  if ((both & kAvx) != 0) x.features |= kAvx;
  if ((both & kAvx) != 0 && (both & kAvx512) == kAvx512) x.features |= kAvx512;
  for (uint32_t i = 2; i < 63; ++i) {
    if ((x.features >> i & 1) == 0) continue;
    unsigned size = 0, offset = 0, c = 0, d = 0;
    __cpuid_count(0xd, i, size, offset, c, d);
    x.size = std::max(x.size, size_t{offset} + size);
  }
  x.mxcsr_mask = HostMxcsrMask();
  x.initial.resize(x.size);
  Store(x.initial, 0, uint16_t{0x37f});
  Store(x.initial, kMxcsr, uint32_t{0x1f80});
  Store(x.initial, kHeader, kX87AndSse);
  x.Normalize(x.initial);
  return x;
}

bool Xstate::Valid(std::span<const std::byte> state) const {
  if (state.size() != size) return false;
  if ((Load<uint64_t>(state, kHeader) & ~features) != 0) return false;
  for (size_t i = kHeader + 8; i < kHeaderEnd; i += 8) {
    if (Load<uint64_t>(state, i) != 0) return false;
  }
  return (Load<uint32_t>(state, kMxcsr) & ~mxcsr_mask) == 0;
}

void Xstate::Normalize(std::span<std::byte> state) const {
  Store(state, kMxcsrMask, mxcsr_mask);
  std::fill(state.begin() + kSwReserved, state.begin() + kHeader, std::byte{0});
  Store(state, kSwReserved, features);
  Store(state, kHeader, Load<uint64_t>(state, kHeader) & features);
}

}  // namespace rampart::platform::kvm
