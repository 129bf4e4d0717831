// proc(5): processes and the machine as the application sees them. One Filesystem per mount.
//
// A mount belongs to the PID namespace of whoever made it: it shows the processes that have a number there, by that number.
// Directories of processes appear and vanish with them; everything else is fixed. What another user's process hides is decided as on Linux
// (hidepid=0): most files are world-readable; environ, mem, maps, fd, exe, cwd, root need the same identity or CAP_SYS_PTRACE.
// Thread safety: any thread. Source: Linux Documentation/filesystems/proc.rst, proc(5).
#pragma once

#include "sentry/kernel/kernel.h"
#include "sentry/vfs/inode.h"

namespace rampart::fs::proc {

// `kernel` outlives the filesystem.
Ref<vfs::Filesystem> NewProc(kernel::Kernel& kernel, Ref<kernel::PidNamespace> ns);

}  // namespace rampart::fs::proc
