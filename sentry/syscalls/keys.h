// add_key(2), request_key(2), keyctl(2).
#pragma once

#include <string>

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysAddKey(kernel::Task& task, UserPath type, UserPath description, UserAddr payload, uint64_t length, int32_t keyring);
Result<Word> SysRequestKey(kernel::Task& task, UserPath type, UserPath description, UserPath callout, int32_t keyring);
Result<Word> SysKeyctl(kernel::Task& task, int32_t operation, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

}  // namespace rampart::syscalls
