#include "platform/testing/test_file.h"

#include <sys/mman.h>
#include <unistd.h>

namespace rampart::platform::testing {

std::atomic<int> TestFile::live_{0};

TestFile::TestFile(uint64_t size, bool stable) : size_(size), stable_(stable), fd_(memfd_create("test", MFD_CLOEXEC)) {
  CHECK(fd_.valid() && ftruncate(fd_.get(), static_cast<off_t>(size)) == 0);
  void* view = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  CHECK(view != MAP_FAILED);
  view_ = static_cast<std::byte*>(view);
  live_.fetch_add(1, std::memory_order_acq_rel);
}

TestFile::~TestFile() {
  munmap(view_, size_);
  live_.fetch_sub(1, std::memory_order_acq_rel);
}

Result<std::span<std::byte>> TestFile::Window(uint64_t offset, uint64_t length, bool /*write*/) {
  if (offset > size_ || length > size_ - offset) return Errno::kEINVAL;
  return std::span<std::byte>(view_ + offset, length);
}

}  // namespace rampart::platform::testing
