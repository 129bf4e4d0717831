// Checks that several operations share (Linux: may_create, may_delete, setattr_prepare). Internal to sentry/vfs.
#pragma once

#include "sentry/vfs/operations.h"

namespace rampart::vfs {

// Whether `caller` may act as the owner of something with these attributes (the owner, or CAP_FOWNER).
bool IsOwnerOrCapable(const Caller& caller, const Attr& attr);
// EACCES; ENOENT in a removed directory.
Result<void> MayCreate(Caller& caller, const Dentry& directory);
// EACCES, EPERM (sticky), ENOTDIR, EISDIR, EBUSY (something is mounted on it).
Result<void> MayDelete(Caller& caller, const MountNamespace& mounts, const Dentry& directory, const Dentry& victim, bool must_be_directory);
// The owner, group and mode that a new object of this directory gets (set-group-id directories; the caller's umask is applied to `mode`).
Result<CreateArgs> NewObjectArgs(Caller& caller, Inode& directory, FileType type, uint32_t mode);

}  // namespace rampart::vfs
