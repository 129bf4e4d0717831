// The general registers of an x86-64 thread, laid out as ptrace(PTRACE_GETREGS) and core dumps have them (struct user_regs_struct).
#pragma once

#include <cstdint>

namespace rampart::abi {

struct UserRegs {
  uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
  uint64_t orig_rax;  // the system call's number while in one; ~0 otherwise
  uint64_t rip, cs, eflags, rsp, ss;
  uint64_t fs_base, gs_base;
  uint64_t ds, es, fs, gs;
};
static_assert(sizeof(UserRegs) == 27 * 8);

// System-call arguments in order: rdi rsi rdx r10 r8 r9.
constexpr uint64_t SyscallArg(const UserRegs& r, int index) {
  switch (index) {
    case 0: return r.rdi;
    case 1: return r.rsi;
    case 2: return r.rdx;
    case 3: return r.r10;
    case 4: return r.r8;
    default: return r.r9;
  }
}

}  // namespace rampart::abi
