// Line: one line of --strace: "[pid] name(arguments) = result (duration)". What goes in is printed at entry; from the first argument that
// the call fills on, at exit, as strace(1) does.
// Thread safety: one thread, on the stack of the system call.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "abi/regs.h"
#include "abi/types.h"
#include "base/result.h"
#include "base/time.h"
#include "sentry/mm/user_memory.h"

namespace rampart::strace {

class Line {
 public:
  // Prints all arguments by their C++ types (the system-call table's thunk); used for calls that have no row in formats.cc.
  using Fallback = void (*)(std::string& out, const abi::UserRegs& regs, mm::UserMemory& memory);

  Line(abi::Pid tid, uint32_t number, const abi::UserRegs& regs);
  void PrintEntry(mm::UserMemory& memory, Fallback fallback);
  void PrintExit(mm::UserMemory& memory, const Result<Word>& result, Nanos spent);
  const std::string& text() const { return text_; }

 private:
  abi::Pid tid_;
  uint32_t number_;
  std::array<uint64_t, 6> args_;
  size_t next_ = 0;   // first argument not yet printed
  std::string text_;
};

}  // namespace rampart::strace
