// ptrace(2).
#pragma once

#include <string>

#include "abi/ptrace.h"
#include "abi/types.h"
#include "base/result.h"
#include "sentry/syscalls/arg_codec.h"

namespace rampart::kernel {
class HeldTracee;
class Task;
}  // namespace rampart::kernel

namespace rampart::syscalls {

template <>
struct ArgCodec<abi::PtraceRequest> {
  static abi::PtraceRequest Decode(uint64_t word) { return static_cast<abi::PtraceRequest>(static_cast<int64_t>(word)); }
  static void Print(std::string& out, uint64_t word, mm::UserMemory& memory);
};

Result<Word> SysPtrace(kernel::Task& task, abi::PtraceRequest request, abi::Pid pid, uint64_t address, uint64_t data);

// --- ptrace_regs.cc: the requests about registers.
Result<Word> PtracePeekUser(kernel::Task& task, const kernel::HeldTracee& held, uint64_t offset, uint64_t to);
Result<Word> PtracePokeUser(const kernel::HeldTracee& held, uint64_t offset, uint64_t value);
Result<Word> PtraceGetRegs(kernel::Task& task, const kernel::HeldTracee& held, uint64_t to);
Result<Word> PtraceSetRegs(kernel::Task& task, const kernel::HeldTracee& held, uint64_t from);
Result<Word> PtraceGetFpRegs(kernel::Task& task, const kernel::HeldTracee& held, uint64_t to);
Result<Word> PtraceSetFpRegs(kernel::Task& task, const kernel::HeldTracee& held, uint64_t from);
// GETREGSET and SETREGSET: `vec` is an iovec whose length becomes what was moved.
Result<Word> PtraceRegSet(kernel::Task& task, const kernel::HeldTracee& held, uint64_t type, uint64_t vec, bool set);
Result<Word> PtraceArchPrctl(kernel::Task& task, const kernel::HeldTracee& held, uint64_t option, uint64_t address);

}  // namespace rampart::syscalls
