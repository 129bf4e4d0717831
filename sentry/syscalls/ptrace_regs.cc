// The requests of ptrace(2) about a stopped tracee's registers (Linux arch/x86/kernel/ptrace.c, kernel/regset.c).
#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "abi/process.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/ptrace_regs.h"
#include "sentry/mm/memory_manager.h"
#include "sentry/syscalls/ptrace.h"

namespace rampart::syscalls {
namespace {

using kernel::HeldTracee;
using kernel::Task;

constexpr uint64_t kWordSize = sizeof(uint64_t);
constexpr size_t kMxcsrOffset = 24, kSoftwareOffset = 464, kHeaderOffset = 512;
constexpr uint32_t kMxcsrKnown = 0xffff;
constexpr uint64_t kFpAndSse = 3;

size_t AreaSize(const Task& task) { return task.kernel().platform().xstate_size(); }

// The whole area, with the features of the machine where debuggers look for them (Linux: xstate_fx_sw_bytes).
Result<std::vector<std::byte>> GetArea(const HeldTracee& held) {
  std::vector<std::byte> area(AreaSize(held.task()));
  TRY(held.GetExtendedState(area));
  const uint64_t features = held.task().kernel().platform().xstate_features();
  std::memcpy(area.data() + kSoftwareOffset, &features, sizeof(features));
  return area;
}

// `n` words, from the first on.
Result<void> SetWords(abi::UserRegs& regs, std::span<const uint64_t> words) {
  for (size_t i = 0; i < words.size(); ++i) TRY(kernel::SetRegisterWord(regs, i * kWordSize, words[i]));
  return Ok();
}

Result<void> SetFp(const HeldTracee& held, std::span<const std::byte> image) {
  std::vector<std::byte> area = TRY(GetArea(held));
  std::memcpy(area.data(), image.data(), kSoftwareOffset);
  uint32_t mxcsr = 0;
  std::memcpy(&mxcsr, area.data() + kMxcsrOffset, sizeof(mxcsr));
  mxcsr &= kMxcsrKnown;
  std::memcpy(area.data() + kMxcsrOffset, &mxcsr, sizeof(mxcsr));
  uint64_t present = 0;
  std::memcpy(&present, area.data() + kHeaderOffset, sizeof(present));
  present |= kFpAndSse;
  std::memcpy(area.data() + kHeaderOffset, &present, sizeof(present));
  return held.SetExtendedState(area);
}

// What a register set is: its size, and the bytes it has now.
Result<std::vector<std::byte>> ReadSet(const HeldTracee& held, uint64_t type) {
  switch (type) {
    case abi::kNtPrStatus: {
      const auto bytes = std::as_bytes(std::span(&held.regs(), 1));
      return std::vector<std::byte>(bytes.begin(), bytes.end());
    }
    case abi::kNtPrFpReg: {
      std::vector<std::byte> area = TRY(GetArea(held));
      area.resize(abi::kFpRegsSize);
      return area;
    }
    case abi::kNtX86Xstate:
      return GetArea(held);
    default:
      return Errno::kEINVAL;
  }
}

Result<void> WriteSet(const HeldTracee& held, uint64_t type, std::span<const std::byte> bytes) {
  switch (type) {
    case abi::kNtPrStatus: {
      std::vector<uint64_t> words(bytes.size() / kWordSize);
      std::memcpy(words.data(), bytes.data(), bytes.size());
      return SetWords(held.regs(), words);
    }
    case abi::kNtPrFpReg:
      if (bytes.size() != abi::kFpRegsSize) return Errno::kEINVAL;
      return SetFp(held, bytes);
    default:
      if (bytes.size() != AreaSize(held.task())) return Errno::kEFAULT;
      return held.SetExtendedState(bytes);
  }
}

}  // namespace

Result<Word> PtracePeekUser(Task& task, const HeldTracee& held, uint64_t offset, uint64_t to) {
  if (offset % kWordSize != 0 || offset >= abi::kUserAreaSize) return Errno::kEIO;
  uint64_t value = 0;
  if (offset < sizeof(abi::UserRegs)) {
    value = kernel::GetRegisterWord(held.regs(), offset);
  } else if (offset >= abi::kUserDebugRegisters && offset < abi::kUserDebugRegistersEnd) {
    value = kernel::GetDebugRegister((offset - abi::kUserDebugRegisters) / kWordSize);
  }
  TRY(task.CopyOut(UserOut<uint64_t>(to), value));
  return Word{0};
}

Result<Word> PtracePokeUser(const HeldTracee& held, uint64_t offset, uint64_t value) {
  if (offset % kWordSize != 0 || offset >= abi::kUserAreaSize) return Errno::kEIO;
  if (offset < sizeof(abi::UserRegs)) {
    TRY(kernel::SetRegisterWord(held.regs(), offset, value));
  } else if (offset >= abi::kUserDebugRegisters && offset < abi::kUserDebugRegistersEnd) {
    TRY(kernel::SetDebugRegister((offset - abi::kUserDebugRegisters) / kWordSize, value));
  } else {
    return Errno::kEIO;
  }
  return Word{0};
}

Result<Word> PtraceGetRegs(Task& task, const HeldTracee& held, uint64_t to) {
  TRY(task.mm().CopyOutBytes(to, std::as_bytes(std::span(&held.regs(), 1))));
  return Word{0};
}

Result<Word> PtraceSetRegs(Task& task, const HeldTracee& held, uint64_t from) {
  std::vector<uint64_t> words(sizeof(abi::UserRegs) / kWordSize);
  TRY(task.mm().CopyInBytes(from, std::as_writable_bytes(std::span(words))));
  TRY(SetWords(held.regs(), words));
  return Word{0};
}

Result<Word> PtraceGetFpRegs(Task& task, const HeldTracee& held, uint64_t to) {
  const std::vector<std::byte> area = TRY(GetArea(held));
  TRY(task.mm().CopyOutBytes(to, std::span(area).first(abi::kFpRegsSize)));
  return Word{0};
}

Result<Word> PtraceSetFpRegs(Task& task, const HeldTracee& held, uint64_t from) {
  std::vector<std::byte> image(abi::kFpRegsSize);
  TRY(task.mm().CopyInBytes(from, image));
  TRY(SetFp(held, image));
  return Word{0};
}

Result<Word> PtraceRegSet(Task& task, const HeldTracee& held, uint64_t type, uint64_t vec, bool set) {
  abi::Iovec iov = TRY(task.CopyIn(UserIn<abi::Iovec>(vec)));
  std::vector<std::byte> now = TRY(ReadSet(held, type));
  if (iov.len % kWordSize != 0) return Errno::kEINVAL;
  iov.len = std::min<uint64_t>(iov.len, now.size());
  now.resize(iov.len);
  if (set) {
    TRY(task.mm().CopyInBytes(iov.base, now));
    TRY(WriteSet(held, type, now));
  } else {
    TRY(task.mm().CopyOutBytes(iov.base, now));
  }
  TRY(task.CopyOut(UserOut<uint64_t>(vec + offsetof(abi::Iovec, len)), iov.len));
  return Word{0};
}

Result<Word> PtraceArchPrctl(Task& task, const HeldTracee& held, uint64_t option, uint64_t address) {
  abi::UserRegs& regs = held.regs();
  switch (static_cast<int>(option)) {
    case abi::kArchGetFs:
      TRY(task.CopyOut(UserOut<uint64_t>(address), regs.fs_base));
      return Word{0};
    case abi::kArchGetGs:
      TRY(task.CopyOut(UserOut<uint64_t>(address), regs.gs_base));
      return Word{0};
    case abi::kArchSetFs:
    case abi::kArchSetGs:
      if (address >= abi::kMaxUserAddress) return Errno::kEPERM;
      (static_cast<int>(option) == abi::kArchSetFs ? regs.fs_base : regs.gs_base) = address;
      return Word{0};
    default:
      return Errno::kEINVAL;
  }
}

}  // namespace rampart::syscalls
