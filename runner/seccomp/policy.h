// A seccomp policy as a value: which system calls a process may make, with which arguments, and why. It is compiled to BPF by
// compile.h, explained by describe.h, and evaluated on made-up calls in tests.
//
// Model. What is not named kills the process. An allowed call has a list of rules, of which one must hold; a rule is a list of checks,
// of which all must hold. A call may also be *refused*: it fails with an errno, which is for what libraries try before they fall back.
// Pointers are never checked (the kernel reads them after us); only values are.
//
// Thread safety: values.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "abi/sysno.h"
#include "base/errno.h"

namespace rampart::seccomp {

// (argument & mask) is one of any_of. Arguments are 64 bits; an int argument is checked with a mask of at most 32 bits, because the
// upper half of its register is undefined.
struct ArgCheck {
  int arg = 0;  // 0..5
  uint64_t mask = ~uint64_t{0};
  std::vector<uint64_t> any_of;
};

// The int argument equals one of `values`.
ArgCheck Int(int arg, std::vector<uint64_t> values);
// The long argument equals one of `values`.
ArgCheck Long(int arg, std::vector<uint64_t> values);
// The int argument has no bits beyond `allowed`.
ArgCheck IntBits(int arg, uint32_t allowed);
// The long argument has no bits beyond `allowed`.
ArgCheck LongBits(int arg, uint64_t allowed);

using Rule = std::vector<ArgCheck>;

struct AllowedSyscall {
  abi::Sysno number{};
  const char* reason = "";  // what the process needs it for, in a few words
  std::vector<Rule> rules = {};  // empty: any arguments
};

struct RefusedSyscall {
  abi::Sysno number{};
  Errno error{};
  const char* reason = "";
};

struct Policy {
  std::string name;  // "sentry", "gofer"
  // The first few are found first by the filter: hottest first. See compile.h.
  std::vector<AllowedSyscall> allowed;
  std::vector<RefusedSyscall> refused;
};

// The entry for `number`, or null.
const AllowedSyscall* Find(const Policy& policy, abi::Sysno number);

// Adds `extra`: a number that is already there gets the extra rules as alternatives (no rules: any arguments), and its reason.
void Merge(Policy& policy, std::span<const AllowedSyscall> extra);

// Why the policy is not well-formed (a number twice, an argument index out of range, a value outside its mask, an empty rule or set of
// values), or "".
std::string FindDefect(const Policy& policy);

}  // namespace rampart::seccomp
