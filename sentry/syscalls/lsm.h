// lsm_list_modules(2), lsm_get_self_attr(2), lsm_set_self_attr(2): as a kernel whose one security module is that of capabilities, which has no
// attributes. Linux: security/lsm_syscalls.c.
#pragma once

#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysLsmListModules(kernel::Task& task, UserOut<uint64_t> ids, UserInOut<uint32_t> size, uint32_t flags);
Result<Word> SysLsmGetSelfAttr(kernel::Task& task, uint32_t attr, UserAddr context, UserInOut<uint32_t> size, uint32_t flags);
Result<Word> SysLsmSetSelfAttr(kernel::Task& task, uint32_t attr, UserAddr context, uint32_t size, uint32_t flags);

}  // namespace rampart::syscalls
