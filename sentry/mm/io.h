// IoDst and IoSrc: where the bytes of a read go and where the bytes of a write come from: application memory (one range or an iovec)
// or a buffer of the kernel's. Files see only these, so that bytes go straight between a file's pages and the application's.
//
// Locking. Fill and Drain first bring the pages in and take references to them, then call back with plain host memory that cannot fault:
// inside the callback a file may take its own locks and make host calls (preadv on a donated descriptor). Never call Fill, Drain,
// Write or Read while holding a file's lock.
// Errors: EFAULT only when nothing at all was transferred; otherwise the transfer is short.
// Thread safety: one thread. Lifetime: within one system call.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/functional/function_ref.h"
#include "base/result.h"

namespace rampart::mm {

// Copies to or from segments (below), or the memory file's pages: what an application may read and write at any time, through other threads of ours, too.
// So a byte may be any of those that were there meanwhile, and whoever judges bytes copies them first. Ranges must not overlap.
void CopyAppMemory(void* to, const void* from, size_t n);
void ZeroAppMemory(void* to, size_t n);

// Bytes moved by the callback, at most the sum of the segments.
using SegmentFn = absl::FunctionRef<Result<size_t>(std::span<const iovec> segments)>;

class IoDst {
 public:
  virtual ~IoDst() = default;
  // Bytes that still fit.
  virtual size_t remaining() const = 0;
  // Copies bytes in and advances. Returns how many (short at the end of the destination or at a fault).
  Result<size_t> Write(std::span<const std::byte> bytes);
  // Writes n zero bytes.
  Result<size_t> Zero(size_t n);
  // Calls `fill` with up to `max` bytes of destination (possibly less than asked: call again while it makes progress), and advances by
  // what it returns. `fill` may be called several times; it stops when it returns less than it was offered, or an error (which is returned only
  // if nothing was moved before).
  virtual Result<size_t> Fill(size_t max, SegmentFn fill) = 0;
  // Advances without writing (what was moved by other means).
  virtual void Skip(size_t n) = 0;
};

class IoSrc {
 public:
  virtual ~IoSrc() = default;
  virtual size_t remaining() const = 0;
  // Copies bytes out and advances.
  Result<size_t> Read(std::span<std::byte> bytes);
  // As IoDst::Fill, for reading.
  virtual Result<size_t> Drain(size_t max, SegmentFn drain) = 0;
  virtual void Skip(size_t n) = 0;
};

// Kernel buffers.
class BufferDst final : public IoDst {
 public:
  explicit BufferDst(std::span<std::byte> buffer) : rest_(buffer) {}
  size_t remaining() const override { return rest_.size(); }
  Result<size_t> Fill(size_t max, SegmentFn fill) override;
  void Skip(size_t n) override { rest_ = rest_.subspan(n); }

 private:
  std::span<std::byte> rest_;
};
class BufferSrc final : public IoSrc {
 public:
  explicit BufferSrc(std::span<const std::byte> buffer) : rest_(buffer) {}
  size_t remaining() const override { return rest_.size(); }
  Result<size_t> Drain(size_t max, SegmentFn drain) override;
  void Skip(size_t n) override { rest_ = rest_.subspan(n); }

 private:
  std::span<const std::byte> rest_;
};

}  // namespace rampart::mm
