// RLIMIT_FSIZE, for everything that writes to files.
#pragma once

#include <optional>

#include "sentry/kernel/task.h"
#include "sentry/vfs/file_description.h"

namespace rampart::syscalls {

// How many of `count` bytes may be written at `offset` (none: the position; O_APPEND and `append`: the end). EFBIG, with SIGXFSZ, when none may.
Result<uint64_t> AllowedBytes(kernel::Task& task, vfs::FileDescription& file, std::optional<uint64_t> offset, uint64_t count, bool append);

// The signal of a write that nobody will read, or that is too long.
void SendOwnSignal(kernel::Task& task, int signo);
// Whether EPIPE brings SIGPIPE: sockets of messages break without.
bool SignalsBrokenPipe(vfs::FileDescription& file);

}  // namespace rampart::syscalls
