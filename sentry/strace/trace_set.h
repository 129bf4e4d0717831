// TraceSet: which system calls --strace shows. Written as strace -e trace= has it: names and %classes, separated by commas; a leading '!'
// inverts the whole. Empty: all. Thread safety: a value.
#pragma once

#include <bitset>
#include <string_view>

#include "abi/sysno.h"
#include "absl/status/statusor.h"

namespace rampart::strace {

using TraceSet = std::bitset<abi::kMaxSysno + 1>;

// The classes: %file %desc %process %network %signal %memory %ipc %clock %creds. Errors: INVALID_ARGUMENT naming the unknown word.
absl::StatusOr<TraceSet> ParseTraceSet(std::string_view text);

}  // namespace rampart::strace
