// Dispatch: the entry point of every system call of every task: finds the handler and calls it; counts, times and traces when asked to.
// With neither statistics nor tracing on, nothing is added to a call but one load of a flag.
//
// Thread safety: any thread. ConfigureDispatch is called once, before the first task starts. State is global: one Sentry, one kernel.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "abi/types.h"
#include "sentry/strace/trace_set.h"

namespace rampart::kernel {
class Task;
}

namespace rampart::syscalls {

struct DispatchOptions {
  bool stats = false;                   // count and time every call
  bool strace = false;
  strace::TraceSet traced;              // with strace
};
void ConfigureDispatch(const DispatchOptions& options);
// Which calls are traced from now on; none: tracing is off. Any thread, at any time: a call that is under way is traced wholly or not at all.
void SetTraced(const strace::TraceSet& traced);

// For kernel::SyscallHooks::dispatch: carries out the call `number` with the arguments in task.regs(). ENOSYS for a number that Linux does not
// have (x32's among them). Errors may be internal restart codes.
Result<Word> Dispatch(kernel::Task& task, uint32_t number);

struct SyscallStat {
  uint64_t calls = 0;
  uint64_t errors = 0;
  uint64_t nanos = 0;   // entry to exit, blocking included
};
// The counts so far, by number; all zero without DispatchOptions::stats. `out` may be shorter or longer than the table.
void ReadSyscallStats(std::span<SyscallStat> out);

}  // namespace rampart::syscalls
