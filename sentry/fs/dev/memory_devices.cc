#include "sentry/fs/dev/memory_devices.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "abi/ioctl.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

void HostRandom(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = getrandom(bytes.data(), bytes.size(), 0);
    if (n < 0) {
      CHECK(errno == EINTR);
      continue;
    }
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

class RandomBuffer {
 public:
  void Take(std::span<std::byte> bytes) {
    absl::MutexLock lock(&mu_);
    if (bytes.size() > left_) {
      HostRandom(buffer_);
      left_ = buffer_.size();
    }
    std::byte* const from = buffer_.data() + (buffer_.size() - left_);
    std::memcpy(bytes.data(), from, bytes.size());
    std::memset(from, 0, bytes.size());
    left_ -= bytes.size();
  }

 private:
  absl::Mutex mu_;
  std::array<std::byte, 2048> buffer_ ABSL_GUARDED_BY(mu_);
  size_t left_ ABSL_GUARDED_BY(mu_) = 0;
};
constexpr size_t kBuffered = 256;  // longer requests go to the host at once

// What they have in common: a position that is always 0, and reads and writes that do not care for one.
class MemoryDeviceFile : public vfs::FileDescription {
 public:
  using FileDescription::FileDescription;
  Result<size_t> PRead(Caller& caller, mm::IoDst& dst, uint64_t, uint32_t flags) override { return Read(caller, dst, flags); }
  Result<size_t> PWrite(Caller& caller, mm::IoSrc& src, uint64_t, uint32_t flags, uint64_t* end) override {
    if (end != nullptr) *end = 0;
    return Write(caller, src, flags);
  }
  Result<size_t> Write(Caller&, mm::IoSrc& src, uint32_t) override {
    const size_t n = src.remaining();
    src.Skip(n);
    return n;
  }
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return uint64_t{0}; }
  Result<void> Truncate(Caller&, uint64_t) override { return Errno::kEINVAL; }
};

class NullFile final : public MemoryDeviceFile {
 public:
  using MemoryDeviceFile::MemoryDeviceFile;
  Result<size_t> Read(Caller&, mm::IoDst&, uint32_t) override { return size_t{0}; }
};

class ZeroFile final : public MemoryDeviceFile {
 public:
  using MemoryDeviceFile::MemoryDeviceFile;
  Result<size_t> Read(Caller&, mm::IoDst& dst, uint32_t) override { return dst.Zero(dst.remaining()); }
  // Anonymous memory: private, or shared with the children to come.
  Result<void> ConfigureMMap(const Caller&, mm::MMapArgs& args) override {
    if (!readable()) return Errno::kEACCES;
    if (args.shared && !writable()) {
      if (platform::Allows(args.prot, platform::Prot::kWrite)) return Errno::kEACCES;
      args.max_prot = args.max_prot & ~platform::Prot::kWrite;
    }
    args.file = nullptr;
    args.offset = 0;
    args.identity = ShareRef<mm::MappingIdentity>(this);
    return Ok();
  }
};

class FullFile final : public MemoryDeviceFile {
 public:
  using MemoryDeviceFile::MemoryDeviceFile;
  Result<size_t> Read(Caller&, mm::IoDst& dst, uint32_t) override { return dst.Zero(dst.remaining()); }
  Result<size_t> Write(Caller&, mm::IoSrc&, uint32_t) override { return Errno::kENOSPC; }
};

class RandomFile final : public MemoryDeviceFile {
 public:
  using MemoryDeviceFile::MemoryDeviceFile;
  bool pollable() const override { return true; }
  Result<size_t> Read(Caller&, mm::IoDst& dst, uint32_t) override {
    return dst.Fill(dst.remaining(), [](std::span<const iovec> segments) -> Result<size_t> {
      size_t moved = 0;
      for (const iovec& s : segments) {
        RandomBytes({static_cast<std::byte*>(s.iov_base), s.iov_len});
        moved += s.iov_len;
      }
      return moved;
    });
  }
  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) override {
    switch (command) {
      case abi::kRndGetEntCnt:
        TRY(memory.CopyOut(UserOut<int32_t>(argument), int32_t{256}));
        return uint64_t{0};
      case abi::kRndAddToEntCnt:
      case abi::kRndAddEntropy:
      case abi::kRndZapEntCnt:
      case abi::kRndClearPool:
      case abi::kRndReseedCrng:
        if (!caller.creds().HasCapability(abi::Capability::kSysAdmin)) return Errno::kEPERM;
        return uint64_t{0};  // the host's generator needs no help
      default:
        return Errno::kEINVAL;
    }
  }
};

Result<Ref<vfs::FileDescription>> Open(Caller&, const vfs::Path& path, uint32_t flags, void* driver) {
  // SAFETY: the driver pointer of a registration is its minor number.
  return OpenMemoryDevice(path, flags, static_cast<MemoryDevice>(reinterpret_cast<uintptr_t>(driver)));
}

}  // namespace

void RandomBytes(std::span<std::byte> bytes) {
  static RandomBuffer* const buffer = new RandomBuffer;
  if (bytes.size() <= kBuffered) {
    buffer->Take(bytes);
  } else {
    HostRandom(bytes);
  }
}

Ref<vfs::FileDescription> OpenMemoryDevice(const vfs::Path& path, uint32_t flags, MemoryDevice device) {
  switch (device) {
    case MemoryDevice::kNull:
      return MakeRef<NullFile>(path, flags);
    case MemoryDevice::kZero:
      return MakeRef<ZeroFile>(path, flags);
    case MemoryDevice::kFull:
      return MakeRef<FullFile>(path, flags);
    case MemoryDevice::kRandom:
    case MemoryDevice::kUrandom:
      return MakeRef<RandomFile>(path, flags);
  }
  UNREACHABLE();
}

void RegisterMemoryDevices() {
  for (const MemoryDevice device :
       {MemoryDevice::kNull, MemoryDevice::kZero, MemoryDevice::kFull, MemoryDevice::kRandom, MemoryDevice::kUrandom}) {
    const auto minor = static_cast<uint32_t>(device);
    // SAFETY: a small number as the opaque driver pointer.
    vfs::DeviceRegistry::Get().Register(vfs::FileType::kCharDevice, 1, minor, 1, &Open, reinterpret_cast<void*>(uintptr_t{minor}));
  }
}

}  // namespace rampart::fs
