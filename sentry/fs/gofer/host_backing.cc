#include "sentry/fs/gofer/host_backing.h"

#include <sys/mman.h>

#include <cerrno>

#include "base/safe_math.h"

namespace rampart::fs {
namespace {

// Windows are mapped in aligned pieces of this size, so that a file is soon covered; address space costs nothing.
constexpr uint64_t kPiece = 16 << 20;

}  // namespace

HostBacking::~HostBacking() {
  for (const Mapped& m : windows_) ::munmap(m.memory, m.end - m.start);
}

Result<std::span<std::byte>> HostBacking::Window(uint64_t offset, uint64_t length, bool write) {
  if (!readable_ || (write && !writable_)) return Errno::kEACCES;
  const uint64_t end = TRY(CheckedAdd(offset, length));
  if (length == 0 || end > uint64_t{INT64_MAX} - kPiece) return Errno::kEINVAL;
  absl::MutexLock lock(&mutex_);
  for (const Mapped& m : windows_) {
    if (offset >= m.start && end <= m.end && (m.writable || !write)) return std::span(m.memory + (offset - m.start), length);
  }
  Mapped m{offset / kPiece * kPiece, (end + kPiece - 1) / kPiece * kPiece, nullptr, write};
  const int prot = PROT_READ | (write ? PROT_WRITE : 0);
  void* memory = ::mmap(nullptr, m.end - m.start, prot, MAP_SHARED, fd_.get(), static_cast<off_t>(m.start));
  if (memory == MAP_FAILED) return ErrnoFromHost(errno);
  m.memory = static_cast<std::byte*>(memory);
  windows_.push_back(m);
  return std::span(m.memory + (offset - m.start), length);
}

void HostBacking::NoteAccess() const {
  void* const memory = ::mmap(nullptr, kPageSize, PROT_READ, MAP_SHARED, fd_.get(), 0);
  if (memory != MAP_FAILED) ::munmap(memory, kPageSize);
}

}  // namespace rampart::fs
