#include "runner/seccomp/compile.h"

#include <linux/audit.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <tuple>

#include "base/check.h"

namespace rampart::seccomp {
namespace {

constexpr uint32_t kNumberOffset = offsetof(seccomp_data, nr);
constexpr uint32_t kArchOffset = offsetof(seccomp_data, arch);

constexpr uint32_t LowOffset(int arg) { return static_cast<uint32_t>(offsetof(seccomp_data, args)) + 8 * static_cast<uint32_t>(arg); }
constexpr uint32_t HighOffset(int arg) { return LowOffset(arg) + 4; }

// Builds a program from its end to its start, so that the target of every jump is known when the jump is made. A Node is the distance
// of an instruction from the end. Equal instructions with equal successors are one.
class Assembler {
 public:
  using Node = size_t;

  Node Return(uint32_t action) { return Shared(BPF_RET | BPF_K, action, 0, 0, /*jumps=*/false); }
  Node Load(uint32_t offset, Node next) { return Shared(BPF_LD | BPF_W | BPF_ABS, offset, next, next, false); }
  Node And(uint32_t mask, Node next) { return Shared(BPF_ALU | BPF_AND | BPF_K, mask, next, next, false); }
  Node IfEqual(uint32_t value, Node yes, Node no) { return Shared(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no, true); }
  Node IfAtLeast(uint32_t value, Node yes, Node no) { return Shared(BPF_JMP | BPF_JGE | BPF_K, value, yes, no, true); }

  // REQUIRES: `start` is what was made last, or is jumped to.
  Program Finish(Node start) {
    if (start + 1 != reversed_.size()) Jump(start);
    return Program(reversed_.rbegin(), reversed_.rend());
  }

 private:
  Node Shared(int code, uint32_t k, Node yes, Node no, bool jumps) {
    const auto key = std::make_tuple(code, k, yes, no);
    if (const auto found = made_.find(key); found != made_.end()) return found->second;
    const Node node = jumps ? Branch(code, k, yes, no) : Straight(code, k, yes);
    made_.emplace(key, node);
    return node;
  }
  Node Append(int code, uint32_t k, size_t jt, size_t jf) {
    reversed_.push_back({static_cast<uint16_t>(code), static_cast<uint8_t>(jt), static_cast<uint8_t>(jf), k});
    return reversed_.size() - 1;
  }
  Node Jump(Node target) { return Append(BPF_JMP | BPF_JA, static_cast<uint32_t>(reversed_.size() - 1 - target), 0, 0); }
  Node Straight(int code, uint32_t k, Node next) {
    if ((code & 7) != BPF_RET && next + 1 != reversed_.size()) Jump(next);
    return Append(code, k, 0, 0);
  }
  Node Branch(int code, uint32_t k, Node yes, Node no) {
    // A conditional jump reaches 255 instructions; farther ones go through an unconditional jump. Each detour moves us by one.
    while (reversed_.size() - 1 - yes > 255) yes = Jump(yes);
    while (reversed_.size() - 1 - no > 255) no = Jump(no);
    while (reversed_.size() - 1 - yes > 255) yes = Jump(yes);
    return Append(code, k, reversed_.size() - 1 - yes, reversed_.size() - 1 - no);
  }

  Program reversed_;
  std::map<std::tuple<int, uint32_t, Node, Node>, Node> made_;
};

using Node = Assembler::Node;

Node CompileHalf(Assembler& out, uint32_t offset, uint32_t mask, uint32_t value, Node pass, Node fail) {
  Node node = out.IfEqual(value, pass, fail);
  if (mask != ~uint32_t{0}) node = out.And(mask, node);
  return out.Load(offset, node);
}

Node CompileCheck(Assembler& out, const ArgCheck& check, Node pass, Node fail) {
  const auto low_mask = static_cast<uint32_t>(check.mask);
  const auto high_mask = static_cast<uint32_t>(check.mask >> 32);
  if (high_mask == 0) {
    Node node = fail;
    for (auto value = check.any_of.rbegin(); value != check.any_of.rend(); ++value) {
      node = out.IfEqual(static_cast<uint32_t>(*value), pass, node);
    }
    if (low_mask != ~uint32_t{0}) node = out.And(low_mask, node);
    return out.Load(LowOffset(check.arg), node);
  }
  Node node = fail;
  for (auto value = check.any_of.rbegin(); value != check.any_of.rend(); ++value) {
    const Node low = low_mask == 0 ? pass
                                   : CompileHalf(out, LowOffset(check.arg), low_mask, static_cast<uint32_t>(*value), pass, node);
    node = CompileHalf(out, HighOffset(check.arg), high_mask, static_cast<uint32_t>(*value >> 32), low, node);
  }
  return node;
}

Node CompileRules(Assembler& out, const std::vector<Rule>& rules, Node allow, Node deny) {
  if (rules.empty()) return allow;
  Node node = deny;
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    const Node fail = node;
    Node pass = allow;
    for (auto check = rule->rbegin(); check != rule->rend(); ++check) pass = CompileCheck(out, *check, pass, fail);
    node = pass;
  }
  return node;
}

struct Target {
  uint32_t number;
  Node node;
};

// Binary search in targets (sorted by number).
Node CompileSearch(Assembler& out, std::span<const Target> targets, Node deny) {
  if (targets.size() <= 3) {
    Node node = deny;
    for (const Target& target : targets) node = out.IfEqual(target.number, target.node, node);
    return node;
  }
  const size_t half = targets.size() / 2;
  const Node upper = CompileSearch(out, targets.subspan(half), deny);
  const Node lower = CompileSearch(out, targets.first(half), deny);
  return out.IfAtLeast(targets[half].number, upper, lower);
}

Result<uint32_t> LoadWord(const seccomp_data& call, uint32_t offset) {
  if (offset % 4 != 0 || offset + 4 > sizeof(call)) return Errno::kEINVAL;
  uint32_t word = 0;
  __builtin_memcpy(&word, reinterpret_cast<const char*>(&call) + offset, sizeof(word));  // SAFETY: bounds checked above
  return word;
}

}  // namespace

Program Compile(const Policy& policy) {
  CHECK(FindDefect(policy).empty());
  Assembler out;
  const Node deny = out.Return(SECCOMP_RET_KILL_PROCESS);
  const Node allow = out.Return(SECCOMP_RET_ALLOW);
  std::vector<Target> targets;
  for (const AllowedSyscall& call : policy.allowed) {
    targets.push_back({static_cast<uint32_t>(call.number), CompileRules(out, call.rules, allow, deny)});
  }
  const size_t hot = std::min(kHotCalls, targets.size());
  std::vector<Target> cold(targets.begin() + static_cast<ptrdiff_t>(hot), targets.end());
  for (const RefusedSyscall& call : policy.refused) {
    const auto error = static_cast<uint32_t>(call.error) & SECCOMP_RET_DATA;
    cold.push_back({static_cast<uint32_t>(call.number), out.Return(SECCOMP_RET_ERRNO | error)});
  }
  std::sort(cold.begin(), cold.end(), [](const Target& a, const Target& b) { return a.number < b.number; });
  Node node = CompileSearch(out, cold, deny);
  for (size_t i = hot; i-- > 0;) node = out.IfEqual(targets[i].number, targets[i].node, node);
  node = out.Load(kNumberOffset, node);
  node = out.IfEqual(AUDIT_ARCH_X86_64, node, deny);
  node = out.Load(kArchOffset, node);
  Program program = out.Finish(node);
  CHECK(program.size() <= BPF_MAXINSNS);
  return program;
}

Result<uint32_t> Evaluate(std::span<const sock_filter> program, const seccomp_data& call) {
  uint32_t accumulator = 0;
  // Jumps only go forward, so this ends.
  for (size_t pc = 0; pc < program.size(); ++pc) {
    const sock_filter& insn = program[pc];
    bool condition = false;
    switch (insn.code) {
      case BPF_LD | BPF_W | BPF_ABS: accumulator = TRY(LoadWord(call, insn.k)); continue;
      case BPF_ALU | BPF_AND | BPF_K: accumulator &= insn.k; continue;
      case BPF_RET | BPF_K: return insn.k;
      case BPF_JMP | BPF_JA: pc += insn.k; continue;
      case BPF_JMP | BPF_JEQ | BPF_K: condition = accumulator == insn.k; break;
      case BPF_JMP | BPF_JGE | BPF_K: condition = accumulator >= insn.k; break;
      default: return Errno::kEINVAL;
    }
    pc += condition ? insn.jt : insn.jf;
  }
  return Errno::kEINVAL;
}

seccomp_data MakeCall(abi::Sysno number, std::span<const uint64_t> args) {
  CHECK(args.size() <= 6);
  seccomp_data call{};
  call.nr = static_cast<int>(number);
  call.arch = AUDIT_ARCH_X86_64;
  for (size_t i = 0; i < args.size(); ++i) call.args[i] = args[i];
  return call;
}

}  // namespace rampart::seccomp
