// The bytes of an ELF core: its notes and headers (elf(5), Linux include/linux/elfcore.h). No I/O.
// Thread safety: pure functions and values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "abi/signal.h"
#include "sentry/kernel/core_dump.h"
#include "sentry/mm/memory_manager.h"

namespace rampart::kernel {

// What the notes say of the process.
struct CoreProcess {
  int pid = 0, parent = 0, group = 0, session = 0;
  uint32_t uid = 0, gid = 0;
  int nice = 0;
  std::string name, arguments;
  std::vector<uint64_t> auxv;
};

// A range of memory: `dumped` bytes of it are in the file.
struct CoreSegment {
  mm::VmaInfo vma;
  uint64_t dumped = 0;
};

std::vector<std::byte> CoreNotes(const CoreProcess& process, const std::vector<CoreThread>& threads, const std::vector<CoreSegment>& segments,
                                 const abi::SigInfo& info);
// ELF header and program headers; `data` is where the segments begin in the file.
std::vector<std::byte> CoreHeaders(const std::vector<CoreSegment>& segments, size_t notes_size, uint64_t& data);

}  // namespace rampart::kernel
