// Sizes and the initial value of the extended (XSAVE) state, in the standard format as NT_X86_XSTATE and signal frames have it.
// Thread safety: constants after the first call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace rampart::platform::ptrace {

// Bytes of the area for the features that the host has enabled (CPUID leaf 0xd).
size_t XstateSize();
// XCR0 of the host.
uint64_t XstateFeatures();
// What a new thread starts with: x87 control word 0x37f, MXCSR 0x1f80, all else zero. XstateSize() bytes.
std::span<const std::byte> InitialXstate();
// What the kernel would refuse: features that the machine lacks, a compacted format, reserved header bytes, reserved MXCSR bits.
bool ValidXstate(std::span<const std::byte> state);

}  // namespace rampart::platform::ptrace
