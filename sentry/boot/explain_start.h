// Why a program could not be started, for people: what execve(2) folds into one errno.
// Thread safety: called once, at boot.
#pragma once

#include <string>

#include "base/errno.h"
#include "sentry/context/caller.h"
#include "sentry/vfs/fs_context.h"

namespace rampart::sentry::boot {

// One clause that names what is wrong with `program` (a path inside, which execve refused with `error`) and, where there is one, the remedy.
std::string ExplainStart(Caller& caller, vfs::FsContext& fs, const std::string& program, Errno error, bool memory_limited);

}  // namespace rampart::sentry::boot
