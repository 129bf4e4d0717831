#include "base/host.h"

#include <unistd.h>

#include "base/safe_math.h"

namespace rampart {

uint64_t HostMemoryBytes() {
  static const uint64_t bytes = [] {
    const long pages = sysconf(_SC_PHYS_PAGES);
    return pages > 0 ? static_cast<uint64_t>(pages) * kPageSize : uint64_t{1} << 30;
  }();
  return bytes;
}

}  // namespace rampart
