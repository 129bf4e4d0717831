// ElfImage: an ELF64 x86-64 executable or interpreter, read and checked, not yet mapped.
// Thread safety: value type. Errors stated per function; whatever the file says, nothing here overflows or crashes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "platform/platform.h"

namespace rampart::loader {

class ExecutableFile;

// One PT_LOAD. Addresses are the file's own (before the bias). Checked: file_size <= memory_size, no overflow, offset and address agree modulo a
// page when there are bytes in the file, the end is below the highest address.
struct ElfSegment {
  uint64_t address;
  uint64_t memory_size;
  uint64_t offset;
  uint64_t file_size;
  platform::Prot prot;
};

struct ElfImage {
  bool position_independent = false;   // ET_DYN
  uint64_t entry = 0;
  uint64_t header_offset = 0;          // e_phoff
  uint16_t header_count = 0;           // e_phnum
  std::vector<ElfSegment> segments;    // at least one, in the file's order
  uint64_t low = 0;                    // page range that the segments span
  uint64_t high = 0;
  uint64_t alignment = 4096;           // largest p_align of the segments that is a power of two
  std::optional<std::string> interpreter;
  std::optional<bool> executable_stack;  // PT_GNU_STACK

  // Address of the program headers as mapped (0 if no segment holds them), before the bias.
  uint64_t HeadersAddress() const;
};

// Whether the file's first bytes are an ELF's at all.
bool LooksLikeElf(std::span<const std::byte> start);

// Reads and checks. `malformed` is what a file that is not such an image gives: ENOEXEC for the program, ELIBBAD for an interpreter.
// Other errors: EINVAL (impossible segments), EIO or the file's own errors. `max_address`: where the application's addresses end.
Result<ElfImage> ReadElf(ExecutableFile& file, Errno malformed, uint64_t max_address);

}  // namespace rampart::loader
