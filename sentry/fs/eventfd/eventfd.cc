#include "sentry/fs/eventfd/eventfd.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "sentry/mm/io.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {

Ref<EventFd> EventFd::Create(uint64_t initial, bool semaphore, uint32_t flags) {
  Ref<vfs::Inode> inode = vfs::NewAnonymousInode(vfs::FileType{0}, 0600, 0, 0);
  return MakeRef<EventFd>(vfs::NewAnonymousPath(inode, "anon_inode:[eventfd]"), abi::kORdWr | (flags & abi::kONonblock), initial, semaphore);
}

Result<size_t> EventFd::Read(Caller&, mm::IoDst& dst, uint32_t) {
  if (dst.remaining() < sizeof(uint64_t)) return Errno::kEINVAL;
  uint64_t value = 0;
  {
    absl::MutexLock lock(&mu_);
    if (count_ == 0) return Errno::kEAGAIN;
    value = semaphore_ ? 1 : count_;
    count_ -= value;
  }
  queue_.Notify(abi::kPollOut | abi::kPollWrNorm);
  const size_t n = TRY(dst.Write(std::as_bytes(std::span(&value, 1))));
  if (n != sizeof(value)) return Errno::kEFAULT;
  return n;
}

void EventFd::Signal(uint64_t n) {
  {
    absl::MutexLock lock(&mu_);
    count_ += std::min(n, UINT64_MAX - count_);
  }
  queue_.Notify(abi::kPollIn | abi::kPollRdNorm);
}

Result<size_t> EventFd::Write(Caller&, mm::IoSrc& src, uint32_t) {
  if (src.remaining() != sizeof(uint64_t)) return Errno::kEINVAL;
  uint64_t value = 0;
  // Only looks: the bytes are taken when they have been added, so that a wait for room can come back with the same source.
  bool again = false;
  bool invalid = false;
  size_t seen = 0;
  const Result<size_t> taken = src.Drain(sizeof(value), [&](std::span<const iovec> segments) -> Result<size_t> {
    size_t moved = 0;
    for (const iovec& s : segments) {
      mm::CopyAppMemory(reinterpret_cast<std::byte*>(&value) + seen, s.iov_base, s.iov_len);  // SAFETY: the bytes of an integer
      seen += s.iov_len;
      moved += s.iov_len;
    }
    if (seen < sizeof(value)) return moved;
    absl::MutexLock lock(&mu_);
    invalid = value == UINT64_MAX;
    again = !invalid && UINT64_MAX - count_ <= value;
    if (invalid) return Errno::kEINVAL;
    if (again) return Errno::kEAGAIN;
    count_ += value;
    return moved;
  });
  if (invalid) return Errno::kEINVAL;
  if (again) return Errno::kEAGAIN;
  if (!taken.ok()) return taken;
  if (*taken != sizeof(value)) return Errno::kEFAULT;
  queue_.Notify(abi::kPollIn | abi::kPollRdNorm);
  return *taken;
}

wait::EventMask EventFd::Readiness(wait::EventMask mask) {
  absl::MutexLock lock(&mu_);
  wait::EventMask ready = 0;
  if (count_ > 0) ready |= abi::kPollIn;
  if (count_ == UINT64_MAX) ready |= abi::kPollErr;
  if (count_ < UINT64_MAX - 1) ready |= abi::kPollOut;
  return ready & (mask | abi::kPollErr);
}

std::string EventFd::FdInfo() const {
  absl::MutexLock lock(&mu_);
  char text[96];
  std::snprintf(text, sizeof(text), "eventfd-count: %16" PRIx64 "\neventfd-id: %" PRIu64 "\neventfd-semaphore: %d\n", count_,
                path().dentry->inode()->ino(), semaphore_ ? 1 : 0);
  return text;
}

}  // namespace rampart::fs
