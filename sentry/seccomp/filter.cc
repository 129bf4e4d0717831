#include "sentry/seccomp/filter.h"

#include <array>
#include <cstring>
#include <utility>

namespace rampart::appfilter {
namespace {

using abi::SockFilter;

constexpr uint64_t kMaxInstructionsOfAll = 32768, kChargeOfOne = 4;
constexpr uint16_t kClassMask = 0x07, kOperationMask = 0xf0;

bool KnownAlu(uint16_t operation) {
  switch (operation) {
    case abi::kBpfAdd: case abi::kBpfSub: case abi::kBpfMul: case abi::kBpfDiv: case abi::kBpfOr: case abi::kBpfAnd:
    case abi::kBpfLsh: case abi::kBpfRsh: case abi::kBpfNeg: case abi::kBpfXor:
      return true;
    default:
      return false;
  }
}

bool CheckLoad(const SockFilter& i) {
  switch (i.code) {
    case abi::kBpfLd | abi::kBpfAbs:
      return i.k < sizeof(abi::SeccompData) && i.k % 4 == 0;
    case abi::kBpfLd | abi::kBpfImm: case abi::kBpfLdx | abi::kBpfImm:
    case abi::kBpfLd | abi::kBpfLen: case abi::kBpfLdx | abi::kBpfLen:
      return true;
    case abi::kBpfLd | abi::kBpfMem: case abi::kBpfLdx | abi::kBpfMem:
    case abi::kBpfSt: case abi::kBpfStx:
      return i.k < abi::kBpfMemoryWords;
    default:
      return false;
  }
}

bool CheckAlu(const SockFilter& i) {
  const auto operation = static_cast<uint16_t>(i.code & kOperationMask);
  if (!KnownAlu(operation) || (i.code & ~(kOperationMask | kClassMask | abi::kBpfX)) != 0) return false;
  if (operation == abi::kBpfNeg) return i.code == (abi::kBpfAlu | abi::kBpfNeg);
  const bool constant = (i.code & abi::kBpfX) == 0;
  if (constant && operation == abi::kBpfDiv) return i.k != 0;
  if (constant && (operation == abi::kBpfLsh || operation == abi::kBpfRsh)) return i.k < 32;
  return true;
}

// `left`: instructions after this one.
bool CheckJump(const SockFilter& i, size_t left) {
  switch (i.code & ~abi::kBpfX) {
    case abi::kBpfJmp | abi::kBpfJa:
      return (i.code & abi::kBpfX) == 0 && i.k < left;
    case abi::kBpfJmp | abi::kBpfJeq: case abi::kBpfJmp | abi::kBpfJgt: case abi::kBpfJmp | abi::kBpfJge: case abi::kBpfJmp | abi::kBpfJset:
      return i.jt < left && i.jf < left;
    default:
      return false;
  }
}

bool CheckInstruction(const SockFilter& i, size_t left) {
  switch (i.code & kClassMask) {
    case abi::kBpfLd: case abi::kBpfLdx: case abi::kBpfSt: case abi::kBpfStx:
      return CheckLoad(i);
    case abi::kBpfAlu:
      return CheckAlu(i);
    case abi::kBpfJmp:
      return CheckJump(i, left);
    case abi::kBpfRet:
      return i.code == (abi::kBpfRet | abi::kBpfK) || i.code == (abi::kBpfRet | abi::kBpfA);
    default:
      return i.code == (abi::kBpfMisc | abi::kBpfTax) || i.code == (abi::kBpfMisc | abi::kBpfTxa);
  }
}

// On every way to an instruction its scratch word was written (Linux: check_load_and_stores).
bool ScratchIsWritten(std::span<const SockFilter> program) {
  std::vector<uint16_t> known(program.size(), 0xffff);  // what is written on all ways to each instruction
  uint16_t written = 0;
  for (size_t pc = 0; pc < program.size(); ++pc) {
    const SockFilter& i = program[pc];
    written &= known[pc];
    switch (i.code & kClassMask) {
      case abi::kBpfSt: case abi::kBpfStx:
        written = static_cast<uint16_t>(written | 1u << i.k);
        break;
      case abi::kBpfLd: case abi::kBpfLdx:
        if ((i.code & 0xe0) == abi::kBpfMem && (written >> i.k & 1) == 0) return false;
        break;
      case abi::kBpfJmp: {
        const bool always = (i.code & kOperationMask) == abi::kBpfJa;
        known[pc + 1 + (always ? i.k : i.jt)] &= written;
        if (!always) known[pc + 1 + i.jf] &= written;
        written = 0xffff;
        break;
      }
      case abi::kBpfRet:
        written = 0xffff;
        break;
      default:
        break;
    }
  }
  return true;
}

struct Machine {
  uint32_t a = 0, x = 0;
  std::array<uint32_t, abi::kBpfMemoryWords> memory{};
};

uint32_t LoadWord(const abi::SeccompData& data, uint32_t offset) {
  uint32_t word = 0;
  std::memcpy(&word, std::as_bytes(std::span(&data, 1)).subspan(offset, sizeof(word)).data(), sizeof(word));
  return word;
}

// False: division by zero, which ends the program with 0.
bool Compute(Machine& m, uint16_t operation, uint32_t operand) {
  switch (operation) {
    case abi::kBpfAdd: m.a += operand; break;
    case abi::kBpfSub: m.a -= operand; break;
    case abi::kBpfMul: m.a *= operand; break;
    case abi::kBpfDiv:
      if (operand == 0) return false;
      m.a /= operand;
      break;
    case abi::kBpfOr: m.a |= operand; break;
    case abi::kBpfAnd: m.a &= operand; break;
    case abi::kBpfXor: m.a ^= operand; break;
    case abi::kBpfLsh: m.a <<= operand & 31; break;
    case abi::kBpfRsh: m.a >>= operand & 31; break;
    default: m.a = 0 - m.a; break;
  }
  return true;
}

bool Compare(uint32_t a, uint16_t operation, uint32_t operand) {
  switch (operation) {
    case abi::kBpfJeq: return a == operand;
    case abi::kBpfJgt: return a > operand;
    case abi::kBpfJge: return a >= operand;
    default: return (a & operand) != 0;
  }
}

void Move(Machine& m, const SockFilter& i, const abi::SeccompData& data) {
  switch (i.code) {
    case abi::kBpfLd | abi::kBpfAbs: m.a = LoadWord(data, i.k); break;
    case abi::kBpfLd | abi::kBpfImm: m.a = i.k; break;
    case abi::kBpfLd | abi::kBpfLen: m.a = sizeof(data); break;
    case abi::kBpfLd | abi::kBpfMem: m.a = m.memory[i.k]; break;
    case abi::kBpfLdx | abi::kBpfImm: m.x = i.k; break;
    case abi::kBpfLdx | abi::kBpfLen: m.x = sizeof(data); break;
    case abi::kBpfLdx | abi::kBpfMem: m.x = m.memory[i.k]; break;
    case abi::kBpfSt: m.memory[i.k] = m.a; break;
    case abi::kBpfStx: m.memory[i.k] = m.x; break;
    case abi::kBpfMisc | abi::kBpfTax: m.x = m.a; break;
    default: m.a = m.x; break;
  }
}

}  // namespace

Result<void> CheckProgram(std::span<const SockFilter> program) {
  if (program.empty() || program.size() > abi::kBpfMaxInstructions) return Errno::kEINVAL;
  for (size_t pc = 0; pc < program.size(); ++pc) {
    if (!CheckInstruction(program[pc], program.size() - pc - 1)) return Errno::kEINVAL;
  }
  if ((program.back().code & kClassMask) != abi::kBpfRet || !ScratchIsWritten(program)) return Errno::kEINVAL;
  return Ok();
}

uint32_t RunProgram(std::span<const SockFilter> program, const abi::SeccompData& data) {
  Machine m;
  for (size_t pc = 0; pc < program.size(); ++pc) {
    const SockFilter& i = program[pc];
    const uint32_t operand = (i.code & abi::kBpfX) != 0 ? m.x : i.k;
    const auto operation = static_cast<uint16_t>(i.code & kOperationMask);
    switch (i.code & kClassMask) {
      case abi::kBpfAlu:
        if (!Compute(m, operation, operand)) return 0;
        break;
      case abi::kBpfJmp:
        pc += operation == abi::kBpfJa ? i.k : Compare(m.a, operation, operand) ? i.jt : i.jf;
        break;
      case abi::kBpfRet:
        return (i.code & abi::kBpfA) != 0 ? m.a : i.k;
      default:
        Move(m, i, data);
        break;
    }
  }
  return abi::kSeccompRetKillProcess;  // not reached: the last instruction returns
}

Filter::Filter(std::vector<SockFilter> program, RefPtr<const Filter> previous)
    : program_(std::move(program)),
      previous_(std::move(previous)),
      count_(previous_ ? previous_->count_ + 1 : 1),
      instructions_(program_.size() + kChargeOfOne + (previous_ ? previous_->instructions_ : 0)) {}

Filter::~Filter() = default;

Result<Ref<Filter>> Filter::Create(std::vector<SockFilter> program, RefPtr<const Filter> previous) {
  TRY(CheckProgram(program));
  const uint64_t before = previous ? previous->instructions_ : 0;
  if (before + program.size() > kMaxInstructionsOfAll) return Errno::kENOMEM;
  return MakeRef<Filter>(std::move(program), std::move(previous));
}

uint32_t Filter::Evaluate(const abi::SeccompData& data) const {
  uint32_t answer = abi::kSeccompRetAllow;
  for (const Filter* filter = this; filter != nullptr; filter = filter->previous_.get()) {
    const uint32_t one = RunProgram(filter->program_, data);
    // The order of severity is that of the actions as signed numbers.
    const auto severity = [](uint32_t value) { return static_cast<int32_t>(value & abi::kSeccompRetActionFull); };
    if (severity(one) < severity(answer)) answer = one;
  }
  return answer;
}

bool Filter::Includes(const Filter* other) const {
  for (const Filter* filter = this; filter != nullptr; filter = filter->previous_.get()) {
    if (filter == other) return true;
  }
  return false;
}

Result<std::span<const abi::SockFilter>> Filter::ProgramAt(uint64_t index) const {
  if (index >= count_) return Errno::kENOENT;
  const Filter* filter = this;
  while (filter->count_ != index + 1) filter = filter->previous_.get();
  return std::span<const abi::SockFilter>(filter->program_);
}

}  // namespace rampart::appfilter
