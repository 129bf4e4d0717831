#include "sentry/syscalls/xattr.h"

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
  const Ref<vfs::FileDescription> file = TRY(task.fds().Get(fd));
  if ((file->flags() & abi::kOPath) != 0) return Errno::kEBADF;
  return file->path();
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

}  // namespace rampart::syscalls
