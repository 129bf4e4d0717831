// ioctl_tty(2)'s commands about sessions, the same for every kind of terminal: TIOCSCTTY, TIOCNOTTY, TIOCGPGRP, TIOCSPGRP, TIOCGSID, TIOCSTI.
// Thread safety: the caller's task thread; no lock of kernel/ held.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "sentry/mm/user_memory.h"
#include "sentry/vfs/terminal.h"

namespace rampart::kernel {

class Task;

// ENOTTY for every other command; else as the functions of session.h.
Result<uint64_t> TerminalSessionIoctl(Task& task, vfs::Terminal& terminal, mm::UserMemory& memory, uint32_t command, uint64_t argument);

}  // namespace rampart::kernel
