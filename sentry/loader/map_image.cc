#include "sentry/loader/map_image.h"

#include <algorithm>
#include <vector>

#include "base/safe_math.h"

namespace rampart::loader {
namespace {

using platform::Prot;

// Finds room of image.high - image.low bytes at the image's alignment.
Result<UserAddr> ChooseStart(mm::MemoryManager& mm, const Caller& caller, const ElfImage& image, UserAddr base) {
  const uint64_t span = image.high - image.low;
  const uint64_t slack = image.alignment - kPageSize;
  mm::MMapArgs args;
  args.length = TRY(CheckedAdd(span, slack, Errno::kENOMEM));
  args.prot = Prot::kNone;
  args.noreserve = true;
  if (base != 0) {
    args.address = base & ~(image.alignment - 1);
    args.fixed_noreplace = true;
  }
  // A reservation that touches no page tells where there is room; it makes way at once.
  const UserAddr found = TRY(mm.MMap(caller, args));
  TRY(mm.MUnmap(found, args.length));
  // The first address at or above `found` whose distance from the file's own addresses is a multiple of the alignment.
  const uint64_t wanted = image.low & (image.alignment - 1);
  return found + ((wanted - found) & (image.alignment - 1));
}

// A file that cannot be mapped: its bytes in anonymous memory.
Result<void> CopyIn(mm::MemoryManager& mm, const Caller& caller, ExecutableFile& file, const mm::MMapArgs& wanted, uint64_t bytes) {
  mm::MMapArgs args = wanted;
  args.prot = Prot::kReadWrite;
  const UserAddr at = TRY(mm.MMap(caller, args));
  std::vector<std::byte> buffer(std::min<uint64_t>(bytes, 256 << 10));
  uint64_t done = 0;
  while (done < bytes) {
    const size_t step = static_cast<size_t>(std::min<uint64_t>(buffer.size(), bytes - done));
    const size_t n = TRY(file.PRead(std::span(buffer).first(step), wanted.offset + done));
    if (n == 0) break;  // beyond the file: zero
    TRY(mm.CopyOutBytes(at + done, std::span(buffer).first(std::min(n, step))));
    done += std::min(n, step);
  }
  return mm.MProtect(at, args.length, wanted.prot, false);
}

Result<void> MapAnonymous(mm::MemoryManager& mm, const Caller& caller, UserAddr start, UserAddr end, Prot prot) {
  if (start >= end) return Ok();
  mm::MMapArgs args;
  args.address = start;
  args.length = end - start;
  args.prot = prot;
  args.fixed = true;
  TRY(mm.MMap(caller, args));
  return Ok();
}

Result<void> MapSegment(mm::MemoryManager& mm, const Caller& caller, ExecutableFile& file, const ElfSegment& s, uint64_t bias) {
  const UserAddr start = PageDown(s.address + bias);
  const UserAddr file_end = s.address + bias + s.file_size;
  const UserAddr end = s.address + bias + s.memory_size;
  if (s.file_size == 0) return MapAnonymous(mm, caller, start, PageUp(end), s.prot);
  const uint64_t in_page = s.address & kPageMask;
  mm::MMapArgs args;
  args.address = start;
  args.length = PageUp(file_end) - start;
  args.prot = s.prot;
  args.fixed = true;
  args.identity = file.identity();
  args.file = file.mappable();
  args.offset = s.offset - in_page;
  if (args.file) {
    TRY(mm.MMap(caller, args));
  } else {
    TRY(CopyIn(mm, caller, file, args, s.file_size + in_page));
  }
  if (end > file_end) {
    // The rest of the last page holds other bytes of the file. As Linux, only a writable segment is cleaned, and that to the end of the page:
    // ld.so allocates from what follows its bss and takes it to be zero.
    const uint64_t tail = PageUp(file_end) - file_end;
    if (tail != 0 && platform::Allows(s.prot, Prot::kWrite)) TRY(mm.ZeroOut(file_end, tail));
    TRY(MapAnonymous(mm, caller, PageUp(file_end), PageUp(end), s.prot));
  }
  return Ok();
}

}  // namespace

Result<MappedImage> MapImage(mm::MemoryManager& mm, const Caller& caller, ExecutableFile& file, const ElfImage& image, UserAddr base) {
  MappedImage mapped;
  if (image.position_independent) {
    mapped.bias = TRY(ChooseStart(mm, caller, image, base)) - image.low;
  } else {
    // Nothing may be in the way (the stack, a program's own interpreter).
    mm::MMapArgs probe;
    probe.address = image.low;
    probe.length = image.high - image.low;
    probe.fixed_noreplace = true;
    probe.noreserve = true;
    auto found = mm.MMap(caller, probe);
    if (!found.ok()) return found.error() == Errno::kEEXIST ? Errno::kENOMEM : found.error();
    TRY(mm.MUnmap(probe.address, probe.length));
  }
  mapped.start_code = UINT64_MAX;
  for (const ElfSegment& s : image.segments) {
    TRY(MapSegment(mm, caller, file, s, mapped.bias));
    const UserAddr start = s.address + mapped.bias;
    const UserAddr file_end = start + s.file_size;
    if (platform::Allows(s.prot, Prot::kExec)) {
      mapped.start_code = std::min(mapped.start_code, start);
      mapped.end_code = std::max(mapped.end_code, file_end);
    }
    mapped.start_data = std::max(mapped.start_data, start);
    mapped.end_data = std::max(mapped.end_data, file_end);
    mapped.end = std::max(mapped.end, start + s.memory_size);
  }
  if (mapped.start_code == UINT64_MAX) mapped.start_code = 0;
  return mapped;
}

}  // namespace rampart::loader
