// devpts: /dev/pts: its ptmx makes ptys, its numbered nodes are their slaves. And /dev/tty, the caller's controlling terminal.
// Thread safety: any thread. Lock order: DevptsFilesystem::mu_ → nothing of a Pty's.
#pragma once

#include "sentry/kernel/kernel.h"
#include "sentry/vfs/inode.h"

namespace rampart::fs::tty {

inline constexpr uint32_t kMaxPtys = 4096;

// One instance; `kernel` outlives it. `mode` and `gid`: of new slaves (devpts options mode= and gid=).
Ref<vfs::Filesystem> NewDevpts(kernel::Kernel& kernel, uint32_t mode, abi::Gid gid);

// The driver of character device 5:0, /dev/tty. ENXIO without a controlling terminal.
Result<Ref<vfs::FileDescription>> OpenDevTty(Caller& caller, const vfs::Path& path, uint32_t flags, void* driver);
// The driver of 5:2, a ptmx node outside devpts (/dev/ptmx): opens a new pty of the devpts that was registered with SetDefaultDevpts.
Result<Ref<vfs::FileDescription>> OpenDevPtmx(Caller& caller, const vfs::Path& path, uint32_t flags, void* driver);
void SetDefaultDevpts(Ref<vfs::Filesystem> devpts);
// Makes a host terminal the node `index` of that devpts, so that ttyname(3) finds it. Nothing where there is no devpts, or such a node already.
void ShowHostTerminal(uint32_t index, Ref<vfs::Inode> terminal);

}  // namespace rampart::fs::tty
