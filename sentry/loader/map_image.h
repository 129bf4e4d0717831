// Maps a checked ElfImage into an address space.
// Thread safety: the address space must not run yet.
#pragma once

#include "sentry/loader/elf_image.h"
#include "sentry/loader/loader.h"

namespace rampart::loader {

struct MappedImage {
  uint64_t bias = 0;        // what is added to the file's addresses
  UserAddr start_code = 0, end_code = 0, start_data = 0, end_data = 0;
  UserAddr end = 0;         // of the highest segment, not rounded
};

// Where an image that can go anywhere should go: at `base` (rounded to its alignment), or, with 0, wherever mmap finds room.
// Errors: ENOMEM (no room, limits), EINVAL, EPERM (below the lowest address), the file's errors.
Result<MappedImage> MapImage(mm::MemoryManager& mm, const Caller& caller, ExecutableFile& file, const ElfImage& image, UserAddr base);

}  // namespace rampart::loader
