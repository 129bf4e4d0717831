#include "gofer/server/node.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "gofer/server/host_calls.h"

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000U
#endif

namespace rampart::gofer {
namespace {

constexpr uint32_t kHeededOpenFlags = O_ACCMODE | O_TRUNC | O_APPEND | O_DIRECT | O_SYNC | O_DSYNC | O_NOATIME;

WireTime FromStatx(const struct statx_timestamp& time) { return {time.tv_sec, time.tv_nsec}; }

FileAttr FromStatx(const struct statx& from) {
  FileAttr attr;
  attr.mask = from.stx_mask;
  attr.mode = from.stx_mode;
  attr.uid = from.stx_uid;
  attr.gid = from.stx_gid;
  attr.nlink = from.stx_nlink;
  attr.blksize = from.stx_blksize;
  attr.dev_major = from.stx_dev_major;
  attr.dev_minor = from.stx_dev_minor;
  attr.rdev_major = from.stx_rdev_major;
  attr.rdev_minor = from.stx_rdev_minor;
  attr.ino = from.stx_ino;
  attr.size = from.stx_size;
  attr.blocks = from.stx_blocks;
  attr.mnt_id = from.stx_mnt_id;
  attr.attributes = from.stx_attributes;
  attr.atime = FromStatx(from.stx_atime);
  attr.mtime = FromStatx(from.stx_mtime);
  attr.ctime = FromStatx(from.stx_ctime);
  attr.btime = FromStatx(from.stx_btime);
  return attr;
}

}  // namespace

Result<FilePermit> FilePermit::Take(Host& host) {
  if (host.files.fetch_add(1, std::memory_order_relaxed) >= host.max_files) {
    host.files.fetch_sub(1, std::memory_order_relaxed);
    return Errno::kENFILE;
  }
  return FilePermit(&host);
}

Result<FileAttr> StatAt(int dirfd, const char* name) {
  struct statx out {};
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name == '\0' ? AT_EMPTY_PATH : 0);
  if (::statx(dirfd, name, flags, STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, &out) != 0) return ErrnoFromHost(errno);
  return FromStatx(out);
}

Qid QidOf(const FileAttr& attr) {
  Qid qid;
  if (S_ISDIR(attr.mode)) qid.type = kQidDir;
  if (S_ISLNK(attr.mode)) qid.type = kQidSymlink;
  // Files of several devices may be beneath one root, and a client takes equal paths for equal files.
  qid.path = attr.ino ^ (uint64_t{attr.dev_major} << 52) ^ (uint64_t{attr.dev_minor} << 40);
  qid.version = static_cast<uint32_t>(attr.mtime.sec) ^ attr.mtime.nsec;
  return qid;
}

Node::Node(Host& host, const AttachPoint& attach, UniqueFd fd, FilePermit permit, const FileAttr& attr, RefPtr<Node> parent,
           std::string_view name)
    : host_(host), attach_(attach), fd_(std::move(fd)), permit_(std::move(permit)), type_(attr.mode & S_IFMT), dev_major_(attr.dev_major),
      dev_minor_(attr.dev_minor), ino_(attr.ino), parent_(std::move(parent)), name_(name) {}

Result<Node::Found> Node::Make(Host& host, const AttachPoint& attach, UniqueFd fd, FilePermit permit, RefPtr<Node> parent,
                               std::string_view name) {
  const FileAttr attr = TRY(StatAt(fd.get(), ""));
  return Found{Ref<Node>::Adopt(new Node(host, attach, std::move(fd), std::move(permit), attr, std::move(parent), name)), attr};
}

Result<Node::Found> Node::Root(Host& host, const AttachPoint& attach) {
  FilePermit permit = TRY(FilePermit::Take(host));
  return Make(host, attach, TRY(attach.root.Duplicate()), std::move(permit), nullptr, "");
}

Result<Node::Found> Node::Child(std::string_view name) {
  if (!IsValidName(name)) return name.size() > kMaxName ? Errno::kENAMETOOLONG : Errno::kEINVAL;
  if (!is_dir()) return Errno::kENOTDIR;
  FilePermit permit = TRY(FilePermit::Take(host_));
  UniqueFd fd = TRY(OpenBeneath(fd_.get(), CName(name).c_str(), O_PATH, 0));
  return Make(host_, attach_, std::move(fd), std::move(permit), ShareRef(this), name);
}

Result<Node::Found> Node::Unnamed(Node& directory, UniqueFd path_fd) {
  FilePermit permit = TRY(FilePermit::Take(directory.host_));
  return Make(directory.host_, directory.attach_, std::move(path_fd), std::move(permit), nullptr, "");
}

Ref<Node> Node::Parent() {
  absl::MutexLock lock(&mutex_);
  return parent_ ? parent_.ToRef() : ShareRef(this);
}

Result<FileAttr> Node::Stat() const { return StatAt(fd_.get(), ""); }

bool Node::IsSameFile(const FileAttr& attr) const {
  return attr.ino == ino_ && attr.dev_major == dev_major_ && attr.dev_minor == dev_minor_ && (attr.mode & S_IFMT) == type_;
}

Result<void> Node::CheckWritable() const {
  if (attach_.read_only) return Errno::kEROFS;
  return Ok();
}

Result<UniqueFd> Node::Open(uint32_t flags) {
  if (is_symlink()) return Errno::kELOOP;
  if (!is_dir() && !is_regular()) return Errno::kENXIO;
  if ((flags & O_ACCMODE) == O_ACCMODE) return Errno::kEINVAL;
  if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0) TRY(CheckWritable());
  const int host_flags = static_cast<int>(flags & kHeededOpenFlags) | O_NONBLOCK | O_NOCTTY;
  if (is_dir()) {
    if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0) return Errno::kEISDIR;
    return OpenBeneath(fd_.get(), ".", O_RDONLY | O_DIRECTORY, 0);
  }
  if (host_.proc_self_fd.valid()) return OpenThroughProc(host_.proc_self_fd.get(), fd_.get(), host_flags);
  const Place place = TRY(CurrentPlace());
  // Without truncation first: what has this name now may be another file than a moment ago.
  UniqueFd fd = TRY(OpenBeneath(place.directory->fd(), CName(place.name).c_str(), host_flags & ~O_TRUNC, 0));
  const FileAttr attr = TRY(StatAt(fd.get(), ""));
  if (!IsSameFile(attr)) return Errno::kESTALE;
  if ((flags & O_TRUNC) != 0 && ::ftruncate(fd.get(), 0) != 0) return ErrnoFromHost(errno);
  return fd;
}

Result<Node::Opened> Node::OpenChild(std::string_view name, uint32_t flags, const FileAttr* seen) {
  if (!IsValidName(name)) return name.size() > kMaxName ? Errno::kENAMETOOLONG : Errno::kEINVAL;
  if (!is_dir()) return Errno::kENOTDIR;
  const uint32_t access = flags & O_ACCMODE;
  if (access == O_ACCMODE) return Errno::kEINVAL;
  if (access != O_RDONLY) TRY(CheckWritable());
  const CName c_name(name);
  // Opening a device can have effects: looked at first, and again afterwards, should it have become another.
  FileAttr before;
  if (seen == nullptr) before = TRY(StatAt(fd_.get(), c_name.c_str()));
  if (!S_ISREG(seen != nullptr ? seen->mode : before.mode)) return Errno::kENXIO;
  UniqueFd fd = TRY(OpenBeneath(fd_.get(), c_name.c_str(), static_cast<int>(access) | O_NONBLOCK | O_NOCTTY, 0));
  const FileAttr attr = TRY(StatAt(fd.get(), ""));
  if (!S_ISREG(attr.mode)) return Errno::kENXIO;
  return Opened{std::move(fd), attr};
}

Result<Node::Place> Node::CurrentPlace() {
  RefPtr<Node> parent;
  std::string name;
  {
    absl::MutexLock lock(&mutex_);
    parent = parent_;
    name = name_;
  }
  if (!parent) return Errno::kESTALE;  // the root has no name that is ours to use
  const FileAttr there = TRY(StatAt(parent->fd(), CName(name).c_str()));
  if (!IsSameFile(there)) return Errno::kESTALE;
  return Place{parent.ToRef(), std::move(name)};
}

void Node::MovedTo(const Ref<Node>& directory, std::string_view name) {
  RefPtr<Node> old = directory;
  absl::MutexLock lock(&mutex_);
  std::swap(parent_, old);  // the old parent may die, but after the lock
  name_ = name;
}

Result<std::string> Node::ReadLink() const {
  if (!is_symlink()) return Errno::kEINVAL;
  return ReadLinkAt(fd_.get(), "");
}

Result<std::string> ReadLinkAt(int dirfd, const char* name) {
  std::string target(kMaxTarget + 1, '\0');
  const ssize_t n = ::readlinkat(dirfd, name, target.data(), target.size());
  if (n < 0) return ErrnoFromHost(errno);
  if (static_cast<size_t>(n) > kMaxTarget) return Errno::kENAMETOOLONG;
  target.resize(static_cast<size_t>(n));
  return target;
}

}  // namespace rampart::gofer
