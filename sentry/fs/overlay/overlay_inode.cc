// Objects: attributes, opening, copying up.
#include "sentry/fs/overlay/overlay_inode.h"

#include "sentry/vfs/file_support.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

// Chains of parents may be as long as an application likes.
thread_local std::vector<OverlayInode*>* t_dying = nullptr;

class OverlayDirectoryDescription final : public vfs::FileDescription {
 public:
  OverlayDirectoryDescription(Ref<OverlayInode> directory, vfs::Path path, uint32_t flags)
      : FileDescription(std::move(path), flags), directory_(std::move(directory)) {}
  Result<size_t> PRead(Caller&, mm::IoDst&, uint64_t, uint32_t) override { return Errno::kEISDIR; }
  Result<void> Iterate(Caller& caller, vfs::DirentSink& sink) override {
    absl::MutexLock lock(&position_mu_);
    uint64_t position = position_.load(std::memory_order_relaxed);
    // Read once at the start, so that offsets stay what they are while the directory changes.
    if (position == 0 || !listed_) {
      entries_ = TRY(directory_->List(caller));
      listed_ = true;
    }
    if (vfs::EmitDots(*this, sink, position)) {
      for (; position - 2 < entries_.size(); ++position) {
        const OverlayInode::Entry& e = entries_[position - 2];
        if (!sink.Add(e.name, e.ino, e.type, position + 1)) break;
      }
    }
    position_.store(position, std::memory_order_relaxed);
    return Ok();
  }
  Result<uint64_t> Seek(Caller& caller, int64_t offset, int whence) override {
    if (whence != abi::kSeekSet && whence != abi::kSeekCur) return Errno::kEINVAL;
    return FileDescription::Seek(caller, offset, whence);
  }

 private:
  const Ref<OverlayInode> directory_;
  bool listed_ = false;
  std::vector<OverlayInode::Entry> entries_;
};

// Copies a lower file's bytes; holes stay holes where the lower can tell.
Result<void> CopyData(Caller& caller, vfs::Inode& from, vfs::Inode& to) {
  const Ref<vfs::FileDescription> in = TRY(from.Open(caller, vfs::NewAnonymousPath(ShareRef(&from), "overlay"), abi::kORdOnly));
  const Ref<vfs::FileDescription> out = TRY(to.Open(caller, vfs::NewAnonymousPath(ShareRef(&to), "overlay"), abi::kOWrOnly));
  std::vector<std::byte> buffer(256 * 1024);
  uint64_t at = 0;
  while (true) {
    mm::BufferDst dst(buffer);
    const size_t got = TRY(in->PRead(caller, dst, at, 0));
    if (got == 0) return Ok();
    const std::span<const std::byte> filled(buffer.data(), got);
    mm::BufferSrc src(filled);
    for (size_t put = 0; put < got;) {
      const size_t n = TRY(out->PWrite(caller, src, at + put, 0, nullptr));
      if (n == 0) return Errno::kEIO;
      put += n;
    }
    at += got;
  }
}

}  // namespace

OverlayInode::OverlayInode(Ref<Overlay> fs, RefPtr<vfs::Inode> upper, RefPtr<vfs::Inode> lower, RefPtr<OverlayInode> parent, std::string name)
    : Inode(fs, fs->NumberOf(upper.get(), lower.get()), upper != nullptr ? upper->type() : lower->type()),
      overlay_(*fs),
      upper_(upper.Leak()),
      lower_(std::move(lower)),
      parent_(std::move(parent)),
      name_(std::move(name)) {}

OverlayInode::~OverlayInode() {
  vfs::Inode* u = upper();
  if (u == nullptr) return;
  overlay_.Leave(*this, *u);
  u->DecRef();
}

void OverlayInode::OnLastRef() {
  if (t_dying != nullptr) {
    t_dying->push_back(this);
    return;
  }
  std::vector<OverlayInode*> dying{this};
  t_dying = &dying;
  while (!dying.empty()) {
    OverlayInode* inode = dying.back();
    dying.pop_back();
    delete inode;
  }
  t_dying = nullptr;
}

Result<vfs::Attr> OverlayInode::GetAttr(const Caller& caller) {
  vfs::Attr attr = TRY(Real().GetAttr(caller));
  attr.ino = ino();
  // Neither layer's count is right for a merged directory; 1 means "not known", as with Linux's overlayfs.
  if (IsDirectory() && upper() != nullptr && lower_ != nullptr) attr.nlink = 1;
  return attr;
}

Result<void> OverlayInode::SetAttr(const Caller& caller, const vfs::AttrChange& change) {
  // What is about to be cut off need not be copied.
  vfs::Inode* u = TRY(CopyUp(caller, change.size == std::optional<uint64_t>(0) ? Data::kSkip : Data::kCopy));
  return u->SetAttr(caller, change);
}

Result<void> OverlayInode::SetXattr(const Caller& caller, std::string_view name, std::string_view value, uint32_t flags) {
  vfs::Inode* u = TRY(CopyUp(caller));
  return u->SetXattr(caller, name, value, flags);
}

Result<void> OverlayInode::RemoveXattr(const Caller& caller, std::string_view name) {
  TRY(Real().GetXattr(caller, name));
  vfs::Inode* u = TRY(CopyUp(caller));
  return u->RemoveXattr(caller, name);
}

Result<Ref<vfs::FileDescription>> OverlayInode::Open(Caller& caller, const vfs::Path& path, uint32_t flags) {
  if (IsDirectory()) return Ref<vfs::FileDescription>(MakeRef<OverlayDirectoryDescription>(ShareRef(this), path, flags));
  const bool writes = (flags & abi::kOAccMode) != abi::kORdOnly || (flags & abi::kOTrunc) != 0;
  if (!writes || OpensItself()) return Real().Open(caller, path, flags);
  vfs::Inode* u = TRY(CopyUp(caller, (flags & abi::kOTrunc) != 0 ? Data::kSkip : Data::kCopy));
  return u->Open(caller, path, flags & ~abi::kOTrunc);
}

Result<vfs::Inode*> OverlayInode::CopyUp(const Caller& caller, Data data) {
  if (vfs::Inode* u = upper()) return u;
  absl::MutexLock lock(&copy_mu_);
  if (vfs::Inode* u = upper()) return u;
  RefPtr<OverlayInode> parent;
  std::string name;
  {
    absl::MutexLock place(&place_mu_);
    parent = parent_;
    name = name_;
  }
  CHECK(parent != nullptr);  // the root and unnamed files are above from the start
  vfs::Inode* upper_parent = TRY(parent->CopyUp(caller));
  Ref<vfs::Inode> copy = TRY(MakeCopy(caller, *upper_parent, name, data));
  overlay().RememberOrigin(*copy, *lower_);
  if (IsDirectory()) overlay().SetLowerOf(*copy, lower_);
  overlay().Enter(*this, *copy);
  upper_.store(copy.Leak(), std::memory_order_release);
  return upper();
}

Result<Ref<vfs::Inode>> OverlayInode::MakeCopy(const Caller& caller, vfs::Inode& upper_parent, const std::string& name, Data data) {
  const vfs::Attr attr = TRY(lower_->GetAttr(caller));
  vfs::CreateArgs args;
  args.type = type();
  args.permissions = attr.permissions;
  args.uid = attr.uid;
  args.gid = attr.gid;
  args.rdev = attr.rdev;
  if (type() == vfs::FileType::kSymlink) args.target = TRY(lower_->ReadLink(caller));
  const bool regular = type() == vfs::FileType::kRegular;
  // Directories and nodes have no content that could be seen half made.
  Ref<vfs::Inode> copy = TRY(regular ? upper_parent.CreateUnnamed(caller, args) : upper_parent.Create(caller, name, args));
  if (regular && data == Data::kCopy) {
    KernelCaller kernel;
    TRY(CopyData(kernel, *lower_, *copy));
  }
  const Result<std::vector<std::string>> names = lower_->ListXattr(caller);
  if (names.ok()) {
    for (const std::string& xattr : *names) {
      const Result<std::string> value = lower_->GetXattr(caller, xattr);
      if (value.ok()) (void)copy->SetXattr(caller, xattr, *value, 0);
    }
  }
  vfs::AttrChange times;
  times.permissions = attr.permissions;
  times.atime = attr.atime;
  times.mtime = attr.mtime;
  TRY(copy->SetAttr(caller, times));
  if (regular) {
    const Result<void> linked = upper_parent.Link(caller, name, *copy);
    // Unlinked meanwhile (its whiteout is there): the copy goes on without a name, as the original would.
    if (!linked.ok() && linked.error() != Errno::kEEXIST) return linked.error();
  }
  return copy;
}

}  // namespace rampart::fs
