// GoferInode: donated descriptors, and what reads, writes and mappings do with them.
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/safe_math.h"
#include "sentry/fs/gofer/convert.h"
#include "sentry/fs/gofer/gofer_inode.h"

namespace rampart::fs {

RefPtr<HostBacking> GoferInode::FindBacking(bool read, bool write) {
  absl::MutexLock lock(&backing_mutex_);
  if (writable_ && (!read || writable_->readable())) return writable_;
  if (!write && read_only_) return read_only_;
  return nullptr;
}

// Checks a descriptor that came from the Gofer, and keeps it.
Result<Ref<HostBacking>> GoferInode::AdoptDonated(UniqueFd fd, bool read, bool write) {
  const gofer::FileAttr attr = TRY(StatDescriptor(fd.get()));
  if (!IsSameFile(attr)) return Errno::kEIO;
  Ref<HostBacking> made = MakeRef<HostBacking>(std::move(fd), read, write);
  RefPtr<HostBacking> old;  // dies after the lock
  absl::MutexLock lock(&backing_mutex_);
  RefPtr<HostBacking>& slot = write ? writable_ : read_only_;
  // Somebody else was as fast: all should use one.
  if (slot && (!read || slot->readable())) return slot.ToRef();
  old = std::move(slot);
  slot = made;
  return made;
}

// By the fid, or by the name that the file is known by.
Result<UniqueFd> GoferInode::OpenOnHost(uint32_t flags) {
  RefPtr<GoferInode> parent;
  std::string name;
  if (fid_.load() == gofer::kNoFid) {
    absl::MutexLock lock(&attr_mutex_);
    parent = origin_;
    name = origin_name_;
  }
  if (!parent) {
    const gofer::FidNum fid = TRY(EnsureFid());
    return TRY(client().Call(gofer::Teopen{fid, flags})).TakeFd();
  }
  const gofer::FidNum dir = TRY(parent->EnsureFid());
  return TRY(client().Call(gofer::Teopenat{dir, name, flags})).TakeFd();
}

Result<Ref<HostBacking>> GoferInode::EnsureBacking(bool read, bool write) {
  if (RefPtr<HostBacking> found = FindBacking(read, write)) return std::move(found).ToRef();
  const auto open = [&](uint32_t flags) { return OpenOnHost(flags); };
  // One descriptor for every opener: whoever wants to write gets the right to read with it, where the host allows that.
  Result<UniqueFd> donated = open(write ? abi::kORdWr : abi::kORdOnly);
  const bool readable = donated.ok() || !(donated.error() == Errno::kEACCES && write && !read);
  if (!readable) donated = open(abi::kOWrOnly);
  if (!donated.ok()) return donated.error();
  return AdoptDonated(std::move(*donated), readable, write);
}

void GoferInode::DescriptionClosed() {
  if (descriptions_.fetch_sub(1) == 1) gofer_fs_.AddIdle(*this);
}

void GoferInode::DropIdleBackings() {
  RefPtr<HostBacking> a, b;
  absl::MutexLock lock(&backing_mutex_);
  if (descriptions_.load() != 0) return;  // opened again; it becomes idle again when it is closed
  a = std::move(read_only_);
  b = std::move(writable_);
}

Result<size_t> GoferInode::WriteAt(HostBacking& backing, std::span<const iovec> segments, std::optional<uint64_t> offset, uint64_t limit,
                                   uint64_t* began) {
  const int count = static_cast<int>(std::min<size_t>(segments.size(), IOV_MAX));
  const auto write = [&](uint64_t at) -> Result<size_t> {
    *began = at;
    if (at >= limit) return Errno::kEFBIG;
    ssize_t n = 0;
    if (segments[0].iov_len > limit - at) {
      const iovec first{segments[0].iov_base, limit - at};
      n = ::pwritev(backing.fd(), &first, 1, static_cast<off_t>(at));
    } else {
      n = ::pwritev(backing.fd(), segments.data(), count, static_cast<off_t>(at));
    }
    if (n < 0) return ErrnoFromHost(errno);
    GrowTo(at + static_cast<uint64_t>(n));
    return static_cast<size_t>(n);
  };
  if (offset) {
    absl::ReaderMutexLock lock(&size_mutex_);
    return write(*offset);
  }
  absl::MutexLock lock(&size_mutex_);
  if (!gofer_fs_.exclusive()) {
    // Others append too. Between this and the write they may still: the host's O_APPEND is not ours to set on a shared descriptor.
    return write(TRY(StatDescriptor(backing.fd())).size);
  }
  uint64_t end = 0;
  {
    absl::MutexLock attr_lock(&attr_mutex_);
    end = attr_.size;
  }
  return write(end);
}

Result<void> GoferInode::Allocate(HostBacking& backing, uint32_t mode, uint64_t offset, uint64_t length) {
  const uint64_t end = TRY(CheckedAdd(offset, length, Errno::kEFBIG));
  if (end > INT64_MAX) return Errno::kEFBIG;
  absl::MutexLock lock(&size_mutex_);
  if (::fallocate(backing.fd(), static_cast<int>(mode), static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) return ErrnoFromHost(errno);
  const gofer::FileAttr attr = TRY(StatDescriptor(backing.fd()));
  absl::MutexLock attr_lock(&attr_mutex_);
  ++attr_generation_;
  attr_valid_ = false;
  attr_.size = attr.size;
  return Ok();
}

Result<void> GoferInode::PunchPages(mm::FileRange range) {
  constexpr uint32_t kKeepSize = 1, kPunchHole = 2;
  const Ref<HostBacking> backing = TRY(EnsureBacking(true, true));
  return Allocate(*backing, kKeepSize | kPunchHole, range.start, range.length());  // the host's mappings follow
}

Result<mm::Translation> GoferInode::Translate(mm::FileRange required, mm::FileRange optional, bool write) {
  using platform::Prot;
  // A description or mapping keeps a descriptor nearly always; it is opened again when the last one was closed long ago.
  const Ref<HostBacking> backing = TRY(EnsureBacking(true, write));
  uint64_t size = 0;
  if (gofer_fs_.exclusive()) {
    absl::MutexLock lock(&attr_mutex_);
    size = attr_.size;
  } else {
    size = TRY(StatDescriptor(backing->fd())).size;
  }
  const uint64_t end = PageUp(std::min<uint64_t>(size, INT64_MAX));
  if (required.end > end) return Errno::kEFAULT;
  mm::FileRange range = optional;
  range.end = std::clamp(range.end, required.end, end);
  if (write) MarkStale();
  Prot rights = Prot::kRead | Prot::kExec;
  if (write) rights = rights | Prot::kWrite;
  return mm::Translation{range, backing, range.start, rights};
}

Result<void> GoferInode::AddMapping(mm::MappingSpace& space, mm::FileRange range, bool shared, bool writable) {
  mappings_.Add(space, range, shared, writable);
  return Ok();
}

void GoferInode::RemoveMapping(mm::MappingSpace& space, mm::FileRange range, bool shared, bool writable) {
  mappings_.Remove(space, range, shared, writable);
  if (shared && writable) MarkStale();  // what was written through it has moved the times
}

// The pages are the host's own page cache: what remains is to bring them to the disk.
Result<void> GoferInode::Msync(mm::FileRange) {
  const RefPtr<HostBacking> backing = FindBacking(false, false);
  if (backing && ::fdatasync(backing->fd()) != 0) return ErrnoFromHost(errno);
  return Ok();
}

}  // namespace rampart::fs
