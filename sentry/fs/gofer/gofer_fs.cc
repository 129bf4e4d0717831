#include "sentry/fs/gofer/gofer_fs.h"

#include "sentry/fs/gofer/convert.h"
#include "sentry/fs/gofer/gofer_inode.h"

namespace rampart::fs {
namespace {

constexpr size_t kMaxIdle = 256;  // inodes that keep host descriptors while nobody has them open

}  // namespace

Result<Ref<GoferConnection>> GoferConnection::Create(UniqueFd socket, gofer::SocketKind kind) {
  gofer::Client::Options options;
  options.kind = kind;
  return MakeRef<GoferConnection>(TRY(gofer::Client::Connect(std::move(socket), options)));
}

GoferFilesystem::GoferFilesystem(Ref<GoferConnection> connection, bool exclusive, gofer::FidNum root_fid, const gofer::FileAttr& root,
                                 uint32_t flags)
    : Filesystem("9p"), connection_(std::move(connection)), exclusive_(exclusive), attach_flags_(flags), root_fid_(root_fid), root_attr_(root) {}

Result<Ref<GoferFilesystem>> GoferFilesystem::Create(Ref<GoferConnection> connection, const GoferMountOptions& options) {
  gofer::Client& client = connection->client();
  const gofer::FidNum fid = TRY(client.NewFid());
  gofer::FileAttr attr;
  uint32_t flags = 0;
  {
    auto attached = client.Call(gofer::Teattach{fid, options.attach});
    if (!attached.ok()) {
      client.ReturnUnused(fid);
      return attached.error();
    }
    attr = (*attached)->attr;
    flags = (*attached)->flags;
  }
  if (!gofer::IsValid(attr)) return Errno::kEIO;
  Ref<GoferFilesystem> fs = MakeRef<GoferFilesystem>(std::move(connection), options.exclusive, fid, attr, flags);
  absl::MutexLock lock(&fs->mutex_);
  fs->devices_.emplace(abi::MakeDev(attr.dev_major, attr.dev_minor), fs->device());
  return fs;
}

GoferFilesystem::~GoferFilesystem() {
  client().Clunk(root_fid_);
  client().FlushClunks();
}

Ref<vfs::Inode> GoferFilesystem::root() {
  auto inode = InodeFor(root_attr_, root_fid_, nullptr, "");
  CHECK(inode.ok());  // root_attr_ was checked
  return std::move(*inode);
}

Result<vfs::FsStats> GoferFilesystem::StatFs(const Caller&) {
  const auto reply = TRY(client().Call(gofer::Tstatfs{root_fid_}));
  vfs::FsStats stats;
  stats.magic = 0x01021997;  // V9FS_MAGIC
  stats.block_size = reply->bsize;
  stats.blocks = reply->blocks;
  stats.blocks_free = reply->bfree;
  stats.blocks_available = reply->bavail;
  stats.files = reply->files;
  stats.files_free = reply->ffree;
  stats.fsid = reply->fsid;
  stats.name_max = reply->namelen;
  return stats;
}

Result<void> GoferFilesystem::Sync() {
  if (!writable()) return Ok();
  TRY(client().Call(gofer::Tesync{root_fid_, gofer::SyncKind::kFilesystem}));
  return Ok();
}

std::string GoferFilesystem::Options() const { return exclusive_ ? "cache=exclusive" : "cache=shared"; }

GoferFilesystem::Key GoferFilesystem::KeyOf(const gofer::FileAttr& attr) { return {abi::MakeDev(attr.dev_major, attr.dev_minor), attr.ino}; }

uint64_t GoferFilesystem::DeviceFor(uint32_t major, uint32_t minor) {
  const auto [it, added] = devices_.try_emplace(abi::MakeDev(major, minor), 0);
  if (added) it->second = vfs::NewAnonymousDevice();
  return it->second;
}

Result<Ref<GoferInode>> GoferFilesystem::InodeFor(const gofer::FileAttr& attr, gofer::FidNum fid, GoferInode* parent, std::string_view name) {
  if (!gofer::IsValid(attr)) {
    client().Clunk(fid);
    return Errno::kEIO;
  }
  RefPtr<GoferInode> known;
  {
    absl::MutexLock lock(&mutex_);
    GoferInode*& slot = inodes_[KeyOf(attr)];
    known = TryRef(slot);
    if (!known || known->type() != TypeOf(attr)) {
      // A dying one leaves the table later, and sees that it is not the one in it any more.
      Ref<GoferInode> made = MakeRef<GoferInode>(ShareRef(this), DeviceFor(attr.dev_major, attr.dev_minor), attr, fid, parent, name);
      slot = made.get();
      return made;
    }
  }
  known->OfferFid(fid);
  if (!exclusive_) known->StoreAttr(attr, known->AttrGeneration());
  return std::move(known).ToRef();
}

void GoferFilesystem::Forget(GoferInode& inode) {
  {
    absl::MutexLock lock(&mutex_);
    const auto it = inodes_.find(Key{inode.host_device_, inode.ino()});
    if (it != inodes_.end() && it->second == &inode) inodes_.erase(it);
  }
  absl::MutexLock lock(&idle_mutex_);
  if (inode.idle_) idle_.erase(inode.idle_position_);
  inode.idle_ = false;
}

void GoferFilesystem::AddIdle(GoferInode& inode) {
  RefPtr<GoferInode> oldest;
  {
    absl::MutexLock lock(&idle_mutex_);
    if (inode.idle_) idle_.erase(inode.idle_position_);
    inode.idle_position_ = idle_.insert(idle_.end(), &inode);
    inode.idle_ = true;
    if (idle_.size() <= kMaxIdle) return;
    oldest = TryRef(idle_.front());
    if (oldest) oldest->idle_ = false;
    if (oldest) idle_.pop_front();  // a dying one takes itself out
  }
  if (oldest) oldest->DropIdleBackings();
}

}  // namespace rampart::fs
