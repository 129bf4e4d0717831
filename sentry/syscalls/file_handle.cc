#include "sentry/syscalls/file_handle.h"

#include <cstring>
#include <string_view>

#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/path_arg.h"

namespace rampart::syscalls {
namespace {

// AT_HANDLE_MNT_ID_UNIQUE, AT_HANDLE_CONNECTABLE, AT_HANDLE_FID.
constexpr uint32_t kUniqueMountId = 0x001, kConnectable = 0x002, kFileId = 0x200;
constexpr int32_t kInodeAndGeneration = 0x81, kIsConnectable = 0x10000, kIsDirectory = 0x20000;
constexpr uint32_t kMaxHandle = 128;

// struct file_handle.
struct HandleHead {
  uint32_t bytes;
  int32_t type;
};
struct HandleBody {
  uint32_t inode_low, inode_high;
  uint32_t generation;
};

// Whether Linux's filesystem of this type gives handles that can be opened.
bool Exports(const vfs::Filesystem& fs) { return std::string_view(fs.type()) == "tmpfs" || std::string_view(fs.type()) == "sysfs"; }

}  // namespace

Result<Word> SysNameToHandleAt(kernel::Task& task, Fd dirfd, UserPath path, UserAddr handle, UserAddr mount_id, uint32_t flags) {
  constexpr uint32_t kKnown = abi::kAtSymlinkFollow | abi::kAtEmptyPath | kFileId | kUniqueMountId | kConnectable;
  if ((flags & ~kKnown) != 0) return Errno::kEINVAL;
  if ((flags & kConnectable) != 0 && (flags & (kFileId | abi::kAtEmptyPath)) != 0) return Errno::kEINVAL;
  const PathArg argument = TRY((flags & abi::kAtEmptyPath) != 0 ? PathArg::ReadMaybeEmpty(task, dirfd, path) : PathArg::Read(task, dirfd, path));
  const vfs::Path found = TRY(argument.Find((flags & abi::kAtSymlinkFollow) != 0, (flags & abi::kAtEmptyPath) != 0));
  const vfs::Inode& inode = *found.dentry->inode();
  if ((flags & kFileId) == 0 && !Exports(inode.fs())) return Errno::kEOPNOTSUPP;
  const HandleHead given = TRY(task.CopyIn(UserIn<HandleHead>(handle)));
  if (given.bytes > kMaxHandle) return Errno::kEINVAL;
  HandleHead head{sizeof(HandleBody), kInodeAndGeneration};
  if ((flags & kConnectable) != 0) head.type |= kIsConnectable | (inode.IsDirectory() ? kIsDirectory : 0);
  const HandleBody body{static_cast<uint32_t>(inode.ino()), static_cast<uint32_t>(inode.ino() >> 32), 0};
  const bool fits = given.bytes >= sizeof(body);
  if (!fits) head.type = given.type;
  if ((flags & kUniqueMountId) != 0) {
    TRY(task.CopyOut(UserOut<uint64_t>(mount_id), uint64_t{found.mount->id()}));
  } else {
    TRY(task.CopyOut(UserOut<int32_t>(mount_id), static_cast<int32_t>(found.mount->id())));
  }
  TRY(task.CopyOut(UserOut<HandleHead>(handle), head));
  if (!fits) return Errno::kEOVERFLOW;
  TRY(task.CopyOut(UserOut<HandleBody>(handle + sizeof(HandleHead)), body));
  return Word{0};
}

Result<Word> SysOpenByHandleAt(kernel::Task& task, Fd mount_fd, UserAddr handle, uint32_t) {
  if (mount_fd != kAtFdCwd) TRY(OpenedFile(task, mount_fd));
  if (!task.creds().HasCapability(abi::Capability::kDacReadSearch)) return Errno::kEPERM;
  const HandleHead given = TRY(task.CopyIn(UserIn<HandleHead>(handle)));
  if (given.bytes > kMaxHandle || given.bytes == 0 || given.type < 0) return Errno::kEINVAL;
  TRY(task.mm().CopyInArray(UserIn<std::byte>(handle + sizeof(HandleHead)), given.bytes, kMaxHandle));
  return Errno::kESTALE;
}

}  // namespace rampart::syscalls
