#include "platform/kvm/exceptions.h"

#include <signal.h>

namespace rampart::platform::kvm {
namespace {

// Linux: fpu__exception_code. `raised`: unmasked exceptions.
int FloatingPointCode(uint32_t raised) {
  if ((raised & 0x01) != 0) return FPE_FLTINV;
  if ((raised & 0x04) != 0) return FPE_FLTDIV;
  if ((raised & 0x08) != 0) return FPE_FLTOVF;
  if ((raised & 0x12) != 0) return FPE_FLTUND;
  if ((raised & 0x20) != 0) return FPE_FLTRES;
  return 0;
}

// Linux: get_si_code.
int DebugCode(uint64_t dr6) {
  if ((dr6 & 0x4000) != 0) return TRAP_TRACE;
  return (dr6 & 0xf) != 0 ? TRAP_HWBKPT : TRAP_BRKPT;
}

}  // namespace

Exit ExceptionExit(const VCpuData& data) {
  Exit exit{.reason = ExitReason::kException, .signo = SIGSEGV, .code = SI_KERNEL, .trapno = data.vector};
  const uint64_t rip = data.regs.rip;
  switch (data.vector) {
    case vector::kDivide:
      exit.signo = SIGFPE, exit.code = FPE_INTDIV, exit.address = rip;
      break;
    case vector::kDebug:
      exit.signo = SIGTRAP, exit.code = DebugCode(data.dr6), exit.address = rip;
      break;
    case vector::kBreakpoint: exit.signo = SIGTRAP; break;
    case vector::kInvalidOpcode:
      exit.signo = SIGILL, exit.code = ILL_ILLOPN, exit.address = rip;
      break;
    case vector::kX87:
      exit.signo = SIGFPE, exit.address = rip;
      exit.code = FloatingPointCode(uint32_t{data.fsw} & ~uint32_t{data.fcw});
      break;
    case vector::kSimd:
      exit.signo = SIGFPE, exit.address = rip;
      exit.code = FloatingPointCode(data.mxcsr & ~(data.mxcsr >> 7));
      break;
    case vector::kAlignment:
      exit.signo = SIGBUS, exit.code = BUS_ADRALN;
      break;
    case vector::kSegmentMissing:
    case vector::kStackSegment: exit.signo = SIGBUS; [[fallthrough]];
    case vector::kInvalidTss:
    case vector::kGeneralProtection: exit.error_code = static_cast<uint32_t>(data.regs.orig_rax); break;
    case VECTOR_SYSCALL32: exit.trapno = vector::kGeneralProtection; break;
    default: break;  // #OF, #BR, and what cannot come
  }
  return exit;
}

}  // namespace rampart::platform::kvm
