// seccomp(2), prctl(PR_SET_SECCOMP), and what the application's own filters do to a call.
#pragma once

#include <optional>

#include "abi/types.h"
#include "base/result.h"

namespace rampart::kernel {
class Task;
}

namespace rampart::syscalls {

Result<Word> SysSeccomp(kernel::Task& task, uint32_t operation, uint32_t flags, uint64_t arguments);
// PR_SET_SECCOMP.
Result<Word> SetSeccomp(kernel::Task& task, uint64_t mode, uint64_t program);

// Asks the task's filters about the call in its registers. Null: it goes on; else it does not, and this is what rax gets.
// REQUIRES: task.seccomp_mode() is not kSeccompModeDisabled. Task thread.
// `traced`: a tracer has already been asked (SECCOMP_RET_TRACE). It may have changed the call: look at regs().orig_rax afterwards.
std::optional<Word> RefusedBySeccomp(kernel::Task& task, uint32_t number, bool traced = false);

}  // namespace rampart::syscalls
