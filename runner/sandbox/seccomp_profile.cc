#include "runner/sandbox/seccomp_profile.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <map>
#include <optional>

#include "abi/sysno.h"
#include "absl/strings/str_cat.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

using sentry::boot::FilterInstruction;
using Code = std::vector<FilterInstruction>;

constexpr uint32_t kX32Bit = 0x40000000;
constexpr size_t kMostInstructions = 4096;  // BPF_MAXINSNS
constexpr uint32_t kMostErrno = 4095;

absl::Status Bad(const std::string& path, const std::string& what) { return UsageError(absl::StrCat("$.linux.seccomp", path, ": ", what)); }

absl::StatusOr<uint32_t> ActionOf(const std::string& path, const std::string& name, std::optional<uint32_t> errno_ret) {
  const uint32_t data = errno_ret.value_or(EPERM);
  if (data > kMostErrno) return Bad(path, absl::StrCat("errnoRet must be at most ", kMostErrno));
  if (name == "SCMP_ACT_ALLOW") return SECCOMP_RET_ALLOW;
  if (name == "SCMP_ACT_ERRNO") return SECCOMP_RET_ERRNO | data;
  if (name == "SCMP_ACT_KILL" || name == "SCMP_ACT_KILL_THREAD") return SECCOMP_RET_KILL_THREAD;
  if (name == "SCMP_ACT_KILL_PROCESS") return SECCOMP_RET_KILL_PROCESS;
  if (name == "SCMP_ACT_TRAP") return SECCOMP_RET_TRAP;
  if (name == "SCMP_ACT_LOG") return SECCOMP_RET_LOG;
  if (name == "SCMP_ACT_TRACE") return SECCOMP_RET_TRACE | data;
  if (name == "SCMP_ACT_NOTIFY") return Bad(path, "SCMP_ACT_NOTIFY is not there yet");
  return Bad(path, absl::StrCat("'", name, "' is not an action (SCMP_ACT_ALLOW, _ERRNO, _KILL, _KILL_PROCESS, _KILL_THREAD, _TRAP, _TRACE, _LOG are)"));
}

const std::map<std::string, uint32_t>& Numbers() {
  static const std::map<std::string, uint32_t> numbers = [] {
    std::map<std::string, uint32_t> all;
    for (uint32_t number = 0; number <= abi::kMaxSysno; ++number) {
      const std::string name(abi::SysnoName(number));
      if (!name.empty()) all.emplace(name, number);
    }
    return all;
  }();
  return numbers;
}

struct Rule {
  uint32_t action = 0;
  std::vector<oci::SeccompArg> args;
};

// What is done with one call: rules with arguments in order, then `otherwise`.
struct Handling {
  std::vector<Rule> rules;
  std::optional<uint32_t> otherwise;
};

FilterInstruction Statement(uint16_t code, uint32_t value) { return {code, 0, 0, value}; }
FilterInstruction Return(uint32_t action) { return Statement(BPF_RET | BPF_K, action); }

// Jumps of one condition whose targets are not known yet: to where it does not hold.
struct Failing {
  size_t at;
  bool when_true;
};

void Jump(Code& code, uint16_t test, uint32_t value, uint8_t if_true, uint8_t if_false) {
  code.push_back({static_cast<uint16_t>(BPF_JMP | test | BPF_K), if_true, if_false, value});
}

absl::Status Compare(const std::string& path, const oci::SeccompArg& arg, Code& code, std::vector<Failing>& failing) {
  const auto low = static_cast<uint32_t>(offsetof(seccomp_data, args) + 8 * arg.index);
  const uint32_t high = low + 4;
  const auto load = [&](uint32_t offset) { code.push_back(Statement(BPF_LD | BPF_W | BPF_ABS, offset)); };
  const auto mask = [&](uint32_t value) { code.push_back(Statement(BPF_ALU | BPF_AND | BPF_K, value)); };
  const auto fail = [&](bool when_true) { failing.push_back({code.size() - 1, when_true}); };
  const bool masked = arg.op == "SCMP_CMP_MASKED_EQ";
  const uint64_t wanted = masked ? arg.value_two : arg.value;
  const auto wanted_high = static_cast<uint32_t>(wanted >> 32);
  const auto wanted_low = static_cast<uint32_t>(wanted);
  load(high);
  if (masked) mask(static_cast<uint32_t>(arg.value >> 32));
  if (masked || arg.op == "SCMP_CMP_EQ") {
    Jump(code, BPF_JEQ, wanted_high, 0, 0), fail(false);
    load(low);
    if (masked) mask(static_cast<uint32_t>(arg.value));
    Jump(code, BPF_JEQ, wanted_low, 0, 0), fail(false);
  } else if (arg.op == "SCMP_CMP_NE") {
    Jump(code, BPF_JEQ, wanted_high, 0, 2);
    load(low);
    Jump(code, BPF_JEQ, wanted_low, 0, 0), fail(true);
  } else if (arg.op == "SCMP_CMP_GT" || arg.op == "SCMP_CMP_GE") {
    Jump(code, BPF_JGT, wanted_high, 3, 0);
    Jump(code, BPF_JEQ, wanted_high, 0, 0), fail(false);
    load(low);
    Jump(code, arg.op == "SCMP_CMP_GT" ? BPF_JGT : BPF_JGE, wanted_low, 0, 0), fail(false);
  } else if (arg.op == "SCMP_CMP_LT" || arg.op == "SCMP_CMP_LE") {
    Jump(code, BPF_JGT, wanted_high, 0, 0), fail(true);
    Jump(code, BPF_JEQ, wanted_high, 0, 2);
    load(low);
    Jump(code, arg.op == "SCMP_CMP_LT" ? BPF_JGE : BPF_JGT, wanted_low, 0, 0), fail(true);
  } else {
    return Bad(path, absl::StrCat("'", arg.op, "' is not a comparison (SCMP_CMP_EQ, _NE, _LT, _LE, _GT, _GE, _MASKED_EQ are)"));
  }
  return absl::OkStatus();
}

// One rule: returns its action, or falls through to what follows.
absl::Status EmitRule(const std::string& path, const Rule& rule, Code& out) {
  Code code;
  std::vector<Failing> failing;
  for (const oci::SeccompArg& arg : rule.args) TRY_STATUS(Compare(path, arg, code, failing));
  code.push_back(Return(rule.action));
  for (const Failing& jump : failing) {
    const size_t distance = code.size() - jump.at - 1;
    (jump.when_true ? code[jump.at].if_true : code[jump.at].if_false) = static_cast<uint8_t>(distance);
  }
  out.insert(out.end(), code.begin(), code.end());
  return absl::OkStatus();
}

// Entries with several conditions on one argument are as many rules: the alternatives.
std::vector<Rule> Alternatives(uint32_t action, const std::vector<oci::SeccompArg>& args) {
  std::map<uint32_t, int> uses;
  for (const oci::SeccompArg& arg : args) ++uses[arg.index];
  const bool alternatives = std::any_of(uses.begin(), uses.end(), [](const auto& use) { return use.second > 1; });
  if (!alternatives) return {Rule{action, args}};
  std::vector<Rule> rules;
  for (const oci::SeccompArg& arg : args) rules.push_back({action, {arg}});
  return rules;
}

// Consecutive numbers that are treated alike.
struct Segment {
  uint32_t first = 0;
  Code code;
};

bool SameCode(const Code& a, const Code& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const FilterInstruction& x, const FilterInstruction& y) {
    return x.code == y.code && x.if_true == y.if_true && x.if_false == y.if_false && x.value == y.value;
  });
}

// A search tree with the number in the accumulator.
Code Tree(const std::vector<Segment>& segments, size_t begin, size_t end) {
  if (end - begin == 1) return segments[begin].code;
  const size_t middle = begin + (end - begin) / 2;
  const Code left = Tree(segments, begin, middle);
  const Code right = Tree(segments, middle, end);
  Code out;
  Jump(out, BPF_JGE, segments[middle].first, 0, 1);
  out.push_back(Statement(BPF_JMP | BPF_JA, static_cast<uint32_t>(left.size())));
  out.insert(out.end(), left.begin(), left.end());
  out.insert(out.end(), right.begin(), right.end());
  return out;
}

absl::Status CheckRest(const oci::Seccomp& profile) {
  if (!profile.listener_path.empty()) return Bad(".listenerPath", "notifications are not there yet");
  if (!profile.architectures.empty() &&
      std::find(profile.architectures.begin(), profile.architectures.end(), "SCMP_ARCH_X86_64") == profile.architectures.end()) {
    return Bad(".architectures", "SCMP_ARCH_X86_64, the sandbox's, is not among them");
  }
  static constexpr const char* kFlags[] = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                                           "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"};
  for (const std::string& flag : profile.flags) {
    if (std::find(std::begin(kFlags), std::end(kFlags), flag) == std::end(kFlags)) return Bad(".flags", absl::StrCat("'", flag, "' is not a flag"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<uint32_t, Handling>> Collect(const oci::Seccomp& profile) {
  std::map<uint32_t, Handling> calls;
  for (size_t i = 0; i < profile.syscalls.size(); ++i) {
    const oci::SeccompSyscall& entry = profile.syscalls[i];
    const std::string path = absl::StrCat(".syscalls[", i, "]");
    if (entry.names.empty()) return Bad(path, "names must name a system call");
    const uint32_t action = TRY_STATUS(ActionOf(path + ".action", entry.action, entry.errno_ret));
    for (const std::string& name : entry.names) {
      const auto number = Numbers().find(name);
      if (number == Numbers().end()) continue;
      Handling& handling = calls[number->second];
      if (entry.args.empty()) {
        if (!handling.otherwise.has_value()) handling.otherwise = action;
        continue;
      }
      for (Rule& rule : Alternatives(action, entry.args)) handling.rules.push_back(std::move(rule));
    }
  }
  return calls;
}

}  // namespace

absl::StatusOr<Code> CompileProfile(const oci::Seccomp& profile) {
  TRY_STATUS(CheckRest(profile));
  const uint32_t otherwise = TRY_STATUS(ActionOf(".defaultAction", profile.default_action, profile.default_errno_ret));
  const std::map<uint32_t, Handling> calls = TRY_STATUS(Collect(profile));
  const bool beyond_is_unknown = (otherwise & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO && !calls.empty();
  const uint32_t last = calls.empty() ? 0 : calls.rbegin()->first;

  std::vector<Segment> segments;
  const auto add = [&](uint32_t first, Code code) {
    if (!segments.empty() && SameCode(segments.back().code, code)) return;
    segments.push_back({first, std::move(code)});
  };
  uint32_t next = 0;
  for (const auto& [number, handling] : calls) {
    if (number > next) add(next, {Return(otherwise)});
    Code code;
    for (const Rule& rule : handling.rules) TRY_STATUS(EmitRule(".syscalls", rule, code));
    code.push_back(Return(handling.otherwise.value_or(otherwise)));
    add(number, std::move(code));
    next = number + 1;
  }
  add(next, {Return(beyond_is_unknown ? SECCOMP_RET_ERRNO | ENOSYS : otherwise)});
  if (beyond_is_unknown && last < kX32Bit) add(kX32Bit, {Return(otherwise)});

  Code program = {Statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
                  {BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64},
                  Return(SECCOMP_RET_KILL_PROCESS),
                  Statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  const Code tree = Tree(segments, 0, segments.size());
  program.insert(program.end(), tree.begin(), tree.end());
  if (program.size() > kMostInstructions) {
    return Bad("", absl::StrCat("the profile needs ", program.size(), " instructions; Linux allows ", kMostInstructions));
  }
  return program;
}

}  // namespace rampart::runner
