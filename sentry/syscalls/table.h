// The system-call table: every number of x86-64 has exactly one entry with a support level; leaving one out, or naming one twice, does not
// compile. The documentation (docs/syscalls.md) and `--list-syscalls` are printed from it.
//
//   Full<SysDup3>(Sysno::dup3)                            carried out as Linux does
//   Partial<SysMadvise>(Sysno::madvise, "what is missing")
//   Stub<Errno::kEPERM>(Sysno::swapon, "why")             always this error, on purpose
//   Missing(Sysno::io_uring_setup, "Planned.")            ENOSYS
//
// A handler is a free function `Result<Word> SysX(kernel::Task&, typed arguments…)`, declared in its family's header.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include "abi/regs.h"
#include "abi/sysno.h"
#include "base/result.h"
#include "sentry/syscalls/arg_codec.h"

namespace rampart::kernel {
class Task;
}

namespace rampart::syscalls {

enum class Support : uint8_t { kAbsent, kFull, kPartial, kStub, kMissing };

struct SyscallEntry {
  using Handler = Result<Word> (*)(kernel::Task& task, const abi::UserRegs& regs);
  using Printer = void (*)(std::string& out, const abi::UserRegs& regs, mm::UserMemory& memory);
  abi::Sysno number{};
  Support support = Support::kAbsent;
  Handler handler = nullptr;   // null for stubs and missing ones
  Printer print = nullptr;
  Errno error{};               // of stubs and missing ones
  const char* note = "";
};

namespace internal {
template <auto Fn>
struct Thunk;
template <class... Args, Result<Word> (*Fn)(kernel::Task&, Args...)>
struct Thunk<Fn> {
  static Result<Word> Call(kernel::Task& task, const abi::UserRegs& regs) { return CallIndexed(task, regs, std::index_sequence_for<Args...>{}); }
  static void Print(std::string& out, const abi::UserRegs& regs, mm::UserMemory& memory) {
    PrintIndexed(out, regs, memory, std::index_sequence_for<Args...>{});
  }

 private:
  template <size_t... I>
  static Result<Word> CallIndexed(kernel::Task& task, [[maybe_unused]] const abi::UserRegs& regs, std::index_sequence<I...>) {
    return Fn(task, ArgCodec<Args>::Decode(abi::SyscallArg(regs, static_cast<int>(I)))...);
  }
  template <size_t... I>
  static void PrintIndexed([[maybe_unused]] std::string& out, [[maybe_unused]] const abi::UserRegs& regs,
                           [[maybe_unused]] mm::UserMemory& memory, std::index_sequence<I...>) {
    ((out += I == 0 ? "" : ", ", ArgCodec<Args>::Print(out, abi::SyscallArg(regs, static_cast<int>(I)), memory)), ...);
  }
};
}  // namespace internal

template <auto Fn>
constexpr SyscallEntry Full(abi::Sysno number) {
  return {number, Support::kFull, &internal::Thunk<Fn>::Call, &internal::Thunk<Fn>::Print, Errno{}, ""};
}
template <auto Fn>
constexpr SyscallEntry Partial(abi::Sysno number, const char* note) {
  return {number, Support::kPartial, &internal::Thunk<Fn>::Call, &internal::Thunk<Fn>::Print, Errno{}, note};
}
template <Errno kError>
constexpr SyscallEntry Stub(abi::Sysno number, const char* note) {
  return {number, Support::kStub, nullptr, nullptr, kError, note};
}
constexpr SyscallEntry Missing(abi::Sysno number, const char* note) {
  return {number, Support::kMissing, nullptr, nullptr, Errno::kENOSYS, note};
}

class SyscallTable {
 public:
  template <size_t N>
  explicit constexpr SyscallTable(const SyscallEntry (&entries)[N]) {
    for (const SyscallEntry& e : entries) {
      SyscallEntry& slot = entries_[static_cast<uint32_t>(e.number)];
      if (slot.support != Support::kAbsent) duplicate_ = true;
      slot = e;
    }
  }
  // Whether each number has an entry and none has two.
  constexpr bool CoversEvery() const {
    for (const abi::Sysno number : abi::kSysnos) {
      if (entries_[static_cast<uint32_t>(number)].support == Support::kAbsent) return false;
    }
    return !duplicate_;
  }
  // Null for a number that Linux does not have.
  constexpr const SyscallEntry* Find(uint64_t number) const {
    if (number > abi::kMaxSysno || entries_[number].support == Support::kAbsent) return nullptr;
    return &entries_[number];
  }

 private:
  std::array<SyscallEntry, abi::kMaxSysno + 1> entries_{};
  bool duplicate_ = false;
};

// The table that runs.
const SyscallTable& Amd64Table();

}  // namespace rampart::syscalls
