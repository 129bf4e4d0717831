#include "sentry/fs/gofer/gofer_inode.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/safe_math.h"
#include "sentry/fs/gofer/convert.h"
#include "sentry/fs/gofer/gofer_file.h"

namespace rampart::fs {
namespace {

constexpr uint32_t kSetIdBits = abi::kIsUid | abi::kIsGid;

}  // namespace

GoferInode::GoferInode(Ref<GoferFilesystem> fs, uint64_t device, const gofer::FileAttr& attr, gofer::FidNum fid, GoferInode* parent,
                       std::string_view name)
    : Inode(fs, attr.ino, TypeOf(attr)), gofer_fs_(*fs), device_(device), host_device_(abi::MakeDev(attr.dev_major, attr.dev_minor)), fid_(fid),
      attr_(ToAttr(attr)), set_id_(attr_.permissions & kSetIdBits), had_set_id_(set_id_ != 0) {
  if (!fs->exclusive()) attr_time_ = MonotonicNow();
  if (fid == gofer::kNoFid && parent != nullptr) {
    origin_ = ShareRef(parent);
    origin_name_ = name;
  }
}

GoferInode::~GoferInode() {
  gofer_fs_.Forget(*this);
  const gofer::FidNum fid = fid_.load();
  if (fid != gofer_fs_.root_fid_) client().Clunk(fid);
}

bool GoferInode::IsSameFile(const gofer::FileAttr& attr) const {
  return attr.ino == ino() && abi::MakeDev(attr.dev_major, attr.dev_minor) == host_device_ && TypeOf(attr) == type();
}

Result<gofer::FidNum> GoferInode::EnsureFid() {
  const gofer::FidNum known = fid_.load();
  if (known != gofer::kNoFid) return known;
  RefPtr<GoferInode> parent;
  std::string name;
  {
    absl::MutexLock lock(&attr_mutex_);
    parent = origin_;
    name = origin_name_;
  }
  if (!parent) return Errno::kESTALE;
  const gofer::FidNum parent_fid = TRY(parent->EnsureFid());
  const gofer::FidNum fid = TRY(client().NewFid());
  const auto walked = client().Call(gofer::Tewalk{parent_fid, {{fid, name}}});
  if (!walked.ok() || (*walked)->attrs.empty()) {
    client().ReturnUnused(fid);
    return walked.ok() ? Errno::kESTALE : walked.error();
  }
  if ((*walked)->attrs.size() != 1 || !IsSameFile((*walked)->attrs[0])) {
    client().Clunk(fid);
    return Errno::kESTALE;
  }
  if ((*walked)->end == gofer::WalkEnd::kSymlink) {
    absl::MutexLock lock(&attr_mutex_);
    target_ = std::string((*walked)->target);
  }
  OfferFid(fid);
  return fid_.load();
}

void GoferInode::OfferFid(gofer::FidNum fid) {
  if (fid == gofer::kNoFid || fid == fid_.load()) return;
  gofer::FidNum none = gofer::kNoFid;
  if (!fid_.compare_exchange_strong(none, fid)) {
    if (fid != gofer_fs_.root_fid_) client().Clunk(fid);
    return;
  }
  RefPtr<GoferInode> origin;  // dies after the lock
  absl::MutexLock lock(&attr_mutex_);
  std::swap(origin, origin_);
}

void GoferInode::MovedTo(GoferInode& directory, std::string_view name) {
  RefPtr<GoferInode> origin;  // dies after the lock
  absl::MutexLock lock(&attr_mutex_);
  if (fid_.load() != gofer::kNoFid) return;
  origin = std::move(origin_);
  origin_ = ShareRef(&directory);
  origin_name_ = name;
}

// A name of this file is gone. If it was the only way to find the file again, nobody may take another file with its number for it.
void GoferInode::NameRemoved() {
  MarkStale();
  if (fid_.load() != gofer::kNoFid) return;
  gofer_fs_.Forget(*this);
  RefPtr<GoferInode> origin;
  absl::MutexLock lock(&attr_mutex_);
  origin = std::move(origin_);
  if (IsDirectory()) {
    attr_.nlink = 0;
  } else if (attr_.nlink > 0) {
    --attr_.nlink;
  }
  attr_valid_ = true;  // nothing better will be known
}

uint64_t GoferInode::AttrGeneration() {
  absl::MutexLock lock(&attr_mutex_);
  return attr_generation_;
}

vfs::Attr GoferInode::Complete(const gofer::FileAttr& from) const {
  vfs::Attr attr = ToAttr(from);
  // These never change, and fstat or a setattr does not tell them.
  attr.rdev = attr_.rdev;
  if (!attr.btime) attr.btime = attr_.btime;
  if (from.mask == 0) attr.attributes = attr_.attributes;
  // Nobody else changes them, or they are being given back.
  if (type() == vfs::FileType::kRegular && (gofer_fs_.exclusive() || changing_.load() > 0)) {
    attr.permissions = (attr.permissions & ~kSetIdBits) | set_id_;
  }
  return attr;
}

vfs::Attr GoferInode::StoreAttr(const gofer::FileAttr& attr, uint64_t generation) {
  absl::MutexLock lock(&attr_mutex_);
  const vfs::Attr complete = Complete(attr);
  if (attr_generation_ != generation) return complete;
  attr_ = complete;
  set_id_ = complete.permissions & kSetIdBits;
  if (set_id_ != 0) had_set_id_.store(true);
  attr_valid_ = true;
  if (!gofer_fs_.exclusive()) attr_time_ = MonotonicNow();
  return complete;
}

void GoferInode::MarkStale() {
  absl::MutexLock lock(&attr_mutex_);
  ++attr_generation_;
  attr_valid_ = false;
}

void GoferInode::GrowTo(uint64_t size) {
  absl::MutexLock lock(&attr_mutex_);
  ++attr_generation_;
  attr_valid_ = false;
  attr_.size = std::max(attr_.size, size);
}

// In the Sentry's user namespace nobody has a name: the gofer alone tells owners. Others than we change them with the change time, if at all.
bool GoferInode::KnowsOwner(const gofer::FileAttr& now) const {
  return gofer_fs_.exclusive() || ToAttr(now).ctime == attr_.ctime;
}

Result<gofer::FileAttr> GoferInode::Fetch() {
  gofer::FileAttr attr;
  bool complete = false;
  if (RefPtr<HostBacking> backing = FindBacking(false, false)) {
    attr = TRY(StatDescriptor(backing->fd()));
    absl::MutexLock lock(&attr_mutex_);
    complete = KnowsOwner(attr);
    attr.uid = attr_.uid;
    attr.gid = attr_.gid;
  }
  if (!complete) {
    const gofer::FidNum fid = TRY(EnsureFid());
    attr = TRY(client().Call(gofer::Tegetattr{fid}))->attr;
  }
  if (!gofer::IsValid(attr) || !IsSameFile(attr)) return Errno::kEIO;
  return attr;
}

Result<vfs::Attr> GoferInode::GetAttr(const Caller&) {
  const bool watched = mappings_.writable_shared() == 0;  // else the application changes times without telling
  uint64_t generation = 0;
  {
    absl::MutexLock lock(&attr_mutex_);
    const bool fresh = gofer_fs_.exclusive() ? watched : MonotonicNow() - attr_time_ < kSharedFreshness;
    if (attr_valid_ && fresh) return attr_;
    generation = attr_generation_;
  }
  const gofer::FileAttr fetched = TRY(Fetch());
  return StoreAttr(fetched, generation);
}

Result<uint64_t> GoferInode::Size(const Caller& caller) {
  if (!gofer_fs_.exclusive()) return TRY(GetAttr(caller)).size;
  absl::MutexLock lock(&attr_mutex_);
  return attr_.size;
}

Result<void> GoferInode::SetSize(uint64_t size) {
  if (size > INT64_MAX) return Errno::kEFBIG;
  const Ref<HostBacking> backing = TRY(EnsureBacking(false, true));
  uint64_t old = 0;
  {
    absl::MutexLock lock(&size_mutex_);
    if (::ftruncate(backing->fd(), static_cast<off_t>(size)) != 0) return ErrnoFromHost(errno);
    absl::MutexLock attr_lock(&attr_mutex_);
    ++attr_generation_;
    attr_valid_ = false;
    old = std::exchange(attr_.size, size);
  }
  if (size < old || !gofer_fs_.exclusive()) mappings_.Invalidate(*this, {PageUp(size), UINT64_MAX & ~kPageMask}, true);
  return Ok();
}

Result<void> GoferInode::ChangeOnHost(const vfs::AttrChange& change) {
  const gofer::FidNum fid = TRY(EnsureFid());
  MarkStale();
  const uint64_t generation = AttrGeneration();
  // Before the host has them: whoever writes from then on must know.
  if (change.permissions && (*change.permissions & kSetIdBits) != 0) had_set_id_.store(true);
  const gofer::FileAttr attr = TRY(client().Call(gofer::Tesetattr{fid, ToSetAttr(change)}))->attr;
  if (!gofer::IsValid(attr) || !IsSameFile(attr)) return Errno::kEIO;
  Adopt(attr, change.permissions.has_value());
  StoreAttr(attr, generation + 1);
  return Ok();
}

Result<void> GoferInode::GiveBackSetId(const Caller& caller) {
  absl::MutexLock lock(&mode_mutex_);
  const vfs::Attr attr = TRY(GetAttr(caller));
  if ((attr.permissions & kSetIdBits) == 0) return Ok();
  vfs::AttrChange change;
  change.permissions = vfs::PermissionsKept(caller, attr.permissions, attr.gid);
  return ChangeOnHost(change);
}

void GoferInode::Adopt(const gofer::FileAttr& attr, bool mode) {
  absl::MutexLock lock(&attr_mutex_);
  ++attr_generation_;  // what was asked for before the change and comes after it is not kept
  attr_.uid = attr.uid;
  attr_.gid = attr.gid;
  if (!mode) return;
  attr_.permissions = ToAttr(attr).permissions;
  set_id_ = attr_.permissions & kSetIdBits;
}

void GoferInode::TouchAccess(const vfs::FileDescription& file, const HostBacking& backing) {
  const Nanos now = RealtimeNow();
  {
    absl::MutexLock lock(&attr_mutex_);
    const Nanos modified = attr_valid_ ? attr_.mtime : now, changed = attr_valid_ ? attr_.ctime : now;
    if (!vfs::AtimeIsStale(file, std::max(attr_.atime, touched_), modified, changed, now)) return;
    touched_ = now;
  }
  backing.NoteAccess();
  MarkStale();
}

Result<void> GoferInode::SetAttr(const Caller& caller, const vfs::AttrChange& change) {
  vfs::AttrChange rest = change;
  if (change.size) {
    if (IsDirectory()) return Errno::kEISDIR;
    if (type() != vfs::FileType::kRegular) return Errno::kEINVAL;
    SetIdKept kept(*this);
    TRY(SetSize(*change.size));
    rest.size.reset();
    if (!rest.permissions) TRY(kept.Settle(caller));
  }
  if (!rest.permissions && !rest.uid && !rest.gid && !rest.atime && !rest.mtime) return Ok();
  absl::MutexLock lock(&mode_mutex_);
  if ((rest.uid || rest.gid) && !rest.permissions && type() == vfs::FileType::kRegular && had_set_id_.load()) {
    rest.permissions = TRY(GetAttr(caller)).permissions;  // the host takes the bits with the owner
  }
  return ChangeOnHost(rest);
}

Result<std::string> GoferInode::GetXattr(const Caller&, std::string_view name) {
  const gofer::FidNum fid = TRY(EnsureFid());
  const auto reply = TRY(client().Call(gofer::Tegetxattr{fid, name}));
  const gofer::Bytes value = reply->value.bytes;
  // SAFETY: any byte is a char.
  return std::string(reinterpret_cast<const char*>(value.data()), value.size());
}

Result<void> GoferInode::SetXattr(const Caller&, std::string_view name, std::string_view value, uint32_t flags) {
  const gofer::FidNum fid = TRY(EnsureFid());
  TRY(client().Call(gofer::Tesetxattr{fid, name, {std::as_bytes(std::span(value))}, flags}));
  MarkStale();
  return Ok();
}

Result<std::vector<std::string>> GoferInode::ListXattr(const Caller&) {
  const gofer::FidNum fid = TRY(EnsureFid());
  const auto reply = TRY(client().Call(gofer::Telistxattr{fid}));
  const gofer::Bytes bytes = reply->names.bytes;
  // SAFETY: any byte is a char.
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<std::string> names;
  while (!rest.empty()) {
    const size_t length = rest.find('\0');
    if (length == std::string_view::npos || length == 0 || length > gofer::kMaxName) return Errno::kEIO;
    names.emplace_back(rest.substr(0, length));
    rest.remove_prefix(length + 1);
  }
  return names;
}

Result<void> GoferInode::RemoveXattr(const Caller&, std::string_view name) {
  const gofer::FidNum fid = TRY(EnsureFid());
  TRY(client().Call(gofer::Teremovexattr{fid, name}));
  MarkStale();
  return Ok();
}

Result<std::string> GoferInode::ReadLink(const Caller&) {
  if (type() != vfs::FileType::kSymlink) return Errno::kEINVAL;
  for (int attempt = 0; attempt < 2; ++attempt) {
    {
      absl::MutexLock lock(&attr_mutex_);
      if (target_) return *target_;  // a link's text never changes
    }
    if (fid_.load() != gofer::kNoFid) break;
    TRY(EnsureFid());  // brings the text along
  }
  const gofer::FidNum fid = TRY(EnsureFid());
  std::string target(TRY(client().Call(gofer::Treadlink{fid}))->target);
  if (target.empty() || target.size() > gofer::kMaxTarget || target.find('\0') != std::string::npos) return Errno::kEIO;
  absl::MutexLock lock(&attr_mutex_);
  target_ = target;
  return target;
}

Result<void> GoferInode::SyncThroughGofer(gofer::SyncKind kind) {
  const gofer::FidNum fid = TRY(EnsureFid());
  TRY(client().Call(gofer::Tesync{fid, kind}));
  return Ok();
}

Result<Ref<vfs::FileDescription>> GoferInode::Open(Caller&, const vfs::Path& path, uint32_t flags) {
  if (IsDirectory()) return Ref<vfs::FileDescription>(MakeRef<GoferDirectoryFile>(path, flags, ShareRef(this)));
  if (type() != vfs::FileType::kRegular) return Errno::kENXIO;
  const uint32_t mode = flags & abi::kOAccMode;
  Ref<HostBacking> backing = TRY(EnsureBacking(mode != abi::kOWrOnly, mode != abi::kORdOnly));
  return Ref<vfs::FileDescription>(MakeRef<GoferFile>(path, flags, ShareRef(this), std::move(backing)));
}

}  // namespace rampart::fs
