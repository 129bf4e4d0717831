// name_to_handle_at(2) and open_by_handle_at(2).
#pragma once

#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysNameToHandleAt(kernel::Task& task, Fd dirfd, UserPath path, UserAddr handle, UserAddr mount_id, uint32_t flags);
// Nobody inside may: EPERM without CAP_DAC_READ_SEARCH; with it every handle is ESTALE, as on a file system that cannot find an object by its number.
Result<Word> SysOpenByHandleAt(kernel::Task& task, Fd mount_fd, UserAddr handle, uint32_t flags);

}  // namespace rampart::syscalls
