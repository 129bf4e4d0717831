// sysfs(5), as far as programs read it: processor topology, one memory node, the loopback device.
// Thread safety: any thread.
#pragma once

#include <functional>

#include "sentry/mm/memory_file.h"
#include "sentry/vfs/inode.h"

namespace rampart::fs::sys {

// `cpus`: how many processors the application sees now (>= 1); called by any thread. `memory`: what the node's memory is told of.
Ref<vfs::Filesystem> NewSys(std::function<uint32_t()> cpus, Ref<mm::MemoryFile> memory);

}  // namespace rampart::fs::sys
