#include "sentry/kernel/signals_frame.h"

#include <cstring>
#include <utility>
#include <vector>

#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/task.h"

namespace rampart::kernel {
namespace {

constexpr uint64_t kDirectionFlag = 0x400, kTrapFlag = 0x100, kResumeFlag = 0x10000;
constexpr uint64_t kFpSseFeatures = 3;
constexpr size_t kMxcsrOffset = 24;

template <class T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

// The extended state as a frame carries it: XSAVE image, software bytes, trailing magic.
Result<std::vector<std::byte>> FrameXstate(platform::Context& context, const platform::Platform& platform) {
  const size_t size = platform.xstate_size();
  std::vector<std::byte> image(size + kFpMagic2Size);
  TRY(context.GetExtendedState(std::span(image).first(size)));
  FpSoftware software{.magic1 = kFpMagic1,
                      .extended_size = static_cast<uint32_t>(size + kFpMagic2Size),
                      .xfeatures = platform.xstate_features(),
                      .xstate_size = static_cast<uint32_t>(size),
                      .padding = {}};
  std::memcpy(image.data() + kFpSoftwareOffset, &software, sizeof(software));
  std::memcpy(image.data() + size, &kFpMagic2, sizeof(kFpMagic2));
  return image;
}

}  // namespace

void FillContext(SignalContext& c, const abi::UserRegs& r) {
  c.r8 = r.r8, c.r9 = r.r9, c.r10 = r.r10, c.r11 = r.r11, c.r12 = r.r12, c.r13 = r.r13, c.r14 = r.r14, c.r15 = r.r15;
  c.rdi = r.rdi, c.rsi = r.rsi, c.rbp = r.rbp, c.rbx = r.rbx, c.rdx = r.rdx, c.rax = r.rax, c.rcx = r.rcx, c.rsp = r.rsp, c.rip = r.rip;
  c.eflags = r.eflags;
  c.cs = kUserCs, c.ss = kUserSs;
}

void TakeContext(abi::UserRegs& r, const SignalContext& c) {
  r.r8 = c.r8, r.r9 = c.r9, r.r10 = c.r10, r.r11 = c.r11, r.r12 = c.r12, r.r13 = c.r13, r.r14 = c.r14, r.r15 = c.r15;
  r.rdi = c.rdi, r.rsi = c.rsi, r.rbp = c.rbp, r.rbx = c.rbx, r.rdx = c.rdx, r.rax = c.rax, r.rcx = c.rcx, r.rsp = c.rsp, r.rip = c.rip;
  r.eflags = SanitizeEflags(r.eflags, c.eflags);
  r.cs = kUserCs, r.ss = kUserSs;
}

bool Task::EnterHandler(const Delivery& delivery) {
  if (!BuildFrame(delivery.info, delivery.action)) return false;
  abi::SigSet mask = signal_mask() | delivery.action.mask;
  if ((delivery.action.flags & abi::kSaNodefer) == 0) mask |= abi::SigBit(delivery.info.signo);
  restore_mask_ = false;  // the frame holds the mask to go back to
  SetSignalMask(mask);
  return true;
}

// Linux: x64_setup_rt_frame, get_sigframe.
bool Task::BuildFrame(const abi::SigInfo& info, const abi::SigAction& action) {
  abi::UserRegs& regs = context_->regs();
  // x86-64 has no trampoline of its own: the C library always gives one.
  if ((action.flags & abi::kSaRestorer) == 0) return false;
  const size_t xstate_size = kernel_.platform().xstate_size();
  const bool nested = OnAltStack(regs.rsp);
  uint64_t top = regs.rsp - kRedZone;
  bool on_alt = nested;
  if ((action.flags & abi::kSaOnstack) != 0 && !nested && alt_stack_.size != 0) {
    top = alt_stack_.sp + alt_stack_.size;
    on_alt = true;
  }
  const FrameLayout layout = LayOutFrame(top, xstate_size);
  if (layout.frame > top) return false;
  // On the alternate stack, running over its end is an error of its own, not a write into what lies below.
  if (on_alt && layout.frame <= alt_stack_.sp) return false;

  const Result<std::vector<std::byte>> xstate = FrameXstate(*context_, kernel_.platform());
  if (!xstate.ok()) {
    PlatformFailed(xstate.error());
    return true;
  }
  SignalFrame frame{};
  frame.return_address = action.restorer;
  frame.uc.flags = kUcFpXstate | kUcSigcontextSs | kUcStrictRestoreSs;
  frame.uc.stack = alt_stack_;
  frame.uc.mask = restore_mask_ ? saved_mask_ : signal_mask();
  FillContext(frame.uc.context, regs);
  frame.uc.context.err = fault_.error_code;
  frame.uc.context.trapno = fault_.trapno;
  frame.uc.context.cr2 = fault_.cr2;
  frame.uc.context.oldmask = frame.uc.mask;
  frame.uc.context.fpstate = layout.fpstate;
  if ((action.flags & abi::kSaSiginfo) != 0) frame.info = info;

  if (!mm_->CopyOutBytes(layout.fpstate, *xstate).ok()) return false;
  if (!mm_->CopyOutBytes(layout.frame, BytesOf(frame)).ok()) return false;

  if ((alt_stack_.flags & static_cast<int32_t>(abi::kSsAutodisarm)) != 0) alt_stack_ = abi::SigStack{};
  regs.rdi = static_cast<uint64_t>(info.signo);
  regs.rsi = layout.frame + offsetof(SignalFrame, info);
  regs.rdx = layout.frame + offsetof(SignalFrame, uc);
  regs.rax = 0;
  regs.rip = action.handler;
  regs.rsp = layout.frame;
  regs.eflags &= ~(kDirectionFlag | kTrapFlag | kResumeFlag);
  regs.cs = kUserCs;
  regs.ss = kUserSs;
  regs.orig_rax = ~uint64_t{0};
  return true;
}

// The extended state from a frame. Linux: fpu__restore_sig. EFAULT, EINVAL.
Result<void> Task::RestoreXstate(UserAddr address) {
  const size_t size = kernel_.platform().xstate_size();
  std::vector<std::byte> image(size);
  // What XSAVE calls the initial state; also what a null pointer means.
  const uint16_t control_word = 0x37f;
  const uint32_t mxcsr = 0x1f80;
  if (address == 0) {
    std::memcpy(image.data(), &control_word, sizeof(control_word));
    std::memcpy(image.data() + kMxcsrOffset, &mxcsr, sizeof(mxcsr));
    return context_->SetExtendedState(image);
  }
  TRY(mm_->CopyInBytes(address, std::span(image).first(kFpLegacySize)));
  FpSoftware software;
  std::memcpy(&software, image.data() + kFpSoftwareOffset, sizeof(software));
  uint32_t magic2 = 0;
  bool extended = software.magic1 == kFpMagic1 && software.xstate_size >= kFpLegacySize + kFpHeaderSize && software.xstate_size <= size &&
                  software.xstate_size <= software.extended_size;
  if (extended) {
    TRY(mm_->CopyInBytes(address + software.xstate_size, std::as_writable_bytes(std::span(&magic2, 1))));
    extended = magic2 == kFpMagic2;
  }
  uint64_t features = kFpSseFeatures;
  if (extended) {
    TRY(mm_->CopyInBytes(address + kFpLegacySize, std::span(image).subspan(kFpLegacySize, software.xstate_size - kFpLegacySize)));
    std::memcpy(&features, image.data() + kFpLegacySize, sizeof(features));
    features &= software.xfeatures & kernel_.platform().xstate_features();
  }
  std::memset(image.data() + kFpSoftwareOffset, 0, sizeof(software));
  std::memcpy(image.data() + kFpLegacySize, &features, sizeof(features));
  return context_->SetExtendedState(image);
}

// Linux: rt_sigreturn.
Result<Word> Task::SignalReturn() {
  abi::UserRegs& regs = context_->regs();
  replaced_registers_ = true;
  regs.orig_rax = ~uint64_t{0};  // nothing of it is ever begun again
  const auto bad = [this]() -> Result<Word> {
    abi::SigInfo info{.signo = abi::kSigSegv, .code = abi::kSiKernel};
    ForceSignal(info);
    return Word{0};
  };
  UserContext uc;
  const UserAddr frame = regs.rsp - sizeof(uint64_t);
  if (!mm_->CopyInBytes(frame + offsetof(SignalFrame, uc), std::as_writable_bytes(std::span(&uc, 1))).ok()) return bad();
  SetSignalMask(uc.mask);
  TakeContext(regs, uc.context);
  if (!RestoreXstate(uc.context.fpstate).ok()) return bad();
  // Errors in the alternate stack are ignored, except that it cannot be changed while running on it.
  (void)SetAltStack(uc.stack);
  return Word{regs.rax};
}

}  // namespace rampart::kernel
