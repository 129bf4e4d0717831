// What a sandbox finds in /dev: device nodes, links and mount points, put into an empty filesystem that can hold them (a tmpfs).
// Thread safety: PopulateDev before the filesystem is published.
#pragma once

#include "sentry/vfs/inode.h"

namespace rampart::fs {

// Makes null, zero, full, random, urandom, tty, ptmx → pts/ptmx, fd → /proc/self/fd, stdin, stdout, stderr, core, and the directories pts, shm and
// mqueue (mount points). Errors: those of the filesystem.
Result<void> PopulateDev(vfs::Inode& root);

}  // namespace rampart::fs
