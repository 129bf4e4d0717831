#include "sentry/vfs/walker.h"

#include <algorithm>
#include <utility>

#include "sentry/vfs/dentry_cache.h"

namespace rampart::vfs {
namespace {

constexpr int kMaxLinks = 40;

std::string_view SkipSlashes(std::string_view s) {
  size_t i = 0;
  while (i < s.size() && s[i] == '/') ++i;
  return s.substr(i);
}

}  // namespace

Walker::Walker(const Walk& walk, uint64_t resolve)
    : walk_(walk), resolve_(resolve), root_((resolve & kResolveInRoot) != 0 ? &walk.start : &walk.root), current_(walk.start) {}

Result<void> Walker::Start(std::string_view path) {
  if (path.size() >= static_cast<size_t>(abi::kPathMax)) return Errno::kENAMETOOLONG;
  rest_ = path;
  if (!path.empty() && path[0] == '/') {
    if ((resolve_ & kResolveBeneath) != 0) return Errno::kEXDEV;
    current_ = *root_;
  }
  return Ok();
}

Result<void> Walker::CheckSearch() {
  const RefPtr<Inode>& inode = current_.dentry->inode();
  if (inode == nullptr) return Errno::kENOENT;
  if (!inode->IsDirectory()) return Errno::kENOTDIR;
  return inode->CheckAccess(walk_.caller, Access::kExecute);
}

Result<void> Walker::ToParent() {
  while (true) {
    rest_ = SkipSlashes(rest_);
    if (rest_.empty()) {
      last_.clear();
      trailing_slash_ = true;
      return Ok();
    }
    TRY(CheckSearch());
    const size_t length = std::min(rest_.find('/'), rest_.size());
    const std::string_view name = rest_.substr(0, length);
    const std::string_view after = SkipSlashes(rest_.substr(length));
    if (after.empty()) {
      last_.assign(name);
      trailing_slash_ = length < rest_.size();
      rest_ = {};
      return Ok();
    }
    TRY(Step(name, after));
    rest_ = after;
    const RefPtr<Inode>& inode = current_.dentry->inode();
    if (inode == nullptr) return Errno::kENOENT;
    if (inode->type() == FileType::kSymlink) TRY(FollowLink());
  }
}

Result<void> Walker::StepLast() {
  const std::string name = std::move(last_);
  last_.clear();
  return Step(name, "");
}

Result<void> Walker::Step(std::string_view name, std::string_view rest) {
  if (name == ".") return Ok();
  if (name == "..") return StepUp();
  Ref<Dentry> child = TRY(LookupChild(walk_.caller, *current_.dentry, name, rest, (resolve_ & kResolveCached) != 0));
  if (child->inode() != nullptr && child->inode()->type() == FileType::kSymlink) {
    link_mount_ = current_.mount;
    link_parent_ = std::move(current_.dentry);
  }
  current_.dentry = std::move(child);
  if (current_.dentry->IsMountpoint()) TRY(FollowMounts());
  return Ok();
}

Result<void> Walker::FollowMounts() {
  if (RefPtr<Mount> top = MountNamespace::MountedOn(*current_.mount, *current_.dentry, (resolve_ & kResolveQuietly) != 0)) {
    if ((resolve_ & kResolveNoXdev) != 0) return Errno::kEXDEV;
    current_.dentry = top->root();
    current_.mount = std::move(top).ToRef();
  }
  return Ok();
}

Result<void> Walker::StepUp() {
  if ((resolve_ & kResolveBeneath) != 0 && current_ == walk_.start) return Errno::kEXDEV;
  Path at = current_;
  while (true) {
    if (at == *root_) return Ok();
    if (at.dentry == at.mount->root()) {
      std::optional<Path> up = MountNamespace::MountpointOf(*at.mount);
      if (!up) return Ok();  // the top of the namespace, or a detached mount
      if ((resolve_ & kResolveNoXdev) != 0) return Errno::kEXDEV;
      at = *std::move(up);
      continue;
    }
    RefPtr<Dentry> parent = at.dentry->parent();
    if (parent == nullptr) return Ok();
    at.dentry = std::move(parent).ToRef();
    break;
  }
  current_ = std::move(at);
  if (current_.dentry->IsMountpoint()) TRY(FollowMounts());
  return Ok();
}

Result<void> Walker::FollowLink() {
  if (++links_ > kMaxLinks || (resolve_ & kResolveNoSymlinks) != 0) return Errno::kELOOP;
  if (link_mount_->flags().no_symfollow) return Errno::kELOOP;
  const RefPtr<Inode> link = current_.dentry->inode();
  if (link->IsMagicLink()) {
    if ((resolve_ & kResolveNoMagiclinks) != 0) return Errno::kELOOP;
    if ((resolve_ & (kResolveBeneath | kResolveInRoot | kResolveNoXdev)) != 0) return Errno::kEXDEV;
    current_ = TRY(link->FollowMagic(walk_.caller));
    jumped_ = true;
    return Ok();
  }
  jumped_ = false;
  std::string text = TRY(link->ReadLink(walk_.caller));
  if (text.empty()) return Errno::kENOENT;
  if (text.size() >= static_cast<size_t>(abi::kPathMax)) return Errno::kENAMETOOLONG;
  if (text[0] == '/') {
    if ((resolve_ & kResolveBeneath) != 0) return Errno::kEXDEV;
    if ((resolve_ & kResolveNoXdev) != 0 && !(root_->mount == link_mount_.ToRef())) return Errno::kEXDEV;
    current_ = *root_;
  } else {
    current_ = Path{link_mount_.ToRef(), link_parent_.ToRef()};
  }
  link_parent_ = nullptr;
  if (!rest_.empty() || trailing_slash_) {
    text += '/';
    text += rest_;
  }
  trailing_slash_ = false;
  owned_rest_ = std::move(text);
  rest_ = owned_rest_;
  return Ok();
}

Result<Ref<Dentry>> Walker::LookupChild(Caller& caller, Dentry& directory, std::string_view name, std::string_view rest, bool cached_only) {
  Inode& inode = *directory.inode();
  const bool revalidate = inode.cache_policy() == CachePolicy::kRevalidate;
  if (RefPtr<Dentry> known = DentryCache::Find(directory, name)) {
    if (!revalidate) return std::move(known).ToRef();
    if (cached_only) return Errno::kEAGAIN;
    const bool still = TRY(inode.Revalidate(caller, name, known->inode().get()));
    // A mountpoint stays whatever the server says, as on Linux.
    if (still || known->IsMountpoint()) return std::move(known).ToRef();
    DentryCache::Forget(*known, false);
  }
  if (cached_only) return Errno::kEAGAIN;
  absl::MutexLock lock(&DentryCache::DirMutex(directory));
  return LookupChildLocked(caller, directory, name, rest);
}

Result<Ref<Dentry>> Walker::LookupChildLocked(Caller& caller, Dentry& directory, std::string_view name, std::string_view rest) {
  Inode& inode = *directory.inode();
  if (RefPtr<Dentry> known = DentryCache::Find(directory, name)) {
    if (inode.cache_policy() == CachePolicy::kCache || known->IsMountpoint()) return std::move(known).ToRef();
    const bool still = TRY(inode.Revalidate(caller, name, known->inode().get()));
    if (still) return std::move(known).ToRef();
    DentryCache::Forget(*known, false);
  }
  if (directory.IsDeleted()) return Errno::kENOENT;
  // A filesystem's lookup says so, so that a last name comes after all that its and the other directory of a rename can be wrong about.
  if (name.size() > static_cast<size_t>(abi::kNameMax)) return Errno::kENAMETOOLONG;
  RefPtr<Inode> found = TRY(inode.Lookup(caller, name, rest));
  return DentryCache::Enter(directory, name, std::move(found));
}

}  // namespace rampart::vfs
