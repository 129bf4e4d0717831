// Makes the sandbox's mount namespace from the configuration.
// Thread safety: called once, at boot.
#pragma once

#include <string>

#include "sentry/boot/boot.h"
#include "sentry/fs/gofer/gofer_fs.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/mount.h"

namespace rampart::sentry::boot {

struct MountFailure {
  std::string text;  // for people: which mount, what was wrong
  Errno error;
};

// What mounting needs. `gofer` is null when no mount has type "gofer".
struct MountContext {
  kernel::Kernel& kernel;
  RefPtr<fs::GoferConnection> gofer;
};

// The namespace with every mount of `config` in order, or the first failure in *failure.
RefPtr<vfs::MountNamespace> BuildMounts(const BootConfig& config, const MountContext& context, MountFailure* failure);

}  // namespace rampart::sentry::boot
