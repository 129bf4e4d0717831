#include "sentry/vfs/file_description.h"

#include <algorithm>

#include "sentry/vfs/inode_extras.h"
#include "sentry/vfs/operations.h"
#include "sentry/vfs/path_observer.h"
#include "sentry/vfs/path_text.h"

namespace rampart::vfs {
namespace {

constexpr uint32_t kCreationFlags = abi::kOCreat | abi::kOExcl | abi::kONoctty | abi::kOTrunc | abi::kOCloexec;
constexpr uint32_t kSettableFlags = abi::kOAppend | abi::kONonblock | abi::kODirect | abi::kONoatime | abi::kOAsync;

}  // namespace

FileDescription::FileDescription(Path path, uint32_t flags) : path_(std::move(path)), flags_(flags & ~kCreationFlags) {}

FileDescription::~FileDescription() {
  Inode* inode = path_.dentry->inode().get();
  if (holds_write_access_) {
    inode->ReleaseWriteAccess();
    path_.mount->ReleaseWrite();
  }
  if (counts_as_reader_) inode->RemoveReader();
  if (InodeExtras* extras = inode->extras_if_any()) {
    extras->locks.ReleaseAll(this);
    extras->leases.ReleaseAll(this);
    if ((flags() & (abi::kOPath | kONonotify)) == 0) NotifyWatches(path_, writable() ? kInCloseWrite : kInCloseNoWrite);
  } else if (AnyWatches() && (flags() & (abi::kOPath | kONonotify)) == 0) {
    NotifyWatches(path_, writable() ? kInCloseWrite : kInCloseNoWrite);  // the directory may be watched
  }
}

void FileDescription::AdoptReadCount() {
  counts_as_reader_ = true;
  path_.dentry->inode()->AddReader();
}

Ref<Inode> FileDescription::inode() const { return path_.dentry->inode().ToRef(); }

Result<void> FileDescription::SetFlags(const Caller& caller, uint32_t flags) {
  const uint32_t old = flags_.load(std::memory_order_relaxed);
  if ((flags & ~old & abi::kONoatime) != 0) {
    const Attr attr = TRY(path_.dentry->inode()->GetAttr(caller));
    if (attr.uid != caller.creds().fsuid && !caller.creds().HasCapability(abi::Capability::kFowner)) return Errno::kEPERM;
  }
  // Files that never have anything to tell keep O_ASYNC as they were opened.
  const FileType type = path_.dentry->inode()->type();
  const bool tells = type != FileType::kRegular && type != FileType::kDirectory;
  const uint32_t settable = tells ? kSettableFlags : kSettableFlags & ~abi::kOAsync;
  uint32_t now = old;
  while (!flags_.compare_exchange_weak(now, (now & ~settable) | (flags & settable), std::memory_order_relaxed)) {
  }
  return Ok();
}

Result<size_t> FileDescription::PRead(Caller&, mm::IoDst&, uint64_t, uint32_t) { return Errno::kEINVAL; }
Result<size_t> FileDescription::PWrite(Caller&, mm::IoSrc&, uint64_t, uint32_t, uint64_t*) { return Errno::kEINVAL; }

Result<size_t> FileDescription::Read(Caller& caller, mm::IoDst& dst, uint32_t flags) {
  absl::MutexLock lock(&position_mu_);
  const uint64_t at = position_.load(std::memory_order_relaxed);
  const size_t n = TRY(PRead(caller, dst, at, flags));
  position_.store(at + n, std::memory_order_relaxed);
  return n;
}

Result<size_t> FileDescription::Write(Caller& caller, mm::IoSrc& src, uint32_t flags) {
  absl::MutexLock lock(&position_mu_);
  const uint64_t at = position_.load(std::memory_order_relaxed);
  uint64_t end = at;
  const size_t n = TRY(PWrite(caller, src, at, flags, &end));
  position_.store(end, std::memory_order_relaxed);
  return n;
}

Result<uint64_t> FileDescription::Seek(Caller& caller, int64_t offset, int whence) {
  if (!seekable()) return Errno::kESPIPE;
  absl::MutexLock lock(&position_mu_);
  uint64_t base = 0;
  if (whence == abi::kSeekCur) {
    base = position_.load(std::memory_order_relaxed);
    if (offset == 0) return base;
  } else if (whence != abi::kSeekSet) {
    if (whence < abi::kSeekSet || whence > abi::kSeekHole) return Errno::kEINVAL;
    const Attr attr = TRY(path_.dentry->inode()->GetAttr(caller));
    base = attr.size;
    if (whence == abi::kSeekData || whence == abi::kSeekHole) {
      // Without knowledge of holes a file is all data, with the hole that is at every file's end.
      // What is negative lies before the end (Linux: default_llseek).
      if (offset >= static_cast<int64_t>(attr.size)) return Errno::kENXIO;
      if (whence == abi::kSeekData) base = 0;
      else offset = 0;
    }
  }
  int64_t target = 0;
  if (__builtin_add_overflow(static_cast<int64_t>(base), offset, &target)) return Errno::kEINVAL;
  if (target < 0) return Errno::kEINVAL;
  position_.store(static_cast<uint64_t>(target), std::memory_order_relaxed);
  return static_cast<uint64_t>(target);
}

uint64_t FileDescription::position() const { return position_.load(std::memory_order_relaxed); }

wait::EventMask FileDescription::Readiness(wait::EventMask mask) {
  return mask & (abi::kPollIn | abi::kPollOut | abi::kPollRdNorm | abi::kPollWrNorm);
}

Result<uint64_t> FileDescription::Ioctl(Caller&, mm::UserMemory&, uint32_t, uint64_t) { return Errno::kENOTTY; }
Result<void> FileDescription::ConfigureMMap(const Caller&, mm::MMapArgs&) { return Errno::kENODEV; }
Result<void> FileDescription::Iterate(Caller&, DirentSink&) { return Errno::kENOTDIR; }
Result<void> FileDescription::Allocate(const Caller&, uint32_t, uint64_t, uint64_t) { return Errno::kEOPNOTSUPP; }

Result<void> FileDescription::Truncate(Caller& caller, uint64_t size) { return TruncateOpened(caller, path_, size); }

Result<uint64_t> FileDescription::Fcntl(Caller&, uint32_t command, uint64_t) {
  if (command == abi::kFSetPipeSize || command == abi::kFGetPipeSize) return Errno::kEBADF;
  return command == abi::kFAddSeals && !writable() ? Errno::kEPERM : Errno::kEINVAL;
}

Result<void> FileDescription::OnClose(Caller&) { return Ok(); }

std::string FileDescription::MappedName() const { return GlobalPathText(path_); }
uint64_t FileDescription::device() const { return path_.dentry->inode()->device(); }
uint64_t FileDescription::inode_number() const { return path_.dentry->inode()->ino(); }

}  // namespace rampart::vfs
