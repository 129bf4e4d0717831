// The registers of a tracee word by word, as PEEKUSER, POKEUSER and SETREGS see them: what may be put where (Linux arch/x86/kernel/ptrace.c).
// Thread safety: pure functions.
#pragma once

#include <cstdint>

#include "abi/regs.h"
#include "base/result.h"

namespace rampart::kernel {

// Words of abi::UserRegs by their offset in bytes. REQUIRES: offset is a multiple of 8 and below sizeof(abi::UserRegs).
uint64_t GetRegisterWord(const abi::UserRegs& regs, uint64_t offset);
// EIO: a selector that is not the application's own, or a segment base in the kernel's half. Flags that the application may not set stay.
Result<void> SetRegisterWord(abi::UserRegs& regs, uint64_t offset, uint64_t value);

// Debug register `n`. There are none to be had here: all are taken, as by another debugger of the whole machine.
uint64_t GetDebugRegister(uint64_t n);
// ENOSPC: would need one; EIO: there is no such register.
Result<void> SetDebugRegister(uint64_t n, uint64_t value);

}  // namespace rampart::kernel
