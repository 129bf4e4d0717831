// The machine as the application sees it: uname, host name, memory and load, random numbers, the kernel log.
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

struct Utsname {
  char sysname[65], nodename[65], release[65], version[65], machine[65], domainname[65];
};
struct Sysinfo {
  int64_t uptime = 0;
  uint64_t loads[3] = {};
  uint64_t total_ram = 0, free_ram = 0, shared_ram = 0, buffer_ram = 0, total_swap = 0, free_swap = 0;
  uint16_t procs = 0, pad0 = 0;
  uint32_t pad1 = 0;
  uint64_t total_high = 0, free_high = 0;
  uint32_t mem_unit = 1, pad2 = 0;
};
static_assert(sizeof(Sysinfo) == 112);

Result<Word> SysUname(kernel::Task& task, UserOut<Utsname> out);
// Of a PID namespace that was made inside: ends it. Of the sandbox: EPERM.
Result<Word> SysReboot(kernel::Task& task, int32_t magic1, int32_t magic2, uint32_t command, uint64_t argument);
Result<Word> SysSethostname(kernel::Task& task, UserIn<char> name, int32_t length);
Result<Word> SysSetdomainname(kernel::Task& task, UserIn<char> name, int32_t length);
Result<Word> SysSysinfo(kernel::Task& task, UserOut<Sysinfo> out);
Result<Word> SysGetrandom(kernel::Task& task, uint64_t buffer, uint64_t length, uint32_t flags);
Result<Word> SysSyslog(kernel::Task& task, int32_t type, uint64_t buffer, int32_t length);
Result<Word> SysGetcpu(kernel::Task& task, UserOut<uint32_t> cpu, UserOut<uint32_t> node, uint64_t cache);

}  // namespace rampart::syscalls
