#include "sentry/fs/tmpfs/tmpfs_inode.h"

#include <vector>

#include "sentry/vfs/file_support.h"

namespace rampart::fs {
namespace {

// xattr(7) flags and what one object may carry.
constexpr uint32_t kXattrCreate = 1, kXattrReplace = 2;
constexpr size_t kMaxXattrBytes = 128 * 1024;

// A tree may be as deep as an application likes: directories must not destroy their children by recursion.
thread_local std::vector<TmpfsInode*>* t_dying = nullptr;

bool KnownNamespace(std::string_view name) {
  for (const std::string_view prefix : {"user.", "trusted.", "security."}) {
    if (name.substr(0, prefix.size()) == prefix) return true;
  }
  return name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

}  // namespace

TmpfsInode::TmpfsInode(Ref<Tmpfs> fs, uint64_t ino, const vfs::CreateArgs& args)
    : Inode(fs, ino, args.type),
      tmpfs_(*fs),
      permissions_(args.permissions & 07777),
      uid_(args.uid),
      gid_(args.gid),
      btime_(RealtimeNow()),
      rdev_(args.rdev) {
  atime_.store(btime_, std::memory_order_relaxed);
  mtime_.store(btime_, std::memory_order_relaxed);
  ctime_.store(btime_, std::memory_order_relaxed);
}

TmpfsInode::~TmpfsInode() { tmpfs_.UnchargeInode(); }

void TmpfsInode::OnLastRef() {
  if (t_dying != nullptr) {
    t_dying->push_back(this);
    return;
  }
  std::vector<TmpfsInode*> dying{this};
  t_dying = &dying;
  while (!dying.empty()) {
    TmpfsInode* inode = dying.back();
    dying.pop_back();
    delete inode;
  }
  t_dying = nullptr;
}

Result<vfs::Attr> TmpfsInode::GetAttr(const Caller&) {
  vfs::Attr attr;
  attr.type = type();
  attr.permissions = permissions_.load(std::memory_order_relaxed);
  attr.ino = ino();
  attr.nlink = static_cast<uint64_t>(links());
  attr.uid = uid_.load(std::memory_order_relaxed);
  attr.gid = gid_.load(std::memory_order_relaxed);
  attr.rdev = rdev_;
  attr.atime = atime_.load(std::memory_order_relaxed);
  attr.mtime = mtime_.load(std::memory_order_relaxed);
  attr.ctime = ctime_.load(std::memory_order_relaxed);
  attr.btime = btime_;
  FillAttr(attr);
  return attr;
}

Result<void> TmpfsInode::SetAttr(const Caller&, const vfs::AttrChange& change) {
  if (change.size) TRY(Resize(*change.size));
  const Nanos now = RealtimeNow();
  if (change.size) TouchModify(now);
  if (change.uid) uid_.store(*change.uid, std::memory_order_relaxed);
  if (change.gid) gid_.store(*change.gid, std::memory_order_relaxed);
  if (change.permissions) permissions_.store(*change.permissions & 07777, std::memory_order_relaxed);
  if (change.atime) atime_.store(*change.atime, std::memory_order_relaxed);
  if (change.mtime) mtime_.store(*change.mtime, std::memory_order_relaxed);
  TouchChange(now);
  return Ok();
}

void TmpfsInode::TouchAccess(const vfs::FileDescription& file) {
  const Nanos now = RealtimeNow();
  if (vfs::AtimeIsStale(file, atime_.load(std::memory_order_relaxed), mtime_.load(std::memory_order_relaxed),
                        ctime_.load(std::memory_order_relaxed), now)) {
    atime_.store(now, std::memory_order_relaxed);
  }
}

Result<std::string> TmpfsInode::GetXattr(const Caller&, std::string_view name) {
  if (!KnownNamespace(name)) return Errno::kEOPNOTSUPP;
  absl::ReaderMutexLock lock(&xattr_mu_);
  const auto it = xattrs_.find(name);
  if (it == xattrs_.end()) return Errno::kENODATA;
  return it->second;
}

Result<void> TmpfsInode::SetXattr(const Caller&, std::string_view name, std::string_view value, uint32_t flags) {
  if (!KnownNamespace(name)) return Errno::kEOPNOTSUPP;
  absl::MutexLock lock(&xattr_mu_);
  const auto it = xattrs_.find(name);
  if (it != xattrs_.end() && (flags & kXattrCreate) != 0) return Errno::kEEXIST;
  if (it == xattrs_.end() && (flags & kXattrReplace) != 0) return Errno::kENODATA;
  const size_t old_bytes = it == xattrs_.end() ? 0 : it->first.size() + it->second.size();
  const size_t bytes = xattr_bytes_ - old_bytes + name.size() + value.size();
  if (bytes > kMaxXattrBytes) return Errno::kENOSPC;
  xattr_bytes_ = bytes;
  if (it != xattrs_.end()) {
    it->second = std::string(value);
  } else {
    xattrs_.emplace(std::string(name), std::string(value));
  }
  TouchChange(RealtimeNow());
  return Ok();
}

Result<std::vector<std::string>> TmpfsInode::ListXattr(const Caller&) {
  std::vector<std::string> names;
  absl::ReaderMutexLock lock(&xattr_mu_);
  for (const auto& [name, value] : xattrs_) names.push_back(name);
  return names;
}

Result<void> TmpfsInode::RemoveXattr(const Caller&, std::string_view name) {
  if (!KnownNamespace(name)) return Errno::kEOPNOTSUPP;
  absl::MutexLock lock(&xattr_mu_);
  const auto it = xattrs_.find(name);
  if (it == xattrs_.end()) return Errno::kENODATA;
  xattr_bytes_ -= it->first.size() + it->second.size();
  xattrs_.erase(it);
  TouchChange(RealtimeNow());
  return Ok();
}

}  // namespace rampart::fs
