#include "sentry/strace/line.h"

#include <cstdio>

#include "abi/sysno.h"
#include "sentry/strace/formats.h"

namespace rampart::strace {
namespace {

bool ReturnsAddress(uint32_t number) {
  switch (static_cast<abi::Sysno>(number)) {
    case abi::Sysno::mmap:
    case abi::Sysno::mremap:
    case abi::Sysno::brk:
    case abi::Sysno::shmat:
      return true;
    default:
      return false;
  }
}

const char* RestartName(Errno e) {
  switch (e) {
    case Errno::kERESTARTSYS: return "ERESTARTSYS";
    case Errno::kERESTARTNOINTR: return "ERESTARTNOINTR";
    case Errno::kERESTARTNOHAND: return "ERESTARTNOHAND";
    case Errno::kERESTART_RESTARTBLOCK: return "ERESTART_RESTARTBLOCK";
    default: return nullptr;
  }
}

}  // namespace

Line::Line(abi::Pid tid, uint32_t number, const abi::UserRegs& regs) : tid_(tid), number_(number) {
  for (size_t i = 0; i < args_.size(); ++i) args_[i] = abi::SyscallArg(regs, static_cast<int>(i));
}

void Line::PrintEntry(mm::UserMemory& memory, Fallback fallback) {
  text_ = "[" + std::to_string(tid_) + "] " + abi::SysnoName(number_) + "(";
  const std::array<Format, 6>* formats = FormatsOf(number_);
  if (formats == nullptr) {
    next_ = args_.size();
    if (fallback != nullptr) {
      abi::UserRegs regs{};
      regs.rdi = args_[0], regs.rsi = args_[1], regs.rdx = args_[2], regs.r10 = args_[3], regs.r8 = args_[4], regs.r9 = args_[5];
      return fallback(text_, regs, memory);
    }
    for (size_t i = 0; i < args_.size(); ++i) {
      text_ += i == 0 ? "" : ", ";
      PrintArgument(text_, Format::kHex, {args_, i, 0, memory});
    }
    return;
  }
  while (next_ < args_.size() && (*formats)[next_] != Format::kNone && !IsOutput((*formats)[next_])) {
    text_ += next_ == 0 ? "" : ", ";
    PrintArgument(text_, (*formats)[next_], {args_, next_, 0, memory});
    ++next_;
  }
}

void Line::PrintExit(mm::UserMemory& memory, const Result<Word>& result, Nanos spent) {
  const std::array<Format, 6>* formats = FormatsOf(number_);
  const int64_t value = result.ok() ? static_cast<int64_t>(*result) : -static_cast<int64_t>(result.error());
  for (; formats != nullptr && next_ < args_.size() && (*formats)[next_] != Format::kNone; ++next_) {
    text_ += next_ == 0 ? "" : ", ";
    PrintArgument(text_, (*formats)[next_], {args_, next_, value, memory});
  }
  text_ += ") = ";
  char number[96];
  if (!result.ok()) {
    const char* restart = RestartName(result.error());
    if (restart != nullptr) {
      (text_ += "? ") += restart;
    } else {
      std::snprintf(number, sizeof(number), "-1 %s (%s)", ErrnoName(result.error()), ErrnoText(result.error()));
      text_ += number;
    }
  } else if (ReturnsAddress(number_)) {
    std::snprintf(number, sizeof(number), "%#llx", static_cast<unsigned long long>(*result));
    text_ += number;
  } else {
    text_ += std::to_string(value);
  }
  std::snprintf(number, sizeof(number), " <%lld.%06lld>", static_cast<long long>(spent / kNanosPerSecond),
                static_cast<long long>(spent % kNanosPerSecond / 1000));
  text_ += number;
}

}  // namespace rampart::strace
