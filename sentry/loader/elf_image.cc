#include "sentry/loader/elf_image.h"

#include <elf.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "abi/types.h"
#include "base/safe_math.h"
#include "sentry/loader/loader.h"

namespace rampart::loader {
namespace {

using platform::Prot;

// Linux: the table is at most one 64 KiB.
constexpr size_t kMaxHeaderBytes = 65536;

// All bytes or an error: `short_read` when the file ends first.
Result<void> ReadAll(ExecutableFile& file, std::span<std::byte> bytes, uint64_t offset, Errno short_read) {
  while (!bytes.empty()) {
    const size_t n = TRY(file.PRead(bytes, offset));
    if (n == 0) return short_read;
    bytes = bytes.subspan(std::min(n, bytes.size()));
    offset += n;
  }
  return Ok();
}

Prot ProtOf(uint32_t flags) {
  Prot prot = Prot::kNone;
  if ((flags & PF_R) != 0) prot = prot | Prot::kRead;
  if ((flags & PF_W) != 0) prot = prot | Prot::kWrite;
  if ((flags & PF_X) != 0) prot = prot | Prot::kExec;
  return prot;
}

Result<ElfSegment> CheckSegment(const Elf64_Phdr& h, uint64_t max_address) {
  if (h.p_filesz > h.p_memsz || h.p_memsz > max_address || h.p_vaddr > max_address - h.p_memsz) return Errno::kEINVAL;
  if (h.p_filesz != 0) {
    if ((h.p_offset & kPageMask) != (h.p_vaddr & kPageMask)) return Errno::kEINVAL;
    if (h.p_offset > static_cast<uint64_t>(INT64_MAX) - h.p_filesz - kPageSize) return Errno::kEINVAL;
  }
  return ElfSegment{h.p_vaddr, h.p_memsz, h.p_offset, h.p_filesz, ProtOf(h.p_flags)};
}

Result<std::string> ReadInterpreter(ExecutableFile& file, const Elf64_Phdr& h) {
  if (h.p_filesz > static_cast<uint64_t>(abi::kPathMax) || h.p_filesz < 2) return Errno::kENOEXEC;
  if (h.p_offset > static_cast<uint64_t>(INT64_MAX) - h.p_filesz) return Errno::kENOEXEC;
  std::string path(h.p_filesz, '\0');
  TRY(ReadAll(file, std::as_writable_bytes(std::span(path)), h.p_offset, Errno::kEIO));
  if (path.back() != '\0') return Errno::kENOEXEC;
  path.resize(std::strlen(path.c_str()));
  return path;
}

bool HeaderIsOurs(const Elf64_Ehdr& e) {
  return std::memcmp(e.e_ident, ELFMAG, SELFMAG) == 0 && e.e_ident[EI_CLASS] == ELFCLASS64 && e.e_ident[EI_DATA] == ELFDATA2LSB &&
         (e.e_type == ET_EXEC || e.e_type == ET_DYN) && e.e_machine == EM_X86_64;
}

Result<void> AddHeader(ElfImage& image, ExecutableFile& file, const Elf64_Phdr& h, uint64_t max_address) {
  switch (h.p_type) {
    case PT_LOAD: {
      if (h.p_memsz == 0) return Ok();
      const ElfSegment segment = TRY(CheckSegment(h, max_address));
      image.segments.push_back(segment);
      if (std::has_single_bit(h.p_align) && h.p_align <= (uint64_t{1} << 30)) image.alignment = std::max(image.alignment, h.p_align);
      return Ok();
    }
    case PT_INTERP:
      if (!image.interpreter) image.interpreter = TRY(ReadInterpreter(file, h));
      return Ok();
    case PT_GNU_STACK: image.executable_stack = (h.p_flags & PF_X) != 0; return Ok();
    default: return Ok();
  }
}

}  // namespace

bool LooksLikeElf(std::span<const std::byte> start) {
  return start.size() >= sizeof(Elf64_Ehdr) && std::memcmp(start.data(), ELFMAG, SELFMAG) == 0;
}

uint64_t ElfImage::HeadersAddress() const {
  for (const ElfSegment& s : segments) {
    if (s.file_size != 0 && header_offset >= s.offset && header_offset - s.offset < s.file_size) return s.address + (header_offset - s.offset);
  }
  return 0;
}

Result<ElfImage> ReadElf(ExecutableFile& file, Errno malformed, uint64_t max_address) {
  Elf64_Ehdr e;
  TRY(ReadAll(file, std::as_writable_bytes(std::span(&e, 1)), 0, malformed));
  if (!HeaderIsOurs(e) || e.e_phentsize != sizeof(Elf64_Phdr) || e.e_phnum == 0) return malformed;
  const size_t bytes = size_t{e.e_phnum} * sizeof(Elf64_Phdr);
  if (bytes > kMaxHeaderBytes || e.e_phoff > static_cast<uint64_t>(INT64_MAX) - bytes) return malformed;
  std::vector<Elf64_Phdr> headers(e.e_phnum);
  TRY(ReadAll(file, std::as_writable_bytes(std::span(headers)), e.e_phoff, malformed));

  ElfImage image;
  image.position_independent = e.e_type == ET_DYN;
  image.entry = e.e_entry;
  image.header_offset = e.e_phoff;
  image.header_count = e.e_phnum;
  for (const Elf64_Phdr& h : headers) TRY(AddHeader(image, file, h, max_address));
  if (image.segments.empty()) return malformed;
  image.low = UINT64_MAX;
  for (const ElfSegment& s : image.segments) {
    image.low = std::min(image.low, PageDown(s.address));
    image.high = std::max(image.high, PageUp(s.address + s.memory_size));
  }
  return image;
}

}  // namespace rampart::loader
