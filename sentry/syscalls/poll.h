// poll(2), ppoll(2), select(2), pselect6(2).
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

struct PollFd {
  int32_t fd;
  int16_t events;
  int16_t revents;
};
// pselect6's last argument.
struct SigSetArgument {
  uint64_t address;
  uint64_t size;
};

Result<Word> SysPoll(kernel::Task& task, UserInOut<PollFd> fds, uint32_t count, int32_t timeout_ms);
Result<Word> SysPpoll(kernel::Task& task, UserInOut<PollFd> fds, uint32_t count, UserInOut<abi::Timespec> timeout, UserIn<abi::SigSet> mask,
                      uint64_t mask_size);
Result<Word> SysSelect(kernel::Task& task, int32_t count, UserInOut<uint64_t> read, UserInOut<uint64_t> write, UserInOut<uint64_t> except,
                       UserInOut<abi::Timeval> timeout);
Result<Word> SysPselect6(kernel::Task& task, int32_t count, UserInOut<uint64_t> read, UserInOut<uint64_t> write, UserInOut<uint64_t> except,
                         UserInOut<abi::Timespec> timeout, UserIn<SigSetArgument> mask);

}  // namespace rampart::syscalls
