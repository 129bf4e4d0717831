// Where things go in a new address space, with Linux's ranges of randomisation (arch/x86/mm/mmap.c, fs/binfmt_elf.c).
// Thread safety: pure.
#pragma once

#include <array>
#include <cstdint>

#include "base/result.h"

namespace rampart::loader {

// Random numbers of one exec, drawn at once.
struct ExecRandom {
  uint64_t mmap = 0, stack = 0, pie = 0, brk = 0, shift = 0;
  std::array<std::byte, 16> auxv{};

  // All but auxv are zero when `layout` is false. EIO: the host gives no random bytes.
  static Result<ExecRandom> Draw(bool layout);
};

struct AddressLayout {
  uint64_t stack_top;    // page aligned
  uint64_t mmap_base;    // mmap works downward from here
  uint64_t pie_base;     // for ET_DYN with an interpreter, before alignment
  uint64_t brk_slack;    // bytes to skip before the heap, page aligned
  uint64_t stack_shift;  // bytes, < 8192, multiple of 16
};

AddressLayout ChooseLayout(const ExecRandom& random, uint64_t max_address, uint64_t stack_limit);

}  // namespace rampart::loader
