// What Linux makes of the processor's exceptions. Thread safety: pure.
#pragma once

#include <cstdint>

#include "platform/kvm/vcpu.h"
#include "platform/platform.h"

namespace rampart::platform::kvm {

namespace vector {
inline constexpr uint32_t kDivide = 0, kDebug = 1, kNmi = 2, kBreakpoint = 3, kOverflow = 4, kBound = 5, kInvalidOpcode = 6, kDeviceMissing = 7,
                          kInvalidTss = 10, kSegmentMissing = 11, kStackSegment = 12, kGeneralProtection = 13, kPageFault = 14, kX87 = 16,
                          kAlignment = 17, kSimd = 19;
}  // namespace vector

// The exit for data.vector, other than a page fault.
Exit ExceptionExit(const VCpuData& data);

}  // namespace rampart::platform::kvm
