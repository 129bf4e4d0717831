// For tests: host files and byte strings as ExecutableFiles.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "sentry/loader/loader.h"

namespace rampart::loader::testing {

// A host file as the Gofer would donate it.
class HostBacking final : public platform::BackingFile {
 public:
  explicit HostBacking(UniqueFd fd) : fd_(std::move(fd)) {
    struct stat st {};
    CHECK(fstat(fd_.get(), &st) == 0);
    size_ = (static_cast<uint64_t>(st.st_size) + 4095) & ~uint64_t{4095};
    void* view = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd_.get(), 0);
    CHECK(view != MAP_FAILED);
    view_ = static_cast<std::byte*>(view);
  }
  int fd() const override { return fd_.get(); }
  Result<std::span<std::byte>> Window(uint64_t offset, uint64_t length, bool write) override {
    if (write || offset > size_ || length > size_ - offset) return Errno::kEINVAL;
    return std::span(view_ + offset, length);
  }
  bool stable() const override { return false; }
  uint64_t size() const { return size_; }

 private:
  ~HostBacking() override { munmap(view_, size_); }
  UniqueFd fd_;
  uint64_t size_ = 0;
  std::byte* view_ = nullptr;
};

class HostMappable final : public mm::Mappable {
 public:
  explicit HostMappable(Ref<HostBacking> backing) : backing_(std::move(backing)) {}
  Result<mm::Translation> Translate(mm::FileRange required, mm::FileRange optional, bool) override {
    if (required.start >= backing_->size()) return Errno::kEFAULT;
    optional.end = std::min(optional.end, backing_->size());
    return mm::Translation{optional, backing_, optional.start, platform::Prot::kReadExec};
  }
  Result<void> AddMapping(mm::MappingSpace&, mm::FileRange, bool, bool) override { return Ok(); }
  void RemoveMapping(mm::MappingSpace&, mm::FileRange, bool, bool) override {}
  Result<void> Msync(mm::FileRange) override { return Ok(); }

 private:
  Ref<HostBacking> backing_;
};

class HostExecutable final : public ExecutableFile, public mm::MappingIdentity {
 public:
  static Result<Ref<ExecutableFile>> Open(const std::string& path) {
    UniqueFd fd = TRY(FdFromHost(open(path.c_str(), O_RDONLY | O_CLOEXEC)));
    return Ref<ExecutableFile>(MakeRef<HostExecutable>(std::move(fd), path));
  }
  HostExecutable(UniqueFd fd, std::string path) : backing_(MakeRef<HostBacking>(std::move(fd))), path_(std::move(path)) {
    mappable_ = MakeRef<HostMappable>(backing_);
  }
  Result<size_t> PRead(std::span<std::byte> bytes, uint64_t offset) override {
    const ssize_t n = pread(backing_->fd(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0) return Errno::kEIO;
    return static_cast<size_t>(n);
  }
  RefPtr<mm::Mappable> mappable() override { return mappable_; }
  RefPtr<mm::MappingIdentity> identity() override { return RefPtr<mm::MappingIdentity>(ShareRef<mm::MappingIdentity>(this)); }
  std::string MappedName() const override { return path_; }
  uint64_t device() const override { return 1; }
  uint64_t inode_number() const override { return 1; }

 private:
  Ref<HostBacking> backing_;
  RefPtr<mm::Mappable> mappable_;
  std::string path_;
};

// Bytes that cannot be mapped.
class BytesExecutable final : public ExecutableFile {
 public:
  explicit BytesExecutable(std::string bytes) : bytes_(std::move(bytes)) {}
  Result<size_t> PRead(std::span<std::byte> out, uint64_t offset) override {
    if (offset >= bytes_.size()) return size_t{0};
    const size_t n = std::min(out.size(), bytes_.size() - static_cast<size_t>(offset));
    std::memcpy(out.data(), bytes_.data() + offset, n);
    return n;
  }
  RefPtr<mm::Mappable> mappable() override { return nullptr; }
  RefPtr<mm::MappingIdentity> identity() override { return nullptr; }

 private:
  std::string bytes_;
};

// Files by name; what is not known is looked for on the host.
class FakeOpener final : public ExecutableOpener {
 public:
  std::map<std::string, std::string> files;
  bool host = true;
  Result<Ref<ExecutableFile>> OpenExecutable(std::string_view path) override {
    const auto it = files.find(std::string(path));
    if (it != files.end()) return Ref<ExecutableFile>(MakeRef<BytesExecutable>(it->second));
    if (!host) return Errno::kENOENT;
    return HostExecutable::Open(std::string(path));
  }
};

inline std::string ReadHostFile(const std::string& path) {
  std::string out;
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[65536];
  for (ssize_t n = 0; (n = read(fd.get(), buffer, sizeof buffer)) > 0;) out.append(buffer, static_cast<size_t>(n));
  return out;
}

inline Ref<mm::MemoryFile> NewMemoryFile() {
  auto file = mm::MemoryFile::Create(UniqueFd(memfd_create("test-memory", MFD_CLOEXEC)), 0);
  CHECK(file.ok());
  return std::move(file).value();
}

}  // namespace rampart::loader::testing
