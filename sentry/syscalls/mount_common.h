// What the families of mount calls share.
#pragma once

#include <string>
#include <vector>

#include "abi/mount.h"
#include "sentry/kernel/task.h"
#include "sentry/syscalls/path_arg.h"
#include "sentry/vfs/fs_registry.h"

namespace rampart::syscalls {

inline bool MayMount(const kernel::Task& task) { return task.creds().HasCapability(abi::Capability::kSysAdmin); }

// An option that every filesystem has ("ro", "sync"); what it does to the superblock's flags. False: it is the filesystem's own to judge.
bool ApplyCommonOption(const vfs::FsOption& option, uint32_t& superblock_flags);
// A superblock's options and flags, from now on. Options that it has already are no change. EINVAL, EBUSY.
Result<void> Reconfigure(vfs::Filesystem& fs, const std::vector<vfs::FsOption>& options, uint32_t superblock_flags);
// A file that means a mount namespace may be bound only in one that is older: no namespace may hold itself. EINVAL.
Result<void> CheckNoLoop(const vfs::Path& from, const vfs::MountNamespace& mounts);
// What a path argument with AT_EMPTY_PATH names.
Result<vfs::Path> FindForMount(kernel::Task& task, Fd directory, UserPath path, bool follow, bool allow_empty);
// MOUNT_ATTR_… as flags of a mount. EINVAL.
Result<vfs::MountFlags> FlagsOfAttributes(uint64_t attributes);
uint64_t AttributesOf(vfs::MountFlags flags);

}  // namespace rampart::syscalls
