// ptrace(2) on Linux x86-64: requests, options, events, structures (include/uapi/linux/ptrace.h, arch/x86/include/uapi/asm/ptrace-abi.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "abi/regs.h"

namespace rampart::abi {

enum class PtraceRequest : int64_t {
  kTraceMe = 0, kPeekText = 1, kPeekData = 2, kPeekUser = 3, kPokeText = 4, kPokeData = 5, kPokeUser = 6, kCont = 7, kKill = 8, kSingleStep = 9,
  kGetRegs = 12, kSetRegs = 13, kGetFpRegs = 14, kSetFpRegs = 15, kAttach = 16, kDetach = 17, kSyscall = 24, kGetThreadArea = 25, kSetThreadArea = 26,
  kArchPrctl = 30, kSysemu = 31, kSysemuSingleStep = 32, kSingleBlock = 33, kSetOptions = 0x4200, kGetEventMsg = 0x4201, kGetSigInfo = 0x4202,
  kSetSigInfo = 0x4203, kGetRegSet = 0x4204, kSetRegSet = 0x4205, kSeize = 0x4206, kInterrupt = 0x4207, kListen = 0x4208, kPeekSigInfo = 0x4209,
  kGetSigMask = 0x420a, kSetSigMask = 0x420b, kSeccompGetFilter = 0x420c, kSeccompGetMetadata = 0x420d, kGetSyscallInfo = 0x420e,
  kGetRseqConfiguration = 0x420f,
};

inline constexpr uint32_t kPtraceOTraceSysGood = 1, kPtraceOTraceFork = 2, kPtraceOTraceVfork = 4, kPtraceOTraceClone = 8, kPtraceOTraceExec = 16,
                          kPtraceOTraceVforkDone = 32, kPtraceOTraceExit = 64, kPtraceOTraceSeccomp = 128, kPtraceOExitKill = 1 << 20,
                          kPtraceOSuspendSeccomp = 1 << 21;
inline constexpr uint32_t kPtraceOMask = 0xff | kPtraceOExitKill | kPtraceOSuspendSeccomp;

// An event's number is that of its option's bit; it stands in bits 8..15 of a stop's code. STOP has no option.
inline constexpr int kPtraceEventFork = 1, kPtraceEventVfork = 2, kPtraceEventClone = 3, kPtraceEventExec = 4, kPtraceEventVforkDone = 5,
                     kPtraceEventExit = 6, kPtraceEventSeccomp = 7, kPtraceEventStop = 128;
inline constexpr uint64_t kPtraceMessageSyscallEntry = 1, kPtraceMessageSyscallExit = 2;

// struct ptrace_peeksiginfo_args.
struct PtracePeekSigInfoArgs {
  uint64_t offset;
  uint32_t flags;
  int32_t count;
};
inline constexpr uint32_t kPtracePeekSigInfoShared = 1;

// struct ptrace_syscall_info: 24 bytes of head, then what `op` says.
struct PtraceSyscallInfo {
  uint8_t op;
  uint8_t reserved;
  uint16_t flags;
  uint32_t arch;
  uint64_t instruction_pointer, stack_pointer;
  uint64_t nr;          // exit: the result
  uint64_t args[6];     // exit: the first byte of it says whether the result is an error
  uint32_t ret_data;    // seccomp
  uint32_t reserved2;
};
static_assert(sizeof(PtraceSyscallInfo) == 88);
inline constexpr uint8_t kPtraceSyscallInfoNone = 0, kPtraceSyscallInfoEntry = 1, kPtraceSyscallInfoExit = 2, kPtraceSyscallInfoSeccomp = 3;
inline constexpr size_t kPtraceSyscallInfoNoneSize = 24, kPtraceSyscallInfoEntrySize = 80, kPtraceSyscallInfoExitSize = 33,
                        kPtraceSyscallInfoSeccompSize = 84;

// struct ptrace_rseq_configuration.
struct PtraceRseqConfiguration {
  uint64_t abi_pointer;
  uint32_t abi_size, signature, flags, pad;
};
static_assert(sizeof(PtraceRseqConfiguration) == 24);

// struct seccomp_metadata.
struct SeccompMetadata {
  uint64_t filter_offset, flags;
};

// The kernel's struct user (16 bytes longer than the C library's), as PEEKUSER and POKEUSER address it: the registers, much that reads as zero, the
// debug registers.
inline constexpr uint64_t kUserAreaSize = 928, kUserDebugRegisters = 848, kUserDebugRegistersEnd = 912;
inline constexpr size_t kFpRegsSize = 512;  // struct user_fpregs_struct: FXSAVE's layout

// Core note types, which are also PTRACE_GETREGSET's.
inline constexpr uint32_t kNtPrStatus = 1, kNtPrFpReg = 2, kNtPrPsInfo = 3, kNtAuxv = 6, kNtX86Xstate = 0x202, kNtSigInfo = 0x53494749,
                          kNtFile = 0x46494c45;

}  // namespace rampart::abi
