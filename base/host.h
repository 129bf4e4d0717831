// Facts about the host that cannot be asked for after confinement. Thread safety: any thread; the first call asks the host.
#pragma once

#include <cstdint>

namespace rampart {

// Physical memory in bytes. Boot calls it once before the seccomp filter is on; later calls make no host call.
uint64_t HostMemoryBytes();

}  // namespace rampart
