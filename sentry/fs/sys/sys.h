// sysfs(5), as far as programs read it: processor topology, one memory node, the loopback device.
// Thread safety: any thread; the content never changes.
#pragma once

#include "sentry/vfs/inode.h"

namespace rampart::fs::sys {

// `cpus`: processors that the application sees (>= 1).
Ref<vfs::Filesystem> NewSys(uint32_t cpus);

}  // namespace rampart::fs::sys
