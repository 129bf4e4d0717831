#include "sentry/fs/pseudo/pseudo.h"

#include <algorithm>

#include "base/safe_math.h"

namespace rampart::fs::pseudo {
namespace {

// Text files made on demand. Large enough for any sensible write to one; Linux takes at most a page too.
constexpr size_t kMaxStore = kPageSize;

class PseudoFileDescription final : public vfs::FileDescription {
 public:
  PseudoFileDescription(vfs::Path path, uint32_t flags, Ref<PseudoFile> file) : FileDescription(std::move(path), flags), file_(std::move(file)) {}

  Result<size_t> PRead(Caller& caller, mm::IoDst& dst, uint64_t offset, uint32_t /*flags*/) override {
    std::string piece;
    {
      absl::MutexLock lock(&mu_);
      if (offset == 0 || !made_) {
        text_ = TRY(file_->Generate(caller));
        made_ = true;
      }
      if (offset >= text_.size()) return size_t{0};
      piece = text_.substr(offset, dst.remaining());
    }
    return dst.Write(std::as_bytes(std::span(piece)));
  }

  Result<uint64_t> Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) override {
    return file_->Ioctl(caller, memory, command, argument);
  }

  Result<size_t> PWrite(Caller& caller, mm::IoSrc& src, uint64_t offset, uint32_t /*flags*/, uint64_t* end) override {
    std::string text(std::min(src.remaining(), kMaxStore), '\0');
    const size_t n = TRY(src.Read(std::as_writable_bytes(std::span(text))));
    text.resize(n);
    TRY(file_->Store(caller, text));
    if (end != nullptr) *end = offset + n;
    return n;
  }

  Result<void> Truncate(Caller& /*caller*/, uint64_t /*size*/) override { return Ok(); }

 private:
  const Ref<PseudoFile> file_;
  absl::Mutex mu_;  // a generator runs under it: generators take no lock of this object
  std::string text_ ABSL_GUARDED_BY(mu_);
  bool made_ ABSL_GUARDED_BY(mu_) = false;
};

class PseudoDirectoryDescription final : public vfs::FileDescription {
 public:
  PseudoDirectoryDescription(vfs::Path path, uint32_t flags, Ref<PseudoDirectory> directory)
      : FileDescription(std::move(path), flags), directory_(std::move(directory)) {}

  // Offsets: 0 and 1 are "." and "..", then the index in the listing that was taken when the position was last 0.
  Result<void> Iterate(Caller& caller, vfs::DirentSink& sink) override {
    absl::MutexLock lock(&position_mu_);
    uint64_t at = position_.load();
    if (at == 0 || !listed_) {
      entries_ = TRY(directory_->List(caller));
      listed_ = true;
    }
    for (;; ++at) {
      bool taken = true;
      if (at == 0) {
        taken = sink.Add(".", directory_->ino(), vfs::FileType::kDirectory, 1);
      } else if (at == 1) {
        const RefPtr<vfs::Dentry> parent = path().dentry->parent();
        const RefPtr<vfs::Inode> inode = parent ? parent->inode() : nullptr;
        taken = sink.Add("..", inode ? inode->ino() : directory_->ino(), vfs::FileType::kDirectory, 2);
      } else if (at - 2 < entries_.size()) {
        const PseudoEntry& entry = entries_[at - 2];
        taken = sink.Add(entry.name, entry.ino, entry.type, at + 1);
      } else {
        break;
      }
      if (!taken) break;
    }
    position_.store(at);
    return Ok();
  }

  Result<uint64_t> Seek(Caller& /*caller*/, int64_t offset, int whence) override {
    absl::MutexLock lock(&position_mu_);
    if (whence != abi::kSeekSet && whence != abi::kSeekCur) return Errno::kEINVAL;
    const int64_t base = whence == abi::kSeekCur ? static_cast<int64_t>(position_.load()) : 0;
    const int64_t to = TRY(CheckedAdd(base, offset));
    if (to < 0) return Errno::kEINVAL;
    position_.store(static_cast<uint64_t>(to));
    return static_cast<uint64_t>(to);
  }

 private:
  const Ref<PseudoDirectory> directory_;
  std::vector<PseudoEntry> entries_ ABSL_GUARDED_BY(position_mu_);
  bool listed_ ABSL_GUARDED_BY(position_mu_) = false;
};

}  // namespace

PseudoInode::PseudoInode(Ref<vfs::Filesystem> fs, vfs::FileType type, uint32_t permissions, uint64_t ino)
    : Inode(std::move(fs), ino, type), permissions_(permissions), created_(RealtimeNow()) {}

Result<vfs::Attr> PseudoInode::GetAttr(const Caller& /*caller*/) {
  vfs::Attr attr;
  attr.type = type();
  attr.permissions = permissions_;
  attr.ino = ino();
  attr.nlink = LinkCount();
  std::tie(attr.uid, attr.gid) = Owner();
  attr.size = Size();
  attr.block_size = 1024;
  attr.atime = attr.mtime = attr.ctime = created_;
  return attr;
}

// Linux: proc_setattr. Owner and times of a link may be set, and are what they were at the next look.
Result<void> PseudoInode::SetAttr(const Caller& caller, const vfs::AttrChange& change) {
  if (type() != vfs::FileType::kSymlink) return Inode::SetAttr(caller, change);
  return change.permissions ? Result<void>(Errno::kEPERM) : Ok();
}

PseudoDirectory::PseudoDirectory(Ref<vfs::Filesystem> fs, uint32_t permissions, uint64_t ino)
    : PseudoInode(std::move(fs), vfs::FileType::kDirectory, permissions, ino) {}

void PseudoDirectory::Add(std::string name, Ref<vfs::Inode> child) { fixed_.emplace_back(std::move(name), std::move(child)); }

Result<RefPtr<vfs::Inode>> PseudoDirectory::Lookup(const Caller& caller, std::string_view name, std::string_view /*rest*/) {
  for (const auto& [entry_name, child] : fixed_) {
    if (entry_name == name) return RefPtr<vfs::Inode>(child);
  }
  return FindComputed(caller, name);
}

Result<std::vector<PseudoEntry>> PseudoDirectory::List(const Caller& caller) {
  std::vector<PseudoEntry> entries;
  entries.reserve(fixed_.size());
  for (const auto& [name, child] : fixed_) entries.push_back({name, child->type(), child->ino()});
  TRY(ListComputed(caller, entries));
  return entries;
}

Result<Ref<vfs::FileDescription>> PseudoDirectory::Open(Caller& /*caller*/, const vfs::Path& path, uint32_t flags) {
  return Ref<vfs::FileDescription>(MakeRef<PseudoDirectoryDescription>(path, flags, ShareRef(this)));
}

Result<Ref<vfs::FileDescription>> PseudoFile::Open(Caller& /*caller*/, const vfs::Path& path, uint32_t flags) {
  return Ref<vfs::FileDescription>(MakeRef<PseudoFileDescription>(path, flags, ShareRef(this)));
}

Result<void> PseudoFile::SetAttr(const Caller& /*caller*/, const vfs::AttrChange& change) {
  if (change.permissions || change.uid || change.gid) return Errno::kEPERM;
  return Ok();
}

}  // namespace rampart::fs::pseudo
