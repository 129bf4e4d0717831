// A policy for people: the tables of docs/seccomp.md.
#pragma once

#include <string>

#include "runner/seccomp/policy.h"

namespace rampart::seccomp {

// A Markdown table: call, arguments, reason; sorted by name. Refused calls follow in a second table.
std::string Describe(const Policy& policy);

// "flags & ~0x3 = 0": one rule.
std::string DescribeRule(const Rule& rule);

}  // namespace rampart::seccomp
