#include "runner/seccomp/policy.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

namespace rampart::seccomp {
namespace {

constexpr uint64_t kIntMask = 0xffff'ffff;

std::string DefectOf(const AllowedSyscall& call) {
  const char* name = abi::SysnoName(static_cast<uint32_t>(call.number));
  if (call.reason == nullptr || *call.reason == '\0') return absl::StrCat(name, " has no reason");
  for (const Rule& rule : call.rules) {
    if (rule.empty()) return absl::StrCat(name, " has a rule without checks");
    for (const ArgCheck& check : rule) {
      if (check.arg < 0 || check.arg > 5) return absl::StrCat(name, " checks argument ", check.arg);
      if (check.any_of.empty()) return absl::StrCat(name, " has a check that nothing passes");
      for (const uint64_t value : check.any_of) {
        if ((value & ~check.mask) != 0) return absl::StrCat(name, " compares with a value outside the mask");
      }
    }
  }
  return "";
}

}  // namespace

ArgCheck Int(int arg, std::vector<uint64_t> values) {
  for (uint64_t& value : values) value &= kIntMask;
  return {arg, kIntMask, std::move(values)};
}

ArgCheck Long(int arg, std::vector<uint64_t> values) { return {arg, ~uint64_t{0}, std::move(values)}; }

ArgCheck IntBits(int arg, uint32_t allowed) { return {arg, kIntMask & ~uint64_t{allowed}, {0}}; }

ArgCheck LongBits(int arg, uint64_t allowed) { return {arg, ~allowed, {0}}; }

const AllowedSyscall* Find(const Policy& policy, abi::Sysno number) {
  for (const AllowedSyscall& call : policy.allowed) {
    if (call.number == number) return &call;
  }
  return nullptr;
}

void Merge(Policy& policy, std::span<const AllowedSyscall> extra) {
  for (const AllowedSyscall& call : extra) {
    AllowedSyscall* known = nullptr;
    for (AllowedSyscall& candidate : policy.allowed) {
      if (candidate.number == call.number) known = &candidate;
    }
    if (known == nullptr) {
      policy.allowed.push_back(call);
    } else if (known->rules.empty() || call.rules.empty()) {
      known->rules.clear();
    } else {
      known->rules.insert(known->rules.end(), call.rules.begin(), call.rules.end());
    }
  }
}

std::string FindDefect(const Policy& policy) {
  absl::flat_hash_set<uint32_t> seen;
  for (const AllowedSyscall& call : policy.allowed) {
    const auto number = static_cast<uint32_t>(call.number);
    if (!seen.insert(number).second) return absl::StrCat(abi::SysnoName(number), " is there twice");
    if (std::string defect = DefectOf(call); !defect.empty()) return defect;
  }
  for (const RefusedSyscall& call : policy.refused) {
    const auto number = static_cast<uint32_t>(call.number);
    if (!seen.insert(number).second) return absl::StrCat(abi::SysnoName(number), " is there twice");
    if (call.error == Errno{}) return absl::StrCat(abi::SysnoName(number), " is refused without an errno");
  }
  return "";
}

}  // namespace rampart::seccomp
