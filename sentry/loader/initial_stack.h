// The stack that a new program finds: strings, auxiliary vector, envp, argv, argc (System V ABI, AMD64 supplement §3.4.1; the order of
// the parts is Linux's create_elf_tables).
// Thread safety: pure, except that Build writes to the new address space.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "sentry/mm/memory_manager.h"

namespace rampart::loader {

struct InitialStack {
  // In.
  UserAddr top = 0;                    // end of the stack's mapping
  std::vector<std::string> argv, envp;
  std::string filename;                // AT_EXECFN
  std::array<std::byte, 16> random{};  // AT_RANDOM
  uint64_t shift = 0;                  // bytes of randomisation between strings and vectors, < 8192
  // Pairs without AT_RANDOM, AT_EXECFN, AT_PLATFORM and AT_NULL, which Build appends.
  std::vector<std::pair<uint64_t, uint64_t>> auxv;

  // Out.
  UserAddr stack_pointer = 0;
  UserAddr arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
  std::vector<uint64_t> full_auxv;     // with AT_NULL

  // Bytes that Build will need below `top`, at most.
  uint64_t SizeBound() const;
  // Writes it in one piece. EFAULT when the mapping is too small.
  Result<void> Build(mm::MemoryManager& mm);
};

}  // namespace rampart::loader
