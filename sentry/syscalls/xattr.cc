#include "sentry/syscalls/xattr.h"

#include <algorithm>
#include <cstring>

#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/path_arg.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;

constexpr uint64_t kMaxValue = 65536, kMaxList = 65536;

Result<vfs::Path> Named(Task& task, UserPath user, bool follow) {
  const PathArg path = TRY(PathArg::Read(task, kAtFdCwd, user));
  return path.Find(follow);
}

Result<vfs::Path> Opened(Task& task, Fd fd) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  return file->path();
}

struct UserXattrArgs {
  uint64_t value;
  uint32_t size;
  uint32_t flags;
};

// The object of an *xattrat call: (dirfd, path) with AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH.
Result<vfs::Path> NamedAt(Task& task, Fd dirfd, UserPath user, uint32_t at_flags) {
  constexpr uint32_t kNofollow = static_cast<uint32_t>(abi::kAtSymlinkNofollow), kEmpty = static_cast<uint32_t>(abi::kAtEmptyPath);
  if ((at_flags & ~(kNofollow | kEmpty)) != 0) return Errno::kEINVAL;
  const bool empty_allowed = (at_flags & kEmpty) != 0;
  if (!user && !empty_allowed) return Errno::kEFAULT;
  std::string text;
  if (user) text = TRY(task.CopyInPath(user));
  if (text.empty() && empty_allowed && dirfd != kAtFdCwd) return Opened(task, dirfd);
  const PathArg path = TRY(PathArg::Of(task, dirfd, std::move(text)));
  return path.Find((at_flags & kNofollow) == 0, empty_allowed);
}

// An extensible struct: EINVAL when too short, E2BIG when it says more than we know.
Result<UserXattrArgs> ReadArgs(Task& task, UserAddr address, uint64_t size) {
  if (size < sizeof(UserXattrArgs)) return Errno::kEINVAL;
  if (size > kPageSize) return Errno::kE2BIG;
  std::vector<std::byte> bytes(static_cast<size_t>(size));
  TRY(task.mm().CopyInBytes(address, bytes));
  const auto is_set = [](std::byte b) { return b != std::byte{0}; };
  if (std::any_of(bytes.begin() + sizeof(UserXattrArgs), bytes.end(), is_set)) return Errno::kE2BIG;
  UserXattrArgs args;
  std::memcpy(&args, bytes.data(), sizeof(args));
  return args;
}

Result<std::string> ReadName(Task& task, UserPath user) {
  std::string name = TRY(task.mm().CopyInString(user.address(), 256, Errno::kERANGE));
  if (name.empty()) return Errno::kERANGE;
  return name;
}

// A size of 0 asks how much there is.
Result<Word> Answer(Task& task, std::string_view bytes, UserAddr to, uint64_t size) {
  if (size == 0) return static_cast<Word>(bytes.size());
  if (bytes.size() > size) return Errno::kERANGE;
  TRY(task.mm().CopyOutBytes(to, std::as_bytes(std::span(bytes.data(), bytes.size()))));
  return static_cast<Word>(bytes.size());
}

Result<Word> Set(Task& task, Result<vfs::Path> path, UserPath user_name, UserAddr value, uint64_t size, uint32_t flags) {
  if ((flags & ~3u) != 0) return Errno::kEINVAL;
  const std::string name = TRY(ReadName(task, user_name));
  if (size > kMaxValue) return Errno::kE2BIG;
  std::string bytes(static_cast<size_t>(size), '\0');
  TRY(task.mm().CopyInBytes(value, std::as_writable_bytes(std::span(bytes.data(), bytes.size()))));
  const vfs::Path found = TRY(std::move(path));
  TRY(vfs::SetXattr(task, found, name, bytes, flags));
  return Word{0};
}

Result<Word> Get(Task& task, Result<vfs::Path> path, UserPath user_name, UserAddr value, uint64_t size) {
  const std::string name = TRY(ReadName(task, user_name));
  const vfs::Path found = TRY(std::move(path));
  const std::string bytes = TRY(vfs::GetXattr(task, found, name));
  return Answer(task, bytes, value, size);
}

Result<Word> List(Task& task, Result<vfs::Path> path, UserAddr list, uint64_t size) {
  const vfs::Path found = TRY(std::move(path));
  const std::vector<std::string> names = TRY(vfs::ListXattr(task, found));
  std::string bytes;
  for (const std::string& name : names) {
    bytes += name;
    bytes.push_back('\0');
  }
  if (bytes.size() > kMaxList) return Errno::kE2BIG;
  return Answer(task, bytes, list, size);
}

Result<Word> Remove(Task& task, Result<vfs::Path> path, UserPath user_name) {
  const std::string name = TRY(ReadName(task, user_name));
  const vfs::Path found = TRY(std::move(path));
  TRY(vfs::RemoveXattr(task, found, name));
  return Word{0};
}

}  // namespace

Result<Word> SysSetxattr(Task& task, UserPath path, UserPath name, UserAddr value, uint64_t size, uint32_t flags) {
  return Set(task, Named(task, path, true), name, value, size, flags);
}
Result<Word> SysLsetxattr(Task& task, UserPath path, UserPath name, UserAddr value, uint64_t size, uint32_t flags) {
  return Set(task, Named(task, path, false), name, value, size, flags);
}
Result<Word> SysFsetxattr(Task& task, Fd fd, UserPath name, UserAddr value, uint64_t size, uint32_t flags) {
  return Set(task, Opened(task, fd), name, value, size, flags);
}
Result<Word> SysGetxattr(Task& task, UserPath path, UserPath name, UserAddr value, uint64_t size) {
  return Get(task, Named(task, path, true), name, value, size);
}
Result<Word> SysLgetxattr(Task& task, UserPath path, UserPath name, UserAddr value, uint64_t size) {
  return Get(task, Named(task, path, false), name, value, size);
}
Result<Word> SysFgetxattr(Task& task, Fd fd, UserPath name, UserAddr value, uint64_t size) {
  return Get(task, Opened(task, fd), name, value, size);
}
Result<Word> SysListxattr(Task& task, UserPath path, UserAddr list, uint64_t size) { return List(task, Named(task, path, true), list, size); }
Result<Word> SysLlistxattr(Task& task, UserPath path, UserAddr list, uint64_t size) { return List(task, Named(task, path, false), list, size); }
Result<Word> SysFlistxattr(Task& task, Fd fd, UserAddr list, uint64_t size) { return List(task, Opened(task, fd), list, size); }
Result<Word> SysRemovexattr(Task& task, UserPath path, UserPath name) { return Remove(task, Named(task, path, true), name); }
Result<Word> SysLremovexattr(Task& task, UserPath path, UserPath name) { return Remove(task, Named(task, path, false), name); }
Result<Word> SysFremovexattr(Task& task, Fd fd, UserPath name) { return Remove(task, Opened(task, fd), name); }

Result<Word> SysSetxattrat(Task& task, Fd dirfd, UserPath path, uint32_t at_flags, UserPath name, UserAddr user, uint64_t size) {
  const UserXattrArgs args = TRY(ReadArgs(task, user, size));
  return Set(task, NamedAt(task, dirfd, path, at_flags), name, args.value, args.size, args.flags);
}
Result<Word> SysGetxattrat(Task& task, Fd dirfd, UserPath path, uint32_t at_flags, UserPath name, UserAddr user, uint64_t size) {
  const UserXattrArgs args = TRY(ReadArgs(task, user, size));
  if (args.flags != 0) return Errno::kEINVAL;
  return Get(task, NamedAt(task, dirfd, path, at_flags), name, args.value, args.size);
}
Result<Word> SysListxattrat(Task& task, Fd dirfd, UserPath path, uint32_t at_flags, UserAddr list, uint64_t size) {
  return List(task, NamedAt(task, dirfd, path, at_flags), list, size);
}
Result<Word> SysRemovexattrat(Task& task, Fd dirfd, UserPath path, uint32_t at_flags, UserPath name) {
  return Remove(task, NamedAt(task, dirfd, path, at_flags), name);
}

}  // namespace rampart::syscalls
