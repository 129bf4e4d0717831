// mq_open(2) and its kin.
#pragma once

#include "abi/ipc.h"
#include "abi/time.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

Result<Word> SysMqOpen(kernel::Task& task, UserPath name, uint32_t flags, uint32_t mode, UserIn<abi::MqAttr> attributes);
Result<Word> SysMqUnlink(kernel::Task& task, UserPath name);
Result<Word> SysMqTimedsend(kernel::Task& task, Fd fd, UserAddr text, uint64_t size, uint32_t priority, UserIn<abi::Timespec> until);
Result<Word> SysMqTimedreceive(kernel::Task& task, Fd fd, UserAddr text, uint64_t size, UserOut<uint32_t> priority, UserIn<abi::Timespec> until);
Result<Word> SysMqNotify(kernel::Task& task, Fd fd, UserIn<abi::SigEvent> event);
Result<Word> SysMqGetsetattr(kernel::Task& task, Fd fd, UserIn<abi::MqAttr> wanted, UserOut<abi::MqAttr> old);

}  // namespace rampart::syscalls
