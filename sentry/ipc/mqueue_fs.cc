#include "sentry/ipc/mqueue_fs.h"

#include <algorithm>

#include "sentry/vfs/file_support.h"

namespace rampart::ipc {
namespace {

constexpr uint64_t kMagic = 0x19800202;
constexpr uint64_t kEntrySize = 20;  // DIRENT_SIZE

class DirectoryDescription final : public vfs::FileDescription {
 public:
  DirectoryDescription(vfs::Path path, uint32_t flags, Ref<MqDirectory> directory)
      : FileDescription(std::move(path), flags), directory_(std::move(directory)) {}
  Result<size_t> PRead(Caller&, mm::IoDst&, uint64_t, uint32_t) override { return Errno::kEISDIR; }
  Result<void> Iterate(Caller&, vfs::DirentSink& sink) override {
    absl::MutexLock lock(&position_mu_);
    uint64_t position = position_.load(std::memory_order_relaxed);
    if (vfs::EmitDots(*this, sink, position)) directory_->Emit(sink, position);
    position_.store(position, std::memory_order_relaxed);
    return Ok();
  }
  Result<uint64_t> Seek(Caller& caller, int64_t offset, int whence) override {
    if (whence != abi::kSeekSet && whence != abi::kSeekCur) return Errno::kEINVAL;
    return FileDescription::Seek(caller, offset, whence);
  }

 private:
  const Ref<MqDirectory> directory_;
};

// What lookup_one_len of Linux takes for the name of a queue.
Result<void> CheckName(std::string_view name) {
  if (name.empty()) return Errno::kENOENT;
  if (name == "." || name == ".." || name.find('/') != std::string_view::npos) return Errno::kEACCES;
  if (name.size() > static_cast<size_t>(abi::kNameMax)) return Errno::kENAMETOOLONG;
  return Ok();
}

}  // namespace

MqInodeBase::MqInodeBase(Ref<vfs::Filesystem> fs, vfs::FileType type, uint32_t permissions, abi::Uid uid, abi::Gid gid)
    : Inode(std::move(fs), vfs::NextInodeNumber(), type) {
  attr_.type = type;
  attr_.permissions = permissions & 07777;
  attr_.ino = ino();
  attr_.uid = uid;
  attr_.gid = gid;
  attr_.atime = attr_.mtime = attr_.ctime = RealtimeNow();
}

Result<vfs::Attr> MqInodeBase::GetAttr(const Caller&) {
  vfs::Attr attr;
  {
    absl::ReaderMutexLock lock(&attr_mu_);
    attr = attr_;
  }
  attr.size = Size();
  attr.nlink = Links();
  return attr;
}

Result<void> MqInodeBase::SetAttr(const Caller&, const vfs::AttrChange& change) {
  absl::MutexLock lock(&attr_mu_);
  if (change.permissions) attr_.permissions = *change.permissions & 07777;
  if (change.uid) attr_.uid = *change.uid;
  if (change.gid) attr_.gid = *change.gid;
  if (change.atime) attr_.atime = *change.atime;
  if (change.mtime) attr_.mtime = *change.mtime;
  attr_.ctime = RealtimeNow();
  return Ok();
}

void MqInodeBase::TouchAccess() {
  absl::MutexLock lock(&attr_mu_);
  attr_.atime = attr_.ctime = RealtimeNow();
}

void MqInodeBase::TouchAll() {
  absl::MutexLock lock(&attr_mu_);
  attr_.atime = attr_.mtime = attr_.ctime = RealtimeNow();
}

MqInode::MqInode(Ref<vfs::Filesystem> fs, Ref<MqAccounts> accounts, MqQueue::Shape shape, const vfs::CreateArgs& args, abi::Uid user)
    : MqInodeBase(std::move(fs), vfs::FileType::kRegular, args.permissions, args.uid, args.gid), accounts_(accounts), user_(user),
      queue_(std::move(accounts), shape) {}

MqInode::~MqInode() { accounts_->Uncharge(user_, MqQueue::BytesOf(queue_.shape())); }

Result<Ref<vfs::FileDescription>> MqInode::Open(Caller&, const vfs::Path& path, uint32_t flags) {
  return Ref<vfs::FileDescription>(MakeRef<MqDescription>(path, flags, ShareRef(this)));
}

Result<size_t> MqDescription::PRead(Caller& caller, mm::IoDst& dst, uint64_t offset, uint32_t) {
  const std::string text = inode_->queue().StatusText(caller);
  if (offset >= text.size()) return size_t{0};
  const size_t n = TRY(dst.Write(std::as_bytes(std::span(text)).subspan(offset, std::min<size_t>(text.size() - offset, dst.remaining()))));
  inode_->TouchAccess();
  return n;
}

Result<void> MqDescription::OnClose(Caller& caller) {
  inode_->queue().Unregister(CurrentProcess());
  return FileDescription::OnClose(caller);
}

MqDirectory::MqDirectory(Ref<MqFilesystem> fs, Ref<MqAccounts> accounts)
    : MqInodeBase(std::move(fs), vfs::FileType::kDirectory, 01777, 0, 0), accounts_(std::move(accounts)) {}

MqInode* MqDirectory::FindLocked(std::string_view name) const {
  const auto it = places_.find(name);
  return it == places_.end() ? nullptr : entries_.at(it->second).inode.get();
}

Result<Ref<MqInode>> MqDirectory::Make(const Caller& caller, std::string_view name, const vfs::CreateArgs& args, const abi::MqAttr* asked) {
  const auth::Credentials& creds = caller.creds();
  absl::MutexLock lock(&mu_);
  if (FindLocked(name) != nullptr) return Errno::kEEXIST;
  TRY(accounts_->AddQueue(creds));
  const Result<MqQueue::Shape> shape = [&]() -> Result<MqQueue::Shape> {
    const MqQueue::Shape decided = TRY(MqQueue::Decide(asked, accounts_->limits(), creds));
    TRY(accounts_->Charge(creds.ruid, MqQueue::BytesOf(decided), caller.limit(abi::Resource::kMsgqueue)));
    return decided;
  }();
  if (!shape.ok()) {
    accounts_->RemoveQueue();
    return shape.error();
  }
  const Ref<MqInode> made = MakeRef<MqInode>(ShareRef(&fs()), accounts_, *shape, args, creds.ruid);
  const uint64_t place = next_place_++;
  const auto entry = entries_.emplace(place, Entry{std::string(name), made}).first;
  places_.emplace(entry->second.name, place);
  TouchAll();
  return made;
}

Result<bool> MqDirectory::Revalidate(const Caller&, std::string_view name, vfs::Inode* child) {
  absl::ReaderMutexLock lock(&mu_);
  return FindLocked(name) == child;
}

Result<RefPtr<vfs::Inode>> MqDirectory::Lookup(const Caller&, std::string_view name, std::string_view) {
  absl::ReaderMutexLock lock(&mu_);
  MqInode* const found = FindLocked(name);
  return found == nullptr ? RefPtr<vfs::Inode>() : RefPtr<vfs::Inode>(ShareRef(found));
}

Result<Ref<vfs::Inode>> MqDirectory::Create(const Caller& caller, std::string_view name, const vfs::CreateArgs& args) {
  if (args.type != vfs::FileType::kRegular) return Errno::kEPERM;
  return Ref<vfs::Inode>(TRY(Make(caller, name, args, nullptr)));
}

Result<void> MqDirectory::Unlink(const Caller&, std::string_view name, vfs::Inode& victim) {
  RefPtr<MqInode> gone;  // after the lock
  absl::MutexLock lock(&mu_);
  if (FindLocked(name) != &victim) return Errno::kENOENT;
  const auto it = places_.find(name);
  const auto entry = entries_.find(it->second);
  gone = entry->second.inode;
  gone->Unlinked();
  places_.erase(it);
  entries_.erase(entry);
  accounts_->RemoveQueue();
  TouchAll();
  return Ok();
}

Result<Ref<vfs::FileDescription>> MqDirectory::Open(Caller&, const vfs::Path& path, uint32_t flags) {
  return Ref<vfs::FileDescription>(MakeRef<DirectoryDescription>(path, flags, ShareRef(this)));
}

void MqDirectory::Emit(vfs::DirentSink& sink, uint64_t& position) {
  absl::ReaderMutexLock lock(&mu_);
  for (auto it = entries_.lower_bound(position); it != entries_.end(); ++it) {
    if (!sink.Add(it->second.name, it->second.inode->ino(), vfs::FileType::kRegular, it->first + 1)) return;
    position = it->first + 1;
  }
}

uint64_t MqDirectory::Size() const {
  absl::ReaderMutexLock lock(&mu_);
  return (entries_.size() + 2) * kEntrySize;
}

Ref<vfs::Inode> MqFilesystem::MakeRoot(Ref<MqAccounts> accounts) {
  Ref<vfs::Inode> root = MakeRef<MqDirectory>(ShareRef(this), std::move(accounts));
  absl::MutexLock lock(&root_mu_);
  weak_root_ = root.get();
  return root;
}

Ref<vfs::Inode> MqFilesystem::root() {
  absl::MutexLock lock(&root_mu_);
  RefPtr<vfs::Inode> root = TryRef(weak_root_);
  CHECK(root != nullptr);
  return std::move(root).ToRef();
}

Result<vfs::FsStats> MqFilesystem::StatFs(const Caller&) { return vfs::FsStats{.magic = kMagic, .fsid = device()}; }

Result<Ref<vfs::FileDescription>> OpenQueue(Caller& caller, vfs::MountNamespace& mounts, const vfs::Path& root, std::string_view name,
                                            uint32_t flags, uint32_t mode, const abi::MqAttr* asked) {
  TRY(CheckName(name));
  const vfs::Walk walk{caller, mounts, root, root};
  const vfs::WalkArgs args{.follow_last = false};
  const Ref<vfs::Inode> directory = root.dentry->inode().ToRef();
  while (true) {
    Result<vfs::Path> found = vfs::Lookup(walk, name, args);
    if (found.ok()) {
      if ((flags & abi::kOCreat) != 0 && (flags & abi::kOExcl) != 0) return Errno::kEEXIST;
      if ((flags & abi::kOAccMode) == 3) return Errno::kEINVAL;
      constexpr vfs::Access kRights[] = {vfs::Access::kRead, vfs::Access::kWrite, vfs::Access::kRead | vfs::Access::kWrite};
      TRY(vfs::CheckAccess(caller, *found, kRights[flags & abi::kOAccMode]));
      return found->dentry->inode()->Open(caller, *found, flags);
    }
    if (found.error() != Errno::kENOENT || (flags & abi::kOCreat) == 0) return found.error();
    TRY(directory->CheckAccess(caller, vfs::Access::kWrite | vfs::Access::kExecute));
    vfs::CreateArgs create;
    create.permissions = mode & 07777 & ~caller.umask();
    create.uid = caller.creds().fsuid;
    create.gid = caller.creds().fsgid;
    const Result<Ref<MqInode>> made = dynamic_cast<MqDirectory&>(*directory).Make(caller, name, create, asked);
    if (!made.ok() && made.error() == Errno::kEEXIST) continue;  // somebody else was faster
    if (!made.ok()) return made.error();
    // Its maker may open it whatever its mode says.
    found = vfs::Lookup(walk, name, args);
    if (found.ok() && found->dentry->inode().get() == made->get()) return (*made)->Open(caller, *found, flags);
  }
}

Result<void> UnlinkQueue(Caller& caller, vfs::MountNamespace& mounts, const vfs::Path& root, std::string_view name) {
  TRY(CheckName(name));
  return vfs::Unlink(vfs::Walk{caller, mounts, root, root}, name);
}

}  // namespace rampart::ipc
