#include "runner/seccomp/describe.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace rampart::seccomp {
namespace {

constexpr uint64_t kIntMask = 0xffff'ffff;

std::string Number(uint64_t value) { return value < 10 ? absl::StrCat(value) : absl::StrCat("0x", absl::Hex(value)); }

std::string DescribeCheck(const ArgCheck& check) {
  const bool is_int = (check.mask >> 32) == 0;
  const uint64_t whole = is_int ? kIntMask : ~uint64_t{0};
  std::string left = absl::StrCat("arg", check.arg);
  if (check.any_of.size() == 1 && check.any_of[0] == 0 && check.mask != whole) {
    return absl::StrCat(left, " ⊆ ", Number(whole & ~check.mask));
  }
  if (check.mask != whole) left = absl::StrCat("(", left, " & ", Number(check.mask), ")");
  if (check.any_of.size() == 1) return absl::StrCat(left, " = ", Number(check.any_of[0]));
  return absl::StrCat(left, " ∈ {",
                      absl::StrJoin(check.any_of, ", ", [](std::string* out, uint64_t value) { out->append(Number(value)); }), "}");
}

template <class Call>
std::vector<const Call*> SortedByName(const std::vector<Call>& calls) {
  std::vector<const Call*> sorted;
  for (const Call& call : calls) sorted.push_back(&call);
  std::sort(sorted.begin(), sorted.end(), [](const Call* a, const Call* b) {
    return std::string_view(abi::SysnoName(static_cast<uint32_t>(a->number))) <
           std::string_view(abi::SysnoName(static_cast<uint32_t>(b->number)));
  });
  return sorted;
}

}  // namespace

std::string DescribeRule(const Rule& rule) {
  return absl::StrJoin(rule, " and ", [](std::string* out, const ArgCheck& check) { out->append(DescribeCheck(check)); });
}

std::string Describe(const Policy& policy) {
  std::string out = "| system call | arguments | reason |\n|---|---|---|\n";
  for (const AllowedSyscall* call : SortedByName(policy.allowed)) {
    std::string rules = absl::StrJoin(call->rules, "; or ", [](std::string* text, const Rule& rule) { text->append(DescribeRule(rule)); });
    absl::StrAppend(&out, "| `", abi::SysnoName(static_cast<uint32_t>(call->number)), "` | ", rules.empty() ? "any" : rules, " | ",
                    call->reason, " |\n");
  }
  if (policy.refused.empty()) return out;
  absl::StrAppend(&out, "\nThese fail with an errno instead of ending the process:\n\n| system call | errno | reason |\n|---|---|---|\n");
  for (const RefusedSyscall* call : SortedByName(policy.refused)) {
    absl::StrAppend(&out, "| `", abi::SysnoName(static_cast<uint32_t>(call->number)), "` | ", ErrnoName(call->error), " | ", call->reason,
                    " |\n");
  }
  return out;
}

}  // namespace rampart::seccomp
