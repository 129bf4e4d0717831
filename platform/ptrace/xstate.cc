#include "platform/ptrace/xstate.h"

#include <cpuid.h>

#include <cstring>
#include <vector>

namespace rampart::platform::ptrace {
namespace {

// Offsets in the area (Intel SDM vol. 1, 13.4).
constexpr size_t kFcw = 0;
constexpr size_t kMxcsr = 24;
constexpr size_t kMxcsrMask = 28;
constexpr size_t kSwReserved = 464;  // bytes 464..511 are software's; the kernel puts XCR0 first, debuggers read it
constexpr size_t kHeader = 512;
constexpr size_t kXcompBv = kHeader + 8;
constexpr size_t kHeaderReserved = kHeader + 16;
constexpr size_t kHeaderEnd = kHeader + 64;

constexpr uint64_t kX87AndSse = 3;
constexpr uint64_t kPkru = uint64_t{1} << 9;
constexpr uint32_t kInitialPkru = 0x55555554;  // the kernel's init_pkru: every key but 0 denied

uint32_t MxcsrMask() {
  // SAFETY: FXSAVE writes 512 bytes to an aligned buffer of that size.
  alignas(16) std::byte area[512]{};
  asm volatile("fxsave64 %0" : "=m"(area));
  uint32_t mask;
  std::memcpy(&mask, area + kMxcsrMask, sizeof(mask));
  return mask == 0 ? 0xffbf : mask;
}

template <class T>
T Load(std::span<const std::byte> from, size_t offset) {
  T value;
  std::memcpy(&value, from.data() + offset, sizeof(value));
  return value;
}

std::vector<std::byte> MakeInitial() {
  std::vector<std::byte> state(XstateSize());
  const uint16_t fcw = 0x37f;
  const uint32_t mxcsr = 0x1f80;
  const uint32_t mask = MxcsrMask();
  const uint64_t xcr0 = XstateFeatures();
  uint64_t present = kX87AndSse;
  std::memcpy(state.data() + kFcw, &fcw, sizeof(fcw));
  std::memcpy(state.data() + kMxcsr, &mxcsr, sizeof(mxcsr));
  std::memcpy(state.data() + kMxcsrMask, &mask, sizeof(mask));
  std::memcpy(state.data() + kSwReserved, &xcr0, sizeof(xcr0));
  if ((xcr0 & kPkru) != 0) {
    unsigned a = 0, offset = 0, c = 0, d = 0;
    __cpuid_count(0xd, 9, a, offset, c, d);
    if (offset + sizeof(kInitialPkru) <= state.size()) {
      std::memcpy(state.data() + offset, &kInitialPkru, sizeof(kInitialPkru));
      present |= kPkru;
    }
  }
  std::memcpy(state.data() + kHeader, &present, sizeof(present));
  return state;
}

}  // namespace

size_t XstateSize() {
  static const size_t size = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    __cpuid_count(0xd, 0, a, b, c, d);
    return b < kHeaderEnd ? kHeaderEnd : size_t{b};
  }();
  return size;
}

uint64_t XstateFeatures() {
  uint32_t low, high;
  // SAFETY: XGETBV with index 0 reads XCR0; every x86-64 host that XSAVE-enables processes allows it in user mode.
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

std::span<const std::byte> InitialXstate() {
  static const std::vector<std::byte> state = MakeInitial();
  return state;
}

bool ValidXstate(std::span<const std::byte> state) {
  if (state.size() != XstateSize()) return false;
  if ((Load<uint64_t>(state, kHeader) & ~XstateFeatures()) != 0 || Load<uint64_t>(state, kXcompBv) != 0) return false;
  for (size_t i = kHeaderReserved; i < kHeaderEnd; i += 8) {
    if (Load<uint64_t>(state, i) != 0) return false;
  }
  static const uint32_t mask = MxcsrMask();
  return (Load<uint32_t>(state, kMxcsr) & ~mask) == 0;
}

}  // namespace rampart::platform::ptrace
