#include "sentry/vfs/permission.h"

#include "sentry/vfs/dentry_cache.h"

namespace rampart::vfs {

bool IsOwnerOrCapable(const Caller& caller, const Attr& attr) {
  return attr.uid == caller.creds().fsuid || caller.creds().HasCapability(abi::Capability::kFowner);
}

Result<void> MayCreate(Caller& caller, const Dentry& directory) {
  if (directory.IsDeleted()) return Errno::kENOENT;
  return directory.inode()->CheckAccess(caller, Access::kWrite | Access::kExecute);
}

Result<void> MayDelete(Caller& caller, const MountNamespace& mounts, const Dentry& directory, const Dentry& victim, bool must_be_directory) {
  if (victim.IsNegative()) return Errno::kENOENT;
  TRY(directory.inode()->CheckAccess(caller, Access::kWrite | Access::kExecute));
  if (!caller.creds().HasCapability(abi::Capability::kFowner)) {
    const Attr dir = TRY(directory.inode()->GetAttr(caller));
    if ((dir.permissions & abi::kIsVtx) != 0 && dir.uid != caller.creds().fsuid) {
      const Attr own = TRY(victim.inode()->GetAttr(caller));
      if (own.uid != caller.creds().fsuid) return Errno::kEPERM;
    }
  }
  if (must_be_directory && !victim.IsDirectory()) return Errno::kENOTDIR;
  if (!must_be_directory && victim.IsDirectory()) return Errno::kEISDIR;
  if (mounts.HasMountOn(victim)) return Errno::kEBUSY;
  return Ok();
}

Result<CreateArgs> NewObjectArgs(Caller& caller, Inode& directory, FileType type, uint32_t mode) {
  const Attr dir = TRY(directory.GetAttr(caller));
  const auth::Credentials& creds = caller.creds();
  CreateArgs args;
  args.type = type;
  args.permissions = mode & ~caller.umask() & 07777;
  args.uid = creds.fsuid;
  args.gid = creds.fsgid;
  if ((dir.permissions & abi::kIsGid) != 0) {
    args.gid = dir.gid;
    if (type == FileType::kDirectory) {
      args.permissions |= abi::kIsGid;
    } else if ((args.permissions & (abi::kIsGid | 0010)) == (abi::kIsGid | 0010) && !creds.InGroup(dir.gid) &&
               !creds.HasCapability(abi::Capability::kFsetid)) {
      args.permissions &= ~abi::kIsGid;
    }
  }
  return args;
}

Result<void> CheckAccess(Caller& caller, const Path& path, Access wanted) {
  const RefPtr<Inode>& inode = path.dentry->inode();
  if (inode == nullptr) return Errno::kENOENT;
  const FileType type = inode->type();
  if (Includes(wanted, Access::kWrite) && path.mount->read_only() &&
      (type == FileType::kRegular || type == FileType::kDirectory || type == FileType::kSymlink)) {
    return Errno::kEROFS;
  }
  if (Includes(wanted, Access::kExecute) && type == FileType::kRegular && path.mount->flags().no_exec) return Errno::kEACCES;
  return inode->CheckAccess(caller, wanted);
}

Result<Attr> GetAttr(Caller& caller, const Path& path) { return path.dentry->inode()->GetAttr(caller); }

}  // namespace rampart::vfs
