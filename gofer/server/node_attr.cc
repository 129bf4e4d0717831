// Changing attributes through an O_PATH descriptor, on which half of the host's calls refuse to work.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "gofer/server/host_calls.h"
#include "gofer/server/node.h"

namespace rampart::gofer {
namespace {

Result<timespec> WantedTime(const SetAttr& set, uint32_t bit, uint32_t value_bit, int64_t sec, uint64_t nsec) {
  if ((set.valid & bit) == 0) return timespec{0, UTIME_OMIT};
  if ((set.valid & value_bit) == 0) return timespec{0, UTIME_NOW};
  if (nsec >= 1'000'000'000) return Errno::kEINVAL;
  return timespec{sec, static_cast<long>(nsec)};
}

constexpr std::string_view kUserPrefix = "user.";
constexpr std::string_view kSystemPrefix = "system.";  // access control lists, which the sandbox does not know

// A checked, NUL-terminated attribute name.
Result<std::string> XattrName(std::string_view name) {
  if (name.empty() || name.size() > kMaxName) return Errno::kERANGE;
  if (name.find('\0') != std::string_view::npos) return Errno::kEINVAL;
  if (name.starts_with(kSystemPrefix)) return Errno::kEOPNOTSUPP;
  return std::string(name);
}

std::string WithoutSystemNames(std::string_view names) {
  std::string out;
  while (!names.empty()) {
    const size_t length = std::min(names.find('\0'), names.size() - 1) + 1;
    if (!names.starts_with(kSystemPrefix)) out += names.substr(0, length);
    names.remove_prefix(length);
  }
  return out;
}

Result<std::string> ChangeableXattrName(Node& node, std::string_view name) {
  TRY(node.CheckWritable());
  std::string key = TRY(XattrName(name));
  if (!name.starts_with(kUserPrefix)) return Errno::kEPERM;
  if (!node.is_dir() && !node.is_regular()) return Errno::kEPERM;  // xattr(7): user attributes are for these only
  return key;
}

}  // namespace

Result<void> Node::SetSize(uint64_t size) {
  if (is_dir()) return Errno::kEISDIR;
  if (!is_regular() || size > INT64_MAX) return Errno::kEINVAL;
  const UniqueFd file = TRY(Open(O_WRONLY));
  if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) return ErrnoFromHost(errno);
  return Ok();
}

Result<void> Node::SetMode(uint32_t mode) {
  if (is_symlink()) return Errno::kEOPNOTSUPP;
  auto direct = ChmodPathFd(fd_.get(), mode & 07777);
  if (direct.ok() || direct.error() != Errno::kENOSYS) return direct;
  // Linux before 6.6. Sockets, FIFOs and devices cannot be opened for this: ENXIO.
  const UniqueFd file = TRY(Open(O_RDONLY));
  if (::fchmod(file.get(), mode & 07777) != 0) return ErrnoFromHost(errno);
  return Ok();
}

Result<void> Node::SetTimes(const SetAttr& set) {
  const timespec times[2] = {TRY(WantedTime(set, kSetAtime, kSetAtimeValue, set.atime_sec, set.atime_nsec)),
                             TRY(WantedTime(set, kSetMtime, kSetMtimeValue, set.mtime_sec, set.mtime_nsec))};
  if (::utimensat(fd_.get(), "", times, AT_EMPTY_PATH) != 0) return ErrnoFromHost(errno);
  return Ok();
}

Result<void> Node::SetAttributes(const SetAttr& set) {
  TRY(CheckWritable());
  if ((set.valid & kSetSize) != 0) TRY(SetSize(set.size));
  if ((set.valid & (kSetUid | kSetGid)) != 0) {
    const uint32_t uid = (set.valid & kSetUid) != 0 ? set.uid : Owner::kKeep;
    const uint32_t gid = (set.valid & kSetGid) != 0 ? set.gid : Owner::kKeep;
    if (::fchownat(fd_.get(), "", uid, gid, AT_EMPTY_PATH) != 0) return ErrnoFromHost(errno);
  }
  if ((set.valid & kSetMode) != 0) TRY(SetMode(set.mode));
  if ((set.valid & (kSetAtime | kSetMtime)) != 0) TRY(SetTimes(set));
  return Ok();
}

Result<std::string> GetXattr(Node& node, std::string_view name) {
  const std::string key = TRY(XattrName(name));
  if (!node.is_dir() && !node.is_regular()) return Errno::kENODATA;
  const UniqueFd file = TRY(node.Open(O_RDONLY));
  std::string value(kMaxXattr, '\0');
  const ssize_t n = ::fgetxattr(file.get(), key.c_str(), value.data(), value.size());
  if (n < 0) return ErrnoFromHost(errno);
  value.resize(static_cast<size_t>(n));
  return value;
}

Result<void> SetXattr(Node& node, std::string_view name, Bytes value, uint32_t flags) {
  const std::string key = TRY(ChangeableXattrName(node, name));
  if (value.size() > kMaxXattr) return Errno::kE2BIG;
  if ((flags & ~uint32_t{XATTR_CREATE | XATTR_REPLACE}) != 0) return Errno::kEINVAL;
  const UniqueFd file = TRY(node.Open(O_RDONLY));
  if (::fsetxattr(file.get(), key.c_str(), value.data(), value.size(), static_cast<int>(flags)) != 0) return ErrnoFromHost(errno);
  return Ok();
}

Result<std::string> ListXattr(Node& node) {
  if (!node.is_dir() && !node.is_regular()) return std::string();
  const UniqueFd file = TRY(node.Open(O_RDONLY));
  std::string names(kMaxXattr, '\0');
  const ssize_t n = ::flistxattr(file.get(), names.data(), names.size());
  if (n < 0) return ErrnoFromHost(errno);
  names.resize(static_cast<size_t>(n));
  return WithoutSystemNames(names);
}

Result<void> RemoveXattr(Node& node, std::string_view name) {
  const std::string key = TRY(ChangeableXattrName(node, name));
  const UniqueFd file = TRY(node.Open(O_RDONLY));
  if (::fremovexattr(file.get(), key.c_str()) != 0) return ErrnoFromHost(errno);
  return Ok();
}

}  // namespace rampart::gofer
