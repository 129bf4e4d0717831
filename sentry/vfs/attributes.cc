// Changes of attributes: chmod, chown, utimes, truncate and xattrs (Linux: setattr_prepare, notify_change, xattr_permission).
#include <string>

#include "sentry/vfs/file_support.h"
#include "sentry/vfs/inode_extras.h"
#include "sentry/vfs/permission.h"

namespace rampart::vfs {
namespace {

using abi::Capability;

Result<void> CheckWritableMount(const Path& path) {
  if (path.mount->read_only()) return Errno::kEROFS;
  return Ok();
}

// What is left of the mode after a change of contents or owner by somebody who may not keep set-id bits (Linux: setattr_should_drop_sgid).
uint32_t WithoutSetId(const Caller& caller, const Attr& attr) {
  uint32_t permissions = attr.permissions & ~abi::kIsUid;
  const bool keeps_group = caller.creds().InGroup(attr.gid) || caller.creds().HasCapability(Capability::kFsetid);
  if ((permissions & 0010) != 0 || !keeps_group) permissions &= ~abi::kIsGid;
  return permissions;
}

Result<void> Apply(Caller& caller, const Path& path, const AttrChange& change) {
  TRY(path.dentry->inode()->SetAttr(caller, change));
  NotifyWatches(path, change.size && !change.permissions ? kInModify : kInAttrib);
  return Ok();
}

bool HasPrefix(std::string_view name, std::string_view prefix) { return name.substr(0, prefix.size()) == prefix; }

// xattr_permission of Linux. `missing`: what an unprivileged reader of trusted.* is told.
Result<void> CheckXattr(Caller& caller, const Path& path, std::string_view name, bool write) {
  Inode& inode = *path.dentry->inode();
  if (write) TRY(CheckWritableMount(path));
  if (HasPrefix(name, "security.") || HasPrefix(name, "system.")) return Ok();
  if (HasPrefix(name, "trusted.")) {
    if (!caller.creds().HasCapability(Capability::kSysAdmin)) return write ? Errno::kEPERM : Errno::kENODATA;
    return Ok();
  }
  if (HasPrefix(name, "user.")) {
    if (inode.type() != FileType::kRegular && !inode.IsDirectory()) return write ? Errno::kEPERM : Errno::kENODATA;
    if (write && inode.IsDirectory()) {
      const Attr attr = TRY(inode.GetAttr(caller));
      if ((attr.permissions & abi::kIsVtx) != 0 && !IsOwnerOrCapable(caller, attr)) return Errno::kEPERM;
    }
  }
  TRY(inode.CheckAccess(caller, write ? Access::kWrite : Access::kRead));
  if (!HasPrefix(name, "user.")) return Errno::kEOPNOTSUPP;
  if (name != "user.") return Ok();
  // A prefix alone is no name, where there are names.
  const Result<std::string> other = inode.GetXattr(caller, "user.-");
  return !other.ok() && other.error() == Errno::kEOPNOTSUPP ? Errno::kEOPNOTSUPP : Errno::kEINVAL;
}

Result<void> CheckSecurityXattr(Caller& caller, std::string_view name) {
  if (name == "security.capability") {
    if (!caller.creds().HasCapability(Capability::kSetfcap)) return Errno::kEPERM;
  } else if (HasPrefix(name, "security.") && !caller.creds().HasCapability(Capability::kSysAdmin)) {
    return Errno::kEPERM;
  }
  return Ok();
}

// ACLs are the owner's to change.
Result<void> CheckSystemXattr(Caller& caller, const Path& path, std::string_view name) {
  if (!HasPrefix(name, "system.posix_acl_")) return Ok();
  const Attr attr = TRY(path.dentry->inode()->GetAttr(caller));
  if (!IsOwnerOrCapable(caller, attr)) return Errno::kEPERM;
  return Ok();
}

}  // namespace

uint32_t PermissionsKept(const Caller& caller, uint32_t permissions, abi::Gid gid) {
  Attr attr;
  attr.permissions = permissions;
  attr.gid = gid;
  return caller.creds().HasCapability(Capability::kFsetid) ? permissions : WithoutSetId(caller, attr);
}

Result<void> ChangeMode(Caller& caller, const Path& path, uint32_t permissions) {
  TRY(CheckWritableMount(path));
  Inode& inode = *path.dentry->inode();
  const Attr attr = TRY(inode.GetAttr(caller));
  if (!IsOwnerOrCapable(caller, attr)) return Errno::kEPERM;
  AttrChange change;
  permissions &= 07777;
  if (!caller.creds().InGroup(attr.gid) && !caller.creds().HasCapability(Capability::kFsetid)) permissions &= ~abi::kIsGid;
  change.permissions = permissions;
  return Apply(caller, path, change);
}

Result<void> ChangeOwner(Caller& caller, const Path& path, std::optional<abi::Uid> uid, std::optional<abi::Gid> gid) {
  TRY(CheckWritableMount(path));
  Inode& inode = *path.dentry->inode();
  const Attr attr = TRY(inode.GetAttr(caller));
  const auth::Credentials& creds = caller.creds();
  if (!creds.HasCapability(Capability::kChown)) {
    const bool owner = creds.fsuid == attr.uid;
    if (uid && !(owner && *uid == attr.uid)) return Errno::kEPERM;
    if (gid && !(owner && (creds.InGroup(*gid) || *gid == attr.gid))) return Errno::kEPERM;
  }
  AttrChange change;
  change.uid = uid;
  change.gid = gid;
  if (!inode.IsDirectory() && inode.type() != FileType::kSymlink) {
    const uint32_t kept = WithoutSetId(caller, attr);
    if (kept != attr.permissions) change.permissions = kept;
  }
  return Apply(caller, path, change);
}

Result<void> ChangeTimes(Caller& caller, const Path& path, TimeChange atime, TimeChange mtime) {
  if (atime.kind == TimeChange::kOmit && mtime.kind == TimeChange::kOmit) return Ok();
  TRY(CheckWritableMount(path));
  Inode& inode = *path.dentry->inode();
  const Attr attr = TRY(inode.GetAttr(caller));
  if (!IsOwnerOrCapable(caller, attr)) {
    if (atime.kind != TimeChange::kNow || mtime.kind != TimeChange::kNow) return Errno::kEPERM;
    TRY(inode.CheckAccess(caller, Access::kWrite));
  }
  const Nanos now = RealtimeNow();
  AttrChange change;
  if (atime.kind != TimeChange::kOmit) change.atime = atime.kind == TimeChange::kNow ? now : atime.value;
  if (mtime.kind != TimeChange::kOmit) change.mtime = mtime.kind == TimeChange::kNow ? now : mtime.value;
  return Apply(caller, path, change);
}

Result<void> DropPrivilegeBits(Caller& caller, Inode& inode) {
  if (caller.creds().HasCapability(Capability::kFsetid)) return Ok();
  const Attr attr = TRY(inode.GetAttr(caller));
  const uint32_t kept = WithoutSetId(caller, attr);
  if (inode.type() != FileType::kRegular || kept == attr.permissions) return Ok();
  AttrChange change;
  change.permissions = kept;
  return inode.SetAttr(caller, change);
}

Result<void> TruncateOpened(Caller& caller, const Path& path, uint64_t size) {
  Inode& inode = *path.dentry->inode();
  AttrChange change;
  change.size = size;
  TRY(Apply(caller, path, change));
  return DropPrivilegeBits(caller, inode);
}

Result<void> Truncate(Caller& caller, const Path& path, uint64_t size) {
  Inode& inode = *path.dentry->inode();
  if (inode.IsDirectory()) return Errno::kEISDIR;
  if (inode.type() != FileType::kRegular) return Errno::kEINVAL;
  TRY(CheckWritableMount(path));
  TRY(inode.CheckAccess(caller, Access::kWrite));
  if (InodeExtras* extras = inode.extras_if_any(); extras != nullptr && extras->leases.any()) TRY(extras->leases.Break(nullptr, true));
  TRY(inode.AcquireWriteAccess());
  const Result<void> result = TruncateOpened(caller, path, size);
  inode.ReleaseWriteAccess();
  return result;
}

Result<std::string> GetXattr(Caller& caller, const Path& path, std::string_view name) {
  TRY(CheckXattr(caller, path, name, false));
  return path.dentry->inode()->GetXattr(caller, name);
}

Result<void> SetXattr(Caller& caller, const Path& path, std::string_view name, std::string_view value, uint32_t flags) {
  TRY(CheckXattr(caller, path, name, true));
  TRY(CheckSecurityXattr(caller, name));
  TRY(CheckSystemXattr(caller, path, name));
  TRY(path.dentry->inode()->SetXattr(caller, name, value, flags));
  NotifyWatches(path, kInAttrib);
  return Ok();
}

Result<std::vector<std::string>> ListXattr(Caller& caller, const Path& path) {
  std::vector<std::string> names = TRY(path.dentry->inode()->ListXattr(caller));
  if (!caller.creds().HasCapability(Capability::kSysAdmin)) {
    std::erase_if(names, [](const std::string& name) { return HasPrefix(name, "trusted."); });
  }
  return names;
}

Result<void> RemoveXattr(Caller& caller, const Path& path, std::string_view name) {
  TRY(CheckXattr(caller, path, name, true));
  TRY(CheckSecurityXattr(caller, name));
  TRY(CheckSystemXattr(caller, path, name));
  TRY(path.dentry->inode()->RemoveXattr(caller, name));
  NotifyWatches(path, kInAttrib);
  return Ok();
}

}  // namespace rampart::vfs
