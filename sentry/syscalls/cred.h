// Identity: user and group ids, supplementary groups, capabilities. The rules are in sentry/auth/identity.h.
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

struct CapHeader {
  uint32_t version;
  int32_t pid;
};
struct CapData {
  uint32_t effective, permitted, inheritable;
};

Result<Word> SysGetuid(kernel::Task& task);
Result<Word> SysGeteuid(kernel::Task& task);
Result<Word> SysGetgid(kernel::Task& task);
Result<Word> SysGetegid(kernel::Task& task);
Result<Word> SysSetuid(kernel::Task& task, uint32_t uid);
Result<Word> SysSetgid(kernel::Task& task, uint32_t gid);
Result<Word> SysSetreuid(kernel::Task& task, uint32_t ruid, uint32_t euid);
Result<Word> SysSetregid(kernel::Task& task, uint32_t rgid, uint32_t egid);
Result<Word> SysSetresuid(kernel::Task& task, uint32_t ruid, uint32_t euid, uint32_t suid);
Result<Word> SysSetresgid(kernel::Task& task, uint32_t rgid, uint32_t egid, uint32_t sgid);
Result<Word> SysGetresuid(kernel::Task& task, UserOut<uint32_t> ruid, UserOut<uint32_t> euid, UserOut<uint32_t> suid);
Result<Word> SysGetresgid(kernel::Task& task, UserOut<uint32_t> rgid, UserOut<uint32_t> egid, UserOut<uint32_t> sgid);
Result<Word> SysSetfsuid(kernel::Task& task, uint32_t uid);
Result<Word> SysSetfsgid(kernel::Task& task, uint32_t gid);
Result<Word> SysGetgroups(kernel::Task& task, int32_t size, UserOut<uint32_t> list);
Result<Word> SysSetgroups(kernel::Task& task, int32_t size, UserIn<uint32_t> list);
Result<Word> SysCapget(kernel::Task& task, UserInOut<CapHeader> header, UserOut<CapData> data);
Result<Word> SysCapset(kernel::Task& task, UserInOut<CapHeader> header, UserIn<CapData> data);

}  // namespace rampart::syscalls
