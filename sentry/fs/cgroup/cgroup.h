// cgroup2 as a container sees the group that it is in (cgroup_namespaces(7)): its limits and what it uses, to be read by programs that fit themselves to them. There
// are no other groups, none can be made, and nothing can be written.
//
// Limits and use of memory and tasks are the sandbox's, all containers of a pod together; processes are those of the reader's container.
// Thread safety: any thread.
#pragma once

#include <atomic>

#include "sentry/kernel/kernel.h"
#include "sentry/vfs/inode.h"

namespace rampart::fs::cgroup {

// Processor time that the host gives: microseconds in each period; quota <= 0: no limit.
struct CpuMax {
  std::atomic<int64_t> quota{0};
  std::atomic<uint64_t> period{100'000};
};

// `kernel` and `cpu` outlive it.
Ref<vfs::Filesystem> NewCgroup2(kernel::Kernel& kernel, const CpuMax& cpu);

}  // namespace rampart::fs::cgroup
