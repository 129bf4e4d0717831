// The filesystems that programs inside may mount (vfs::FilesystemTypes).
// Thread safety: called once, at boot.
#pragma once

#include "sentry/kernel/kernel.h"

namespace rampart::sentry::boot {

// `kernel` outlives the registrations.
void RegisterFilesystems(kernel::Kernel& kernel);

}  // namespace rampart::sentry::boot
