#include "sentry/fs/gofer/gofer_file.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>


namespace rampart::fs {

GoferFile::GoferFile(vfs::Path path, uint32_t flags, Ref<GoferInode> inode, Ref<HostBacking> backing)
    : FileDescription(std::move(path), flags), file_(std::move(inode)), backing_(std::move(backing)) {
  file_->DescriptionOpened();
}

GoferFile::~GoferFile() { file_->DescriptionClosed(); }

Result<size_t> GoferFile::PRead(Caller& caller, mm::IoDst& dst, uint64_t offset, uint32_t) {
  if (offset > INT64_MAX) return Errno::kEINVAL;
  uint64_t at = offset;
  const Result<size_t> done = dst.Fill(dst.remaining(), [&](std::span<const iovec> segments) -> Result<size_t> {
    const int count = static_cast<int>(std::min<size_t>(segments.size(), IOV_MAX));
    const ssize_t n = ::preadv(backing_->fd(), segments.data(), count, static_cast<off_t>(at));
    if (n < 0) return ErrnoFromHost(errno);
    at += static_cast<uint64_t>(n);
    return static_cast<size_t>(n);
  });
  // At the end of the file nobody asks where the bytes would go.
  if (!done.ok() && done.error() == Errno::kEFAULT && offset >= TRY(file_->Size(caller))) return size_t{0};
  return done;
}

Result<size_t> GoferFile::PWrite(Caller& caller, mm::IoSrc& src, uint64_t offset, uint32_t rw_flags, uint64_t* end) {
  if (offset > INT64_MAX) return Errno::kEINVAL;
  const uint32_t mode = flags();
  const bool append = abi::Appends(mode, rw_flags);
  const uint64_t limit = std::min<uint64_t>(caller.limit(abi::Resource::kFsize), INT64_MAX);
  GoferInode::SetIdKept kept(*file_);
  uint64_t at = offset;
  const auto done = src.Drain(src.remaining(), [&](std::span<const iovec> segments) -> Result<size_t> {
    uint64_t began = 0;
    const std::optional<uint64_t> where = append ? std::nullopt : std::optional<uint64_t>(at);
    const size_t n = TRY(file_->WriteAt(*backing_, segments, where, limit, &began));
    at = began + n;
    return n;
  });
  if (end != nullptr) *end = at;
  if (done.ok() && *done > 0) TRY(kept.Settle(caller));
  const bool sync = (mode & abi::kODsync) != 0 || (rw_flags & (abi::kRwfDsync | abi::kRwfSync)) != 0;
  if (done.ok() && sync) TRY(Sync(true));
  return done;
}

Result<uint64_t> GoferFile::Seek(Caller& caller, int64_t offset, int whence) {
  if (whence != abi::kSeekData && whence != abi::kSeekHole) return FileDescription::Seek(caller, offset, whence);
  absl::MutexLock lock(&position_mu_);
  if (offset < 0) return Errno::kENXIO;
  // The host's position is nobody's: everything else is pread and pwrite.
  const off_t found = ::lseek(backing_->fd(), offset, whence);
  if (found < 0) return ErrnoFromHost(errno);
  position_.store(static_cast<uint64_t>(found), std::memory_order_relaxed);
  return static_cast<uint64_t>(found);
}

Result<void> GoferFile::ConfigureMMap(const Caller&, mm::MMapArgs& args) {
  TRY(vfs::ConfigureFileMMap(*this, args, file_));
  file_->TouchAccess(*this, *backing_);
  return Ok();
}

Result<void> GoferFile::Sync(bool data_only) {
  if ((data_only ? ::fdatasync(backing_->fd()) : ::fsync(backing_->fd())) != 0) return ErrnoFromHost(errno);
  return Ok();
}

Result<void> GoferFile::Allocate(const Caller& caller, uint32_t mode, uint64_t offset, uint64_t length) {
  const uint64_t end = TRY(CheckedAdd(offset, length, Errno::kEFBIG));
  if (mode == 0 && end > caller.limit(abi::Resource::kFsize)) return Errno::kEFBIG;
  GoferInode::SetIdKept kept(*file_);
  const Result<void> done = file_->Allocate(*backing_, mode, offset, length);
  TRY(kept.Settle(caller));  // the host takes them even if it fails
  return done;
}

Result<void> GoferDirectoryFile::Iterate(Caller&, vfs::DirentSink& sink) {
  absl::MutexLock lock(&position_mu_);
  uint64_t at = position_.load(std::memory_order_relaxed);
  if (at == 0 || !listing_) listing_ = TRY(directory_->CurrentListing());
  if (at < 2 && !vfs::EmitDots(*this, sink, at)) {
    position_.store(at, std::memory_order_relaxed);
    return Ok();
  }
  const std::vector<Listing::Entry>& entries = listing_->entries();
  while (at - 2 < entries.size()) {
    const Listing::Entry& entry = entries[at - 2];
    if (!sink.Add(entry.name, entry.ino, entry.type, at + 1)) break;
    ++at;
  }
  position_.store(at, std::memory_order_relaxed);
  return Ok();
}

Result<uint64_t> GoferDirectoryFile::Seek(Caller& caller, int64_t offset, int whence) {
  if (whence != abi::kSeekSet && whence != abi::kSeekCur) return Errno::kEINVAL;
  return FileDescription::Seek(caller, offset, whence);
}

Result<void> GoferDirectoryFile::Sync(bool data_only) {
  return directory_->SyncThroughGofer(data_only ? gofer::SyncKind::kData : gofer::SyncKind::kFile);
}

}  // namespace rampart::fs
