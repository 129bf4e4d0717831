// What a system call asks about a rename before it looks at the names.
#pragma once

#include <cstdint>

#include "sentry/context/caller.h"

namespace rampart::vfs {

// renameat2's flags: EINVAL, EPERM.
Result<void> CheckRenameFlags(const Caller& caller, uint32_t flags);

}  // namespace rampart::vfs
