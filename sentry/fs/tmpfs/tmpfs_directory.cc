#include "sentry/fs/tmpfs/tmpfs_inode.h"
#include "sentry/vfs/file_support.h"

namespace rampart::fs {
namespace {

constexpr uint64_t kEntrySize = 20;  // what Linux's tmpfs counts in st_size for each name

class DirectoryDescription final : public vfs::FileDescription {
 public:
  DirectoryDescription(Ref<TmpfsDirectory> directory, vfs::Path path, uint32_t flags)
      : FileDescription(std::move(path), flags), directory_(std::move(directory)) {}
  Result<size_t> PRead(Caller&, mm::IoDst&, uint64_t, uint32_t) override { return Errno::kEISDIR; }
  Result<void> Iterate(Caller&, vfs::DirentSink& sink) override {
    absl::MutexLock lock(&position_mu_);
    uint64_t position = position_.load(std::memory_order_relaxed);
    if (vfs::EmitDots(*this, sink, position)) directory_->Emit(sink, position);
    position_.store(position, std::memory_order_relaxed);
    directory_->TouchAccess(*this);
    return Ok();
  }
  Result<uint64_t> Seek(Caller& caller, int64_t offset, int whence) override {
    if (whence != abi::kSeekSet && whence != abi::kSeekCur) return Errno::kEINVAL;
    return FileDescription::Seek(caller, offset, whence);
  }

 private:
  const Ref<TmpfsDirectory> directory_;
};

}  // namespace

TmpfsDirectory::TmpfsDirectory(Ref<Tmpfs> fs, uint64_t ino, const vfs::CreateArgs& args) : TmpfsInode(std::move(fs), ino, args) {
  AddLinks(1);  // its own "."
}

void TmpfsDirectory::FillAttr(vfs::Attr& attr) {
  absl::ReaderMutexLock lock(&tmpfs().names_mu());
  attr.size = (entries_.size() + 2) * kEntrySize;
}

Result<Ref<vfs::FileDescription>> TmpfsDirectory::Open(Caller&, const vfs::Path& path, uint32_t flags) {
  return Ref<vfs::FileDescription>(MakeRef<DirectoryDescription>(ShareRef(this), path, flags));
}

TmpfsInode* TmpfsDirectory::FindLocked(std::string_view name) const {
  const auto it = offsets_.find(name);
  return it == offsets_.end() ? nullptr : entries_.at(it->second).inode.get();
}

void TmpfsDirectory::AddLocked(std::string_view name, Ref<TmpfsInode> inode) {
  const uint64_t offset = next_offset_++;
  const auto it = entries_.emplace_hint(entries_.end(), offset, Entry{std::string(name), std::move(inode)});
  offsets_.emplace(it->second.name, offset);
}

RefPtr<TmpfsInode> TmpfsDirectory::RemoveLocked(std::string_view name) {
  const auto it = offsets_.find(name);
  if (it == offsets_.end()) return nullptr;
  const auto entry = entries_.find(it->second);
  RefPtr<TmpfsInode> inode = std::move(entry->second.inode);
  offsets_.erase(it);
  entries_.erase(entry);
  return inode;
}

Result<RefPtr<vfs::Inode>> TmpfsDirectory::Lookup(const Caller&, std::string_view name, std::string_view) {
  absl::ReaderMutexLock lock(&tmpfs().names_mu());
  TmpfsInode* found = FindLocked(name);
  return found == nullptr ? RefPtr<vfs::Inode>() : RefPtr<vfs::Inode>(ShareRef(found));
}

Result<Ref<vfs::Inode>> TmpfsDirectory::Create(const Caller&, std::string_view name, const vfs::CreateArgs& args) {
  Ref<TmpfsInode> made = TRY(tmpfs().NewInode(args));
  absl::MutexLock lock(&tmpfs().names_mu());
  if (FindLocked(name) != nullptr) return Errno::kEEXIST;
  AddLocked(name, made);
  if (made->IsDirectory()) AddLinks(1);
  TouchModify(RealtimeNow());
  return Ref<vfs::Inode>(std::move(made));
}

Result<Ref<vfs::Inode>> TmpfsDirectory::CreateUnnamed(const Caller&, const vfs::CreateArgs& args) {
  Ref<TmpfsInode> made = TRY(tmpfs().NewInode(args));
  made->AddLinks(-1);
  return Ref<vfs::Inode>(std::move(made));
}

Result<void> TmpfsDirectory::Link(const Caller&, std::string_view name, vfs::Inode& target) {
  auto* inode = dynamic_cast<TmpfsInode*>(&target);
  if (inode == nullptr) return Errno::kEXDEV;
  absl::MutexLock lock(&tmpfs().names_mu());
  if (FindLocked(name) != nullptr) return Errno::kEEXIST;
  inode->AddLinks(1);
  AddLocked(name, ShareRef(inode));
  const Nanos now = RealtimeNow();
  inode->TouchChange(now);
  TouchModify(now);
  return Ok();
}

Result<void> TmpfsDirectory::Unlink(const Caller&, std::string_view name, vfs::Inode& victim) {
  RefPtr<TmpfsInode> removed;  // after the lock
  absl::MutexLock lock(&tmpfs().names_mu());
  if (FindLocked(name) != &victim) return Errno::kENOENT;
  removed = RemoveLocked(name);
  removed->AddLinks(-1);
  const Nanos now = RealtimeNow();
  removed->TouchChange(now);
  TouchModify(now);
  return Ok();
}

Result<void> TmpfsDirectory::RemoveDirectory(const Caller&, std::string_view name, vfs::Inode& victim) {
  RefPtr<TmpfsInode> removed;
  absl::MutexLock lock(&tmpfs().names_mu());
  if (FindLocked(name) != &victim) return Errno::kENOENT;
  auto& directory = dynamic_cast<TmpfsDirectory&>(victim);
  if (!directory.entries_.empty()) return Errno::kENOTEMPTY;
  removed = RemoveLocked(name);
  removed->AddLinks(-2);
  AddLinks(-1);
  const Nanos now = RealtimeNow();
  removed->TouchChange(now);
  TouchModify(now);
  return Ok();
}

Result<void> TmpfsDirectory::Rename(const Caller&, std::string_view old_name, vfs::Inode& source, vfs::Inode& new_directory,
                                    std::string_view new_name, vfs::Inode* replaced, uint32_t flags) {
  auto* to = dynamic_cast<TmpfsDirectory*>(&new_directory);
  auto* moved = dynamic_cast<TmpfsInode*>(&source);
  auto* target = dynamic_cast<TmpfsInode*>(replaced);
  if (to == nullptr || moved == nullptr) return Errno::kEXDEV;
  RefPtr<TmpfsInode> whiteout;
  if ((flags & abi::kRenameWhiteout) != 0) {
    vfs::CreateArgs args;
    args.type = vfs::FileType::kCharDevice;
    whiteout = TRY(tmpfs().NewInode(args));
  }
  const Nanos now = RealtimeNow();
  RefPtr<TmpfsInode> removed, self;  // after the lock
  absl::MutexLock lock(&tmpfs().names_mu());
  if (FindLocked(old_name) != moved || to->FindLocked(new_name) != target) return Errno::kENOENT;
  if ((flags & abi::kRenameExchange) != 0) {
    self = RemoveLocked(old_name);
    removed = to->RemoveLocked(new_name);
    AddLocked(old_name, removed.ToRef());
    to->AddLocked(new_name, self.ToRef());
    AddLinks((target->IsDirectory() ? 1 : 0) - (moved->IsDirectory() ? 1 : 0));
    to->AddLinks((moved->IsDirectory() ? 1 : 0) - (target->IsDirectory() ? 1 : 0));
    target->TouchChange(now);
  } else {
    if (target != nullptr) {
      if (auto* directory = dynamic_cast<TmpfsDirectory*>(target)) {
        if (!directory->entries_.empty()) return Errno::kENOTEMPTY;
        target->AddLinks(-1);
        to->AddLinks(-1);
      }
      removed = to->RemoveLocked(new_name);
      target->AddLinks(-1);
      target->TouchChange(now);
    }
    self = RemoveLocked(old_name);
    to->AddLocked(new_name, self.ToRef());
    if (moved->IsDirectory()) {
      AddLinks(-1);
      to->AddLinks(1);
    }
    if (whiteout != nullptr) AddLocked(old_name, whiteout.ToRef());
  }
  moved->TouchChange(now);
  TouchModify(now);
  to->TouchModify(now);
  return Ok();
}

void TmpfsDirectory::Emit(vfs::DirentSink& sink, uint64_t& position) {
  absl::ReaderMutexLock lock(&tmpfs().names_mu());
  for (auto it = entries_.lower_bound(position); it != entries_.end(); ++it) {
    const Entry& e = it->second;
    if (!sink.Add(e.name, e.inode->ino(), e.inode->type(), it->first + 1)) return;
    position = it->first + 1;
  }
}

}  // namespace rampart::fs
