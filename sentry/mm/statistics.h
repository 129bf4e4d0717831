// Counters of the memory manager, for --stats.
// Thread safety: any thread.
#pragma once

#include <cstdint>

namespace rampart::mm {

// Copy-on-write breaks that copied (a page or a window of pages), of all address spaces of this process since it started.
uint64_t CopiedOnWrite();

// The most bytes of the memory file that were referenced at one time.
uint64_t PeakMemoryBytes();

}  // namespace rampart::mm
