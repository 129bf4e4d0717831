// The system-call table, printed: docs/syscalls.md and --list-syscalls come from here.
// Thread safety: pure.
#pragma once

#include <cstdint>
#include <string>

namespace rampart::syscalls {

enum class TableFormat : uint8_t { kText, kMarkdown, kJson };

// Every system call of x86-64 in order of its number, with its support level and note; the text and the document also say how many of each there are.
std::string PrintSyscallTable(TableFormat format);

}  // namespace rampart::syscalls
