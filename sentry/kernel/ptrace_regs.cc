#include "sentry/kernel/ptrace_regs.h"

#include <cstddef>
#include <cstring>
#include <span>

#include "abi/process.h"

namespace rampart::kernel {
namespace {

// CF PF AF ZF SF TF DF OF NT RF AC.
constexpr uint64_t kSettableFlags = 0x54dd5;
constexpr uint64_t kUserPrivilege = 3, kPrivilegeMask = 3;
constexpr uint64_t kDr6Reserved = 0xffff0ff0, kDr7Enables = 0xff;

}  // namespace

uint64_t GetRegisterWord(const abi::UserRegs& regs, uint64_t offset) {
  uint64_t word;
  std::memcpy(&word, std::as_bytes(std::span(&regs, 1)).data() + offset, sizeof(word));
  return word;
}

Result<void> SetRegisterWord(abi::UserRegs& regs, uint64_t offset, uint64_t value) {
  switch (offset) {
    case offsetof(abi::UserRegs, cs):
    case offsetof(abi::UserRegs, ss):
    case offsetof(abi::UserRegs, ds):
    case offsetof(abi::UserRegs, es):
    case offsetof(abi::UserRegs, fs):
    case offsetof(abi::UserRegs, gs): {
      value &= 0xffff;
      if (value != 0 && (value & kPrivilegeMask) != kUserPrivilege) return Errno::kEIO;
      const bool needed = offset == offsetof(abi::UserRegs, cs) || offset == offsetof(abi::UserRegs, ss);
      if (needed && value == 0) return Errno::kEIO;
      break;
    }
    case offsetof(abi::UserRegs, eflags):
      value = (regs.eflags & ~kSettableFlags) | (value & kSettableFlags);
      break;
    case offsetof(abi::UserRegs, fs_base):
    case offsetof(abi::UserRegs, gs_base):
      if (value >= abi::kMaxUserAddress) return Errno::kEIO;
      break;
    default:
      break;
  }
  std::memcpy(std::as_writable_bytes(std::span(&regs, 1)).data() + offset, &value, sizeof(value));
  return Ok();
}

uint64_t GetDebugRegister(uint64_t n) { return n == 6 ? kDr6Reserved : 0; }

Result<void> SetDebugRegister(uint64_t n, uint64_t value) {
  switch (n) {
    case 0:
    case 1:
    case 2:
    case 3:
      return Errno::kENOSPC;
    case 6:
      return Ok();
    case 7:
      return (value & kDr7Enables) == 0 ? Ok() : Result<void>(Errno::kENOSPC);
    default:
      return Errno::kEIO;
  }
}

}  // namespace rampart::kernel
