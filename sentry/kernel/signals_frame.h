// The signal frame of Linux x86-64 (struct rt_sigframe, arch/x86/include/asm/sigframe.h and uapi/asm/sigcontext.h): what a handler finds on its
// stack and what rt_sigreturn(2) reads back. Layouts are byte for byte Linux's; the extended state lies above the frame.
#pragma once

#include <cstddef>
#include <cstdint>

#include "abi/regs.h"
#include "abi/signal.h"

namespace rampart::kernel {

// struct sigcontext_64.
struct SignalContext {
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
  uint16_t cs, gs, fs, ss;
  uint64_t err, trapno, oldmask, cr2, fpstate;
  uint64_t reserved[8];
};
static_assert(sizeof(SignalContext) == 256);

// struct ucontext as the kernel has it.
struct UserContext {
  uint64_t flags, link;
  abi::SigStack stack;
  SignalContext context;
  abi::SigSet mask;
};
static_assert(sizeof(UserContext) == 304);
inline constexpr uint64_t kUcFpXstate = 1, kUcSigcontextSs = 2, kUcStrictRestoreSs = 4;

// struct rt_sigframe.
struct SignalFrame {
  uint64_t return_address;
  UserContext uc;
  abi::SigInfo info;
};
static_assert(sizeof(SignalFrame) == 440);

// The software part of the extended state (struct _fpx_sw_bytes), at byte 464 of the legacy area.
struct FpSoftware {
  uint32_t magic1;
  uint32_t extended_size;
  uint64_t xfeatures;
  uint32_t xstate_size;
  uint32_t padding[7];
};
static_assert(sizeof(FpSoftware) == 48);
inline constexpr uint32_t kFpMagic1 = 0x46505853, kFpMagic2 = 0x46505845;
inline constexpr size_t kFpSoftwareOffset = 464, kFpLegacySize = 512, kFpHeaderSize = 64, kFpMagic2Size = 4;
inline constexpr size_t kRedZone = 128;

// Where the parts of a frame lie for a stack that begins (downwards) at `top`; `xstate_bytes` is Platform::xstate_size().
struct FrameLayout {
  uint64_t fpstate;   // 64-byte aligned
  uint64_t frame;     // frame + 8 is 16-byte aligned, as after a call
};
constexpr FrameLayout LayOutFrame(uint64_t top, size_t xstate_bytes) {
  const uint64_t fpstate = (top - (xstate_bytes + kFpMagic2Size)) & ~uint64_t{63};
  const uint64_t frame = ((fpstate - sizeof(SignalFrame)) & ~uint64_t{15}) - 8;
  return {fpstate, frame};
}

// The flags that a program may set for itself (Linux: FIX_EFLAGS).
inline constexpr uint64_t kUserEflags = 0x10000 | 0x40000 | 0x800 | 0x400 | 0x100 | 0x80 | 0x40 | 0x10 | 0x4 | 0x1;
constexpr uint64_t SanitizeEflags(uint64_t current, uint64_t wanted) { return (current & ~kUserEflags) | (wanted & kUserEflags); }

inline constexpr uint16_t kUserCs = 0x33, kUserSs = 0x2b;

void FillContext(SignalContext& context, const abi::UserRegs& regs);
// Takes the registers back; segments are always ours, eflags sanitised.
void TakeContext(abi::UserRegs& regs, const SignalContext& context);

}  // namespace rampart::kernel
