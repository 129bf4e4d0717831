// For tests: an "application" that touches memory the way a processor would: through what the platform has mapped, faulting into the
// MemoryManager when that does not allow the access.
#pragma once

#include <sys/mman.h>

#include <cstring>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "platform/testing/fake_platform.h"
#include "platform/testing/test_file.h"
#include "sentry/mm/memory_manager.h"

namespace rampart::mm::testing {

using platform::Prot;

inline Ref<MemoryFile> NewMemoryFile(uint64_t limit = 0) {
  auto fd = FdFromHost(memfd_create("test-memory", MFD_CLOEXEC));
  CHECK(fd.ok());
  auto file = MemoryFile::Create(std::move(fd).value(), limit);
  CHECK(file.ok());
  return std::move(file).value();
}

// A file that is mapped through a "donated descriptor".
class MappedFile final : public Mappable {
 public:
  MappedFile(uint64_t size, bool writable) : file_(MakeRef<platform::testing::TestFile>(size, false)), size_(size), writable_(writable) {}
  Result<Translation> Translate(FileRange required, FileRange optional, bool) override {
    if (required.start >= size_) return Errno::kEFAULT;
    optional.end = std::min(optional.end, (size_ + 4095) & ~uint64_t{4095});
    ++translations;
    return Translation{optional, file_, optional.start, writable_ ? Prot::kAll : Prot::kReadExec};
  }
  Result<void> AddMapping(MappingSpace&, FileRange r, bool shared, bool writable) override {
    mappings.emplace(r.start, r.end, shared, writable);
    return Ok();
  }
  void RemoveMapping(MappingSpace&, FileRange r, bool shared, bool writable) override {
    const auto it = mappings.find(std::tuple(r.start, r.end, shared, writable));
    CHECK(it != mappings.end());
    mappings.erase(it);
  }
  Result<void> Msync(FileRange) override {
    ++msyncs;
    return Ok();
  }
  std::byte* view() { return file_->view(); }
  int fd() const { return file_->fd(); }
  void set_size(uint64_t size) { size_ = size; }

  std::multiset<std::tuple<uint64_t, uint64_t, bool, bool>> mappings;
  int translations = 0;
  int msyncs = 0;

 private:
  Ref<platform::testing::TestFile> file_;
  uint64_t size_;
  bool writable_;
};

// One process.
class App {
 public:
  App(platform::testing::FakePlatform& platform, Ref<MemoryManager> mm, bool access_known)
      : mm_(std::move(mm)), access_known_(access_known) {
    (void)platform;
  }
  MemoryManager& mm() { return *mm_; }
  Ref<MemoryManager> ref() { return mm_; }
  platform::testing::FakeAddressSpace& space() { return static_cast<platform::testing::FakeAddressSpace&>(mm_->space()); }

  // Reads or writes 8 bytes as the application.
  Result<uint64_t> Read(UserAddr a) {
    uint64_t value = 0;
    std::byte* p = TRY(Touch(a, Prot::kRead));
    std::memcpy(&value, p, sizeof value);
    return value;
  }
  Result<void> Write(UserAddr a, uint64_t value) {
    std::byte* p = TRY(Touch(a, Prot::kWrite));
    std::memcpy(p, &value, sizeof value);
    return Ok();
  }
  Result<std::byte*> Touch(UserAddr a, Prot access) {
    for (int i = 0; i < 8; ++i) {
      space().ApplyNow();
      const auto m = space().Find(a);
      if (m && (access == Prot::kRead ? platform::Any(m->prot) : platform::Allows(m->prot, access))) {
        const auto window = TRY(m->file->Window(m->offset, 4096, access == Prot::kWrite));
        return window.data() + (a & 4095);
      }
      ++faults;
      TRY(mm_->HandleFault(a, access_known_ ? access : Prot::kNone, m.has_value(), 0));
    }
    return Errno::kELOOP;  // no progress: a defect
  }

  int faults = 0;

 private:
  Ref<MemoryManager> mm_;
  bool access_known_;
};

}  // namespace rampart::mm::testing
