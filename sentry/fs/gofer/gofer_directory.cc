// GoferInode as a directory: finding names and changing them.
#include <algorithm>
#include <array>
#include <vector>

#include "sentry/fs/gofer/convert.h"
#include "sentry/fs/gofer/gofer_inode.h"
#include "sentry/vfs/walk_intent.h"

namespace rampart::fs {
namespace {

constexpr size_t kPrefetchDepth = 16;

// The names of a path that may be walked in one go: `name`, and those of `rest` up to the first "..".
std::vector<std::string_view> NamesOf(std::string_view name, std::string_view rest) {
  std::vector<std::string_view> names{name};
  while (!rest.empty() && names.size() < kPrefetchDepth) {
    const size_t length = std::min(rest.find('/'), rest.size());
    const std::string_view next = rest.substr(0, length);
    rest.remove_prefix(std::min(length + 1, rest.size()));
    if (next.empty() || next == ".") continue;
    if (!gofer::IsValidName(next)) break;
    names.push_back(next);
  }
  return names;
}

// A change of names: counted for its whole duration.
class Change {
 public:
  explicit Change(GoferFilesystem& fs) : fs_(fs) { fs_.BeginChange(); }
  ~Change() { fs_.EndChange(); }
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;

 private:
  GoferFilesystem& fs_;
};

}  // namespace

vfs::CachePolicy GoferInode::cache_policy() const {
  return gofer_fs_.exclusive() ? vfs::CachePolicy::kCache : vfs::CachePolicy::kRevalidate;
}

// What a walk found: inodes for the first names, and why it ended.
struct GoferInode::Walked {
  std::vector<std::string_view> names;
  std::vector<Ref<GoferInode>> inodes;
  gofer::WalkEnd end{};
  Errno error{};
};

Result<GoferInode::Walked> GoferInode::Walk(std::string_view name, std::string_view rest) {
  Walked out;
  out.names = NamesOf(name, rest);
  gofer::Tewalk request;
  request.fid = TRY(EnsureFid());
  for (const std::string_view step : out.names) {
    const auto fid = client().NewFid();
    if (!fid.ok()) break;
    request.steps.push_back({*fid, step});
  }
  if (request.steps.empty()) return Errno::kENFILE;
  request.mode = gofer::kWalkLazy | (vfs::WalkIntent::IsToRead() ? gofer::kWalkOpen : uint8_t{0});
  std::vector<gofer::FileAttr> attrs;
  UniqueFd donated;
  std::string target;
  Result<void> failed;
  {
    auto reply = client().Call(request);
    if (!reply.ok()) {
      failed = reply.error();
    } else if ((*reply)->attrs.size() > request.steps.size()) {
      failed = Errno::kEIO;
    } else {
      attrs = (*reply)->attrs;
      target = (*reply)->target;
      out.end = (*reply)->end;
      out.error = ErrnoFromHost((*reply)->ecode > 133 ? 0 : static_cast<int>((*reply)->ecode));
      Result<UniqueFd> fd = reply->TakeFd();
      if (fd.ok()) donated = std::move(*fd);
    }
  }
  // Of the last name only a directory's fid is bound.
  if (attrs.size() == request.steps.size() && (attrs.back().mode & abi::kIfMt) != abi::kIfDir) {
    client().ReturnUnused(std::exchange(request.steps.back().newfid, gofer::kNoFid));
  }
  for (size_t i = attrs.size(); i < request.steps.size(); ++i) client().ReturnUnused(request.steps[i].newfid);
  if (!failed.ok()) return failed.error();
  GoferInode* parent = this;
  for (size_t i = 0; i < attrs.size(); ++i) {
    if (!failed.ok()) {
      client().Clunk(request.steps[i].newfid);
      continue;
    }
    auto inode = gofer_fs_.InodeFor(attrs[i], request.steps[i].newfid, parent, request.steps[i].name);
    if (!inode.ok()) {
      failed = inode.error();
      continue;
    }
    out.inodes.push_back(std::move(*inode));
    parent = out.inodes.back().get();
  }
  if (!failed.ok() && out.inodes.empty()) return failed.error();
  if (failed.ok() && donated.valid() && out.inodes.size() == request.steps.size() && parent->type() == vfs::FileType::kRegular) {
    // For the open that follows; if none does, it is as one that was closed again.
    if (parent->AdoptDonated(std::move(donated), true, false).ok()) gofer_fs_.AddIdle(*parent);
  }
  if (failed.ok() && out.end == gofer::WalkEnd::kSymlink && parent->type() == vfs::FileType::kSymlink && !target.empty() &&
      target.size() <= gofer::kMaxTarget && target.find('\0') == std::string::npos) {
    absl::MutexLock lock(&parent->attr_mutex_);
    parent->target_ = std::move(target);
  }
  return out;
}

// Leaves what was found beyond the first name with the directories it was found in, for the lookups that follow.
void GoferInode::KeepWalked(Walked& walked, uint64_t changes) {
  const Nanos now = gofer_fs_.exclusive() ? 0 : MonotonicNow();
  for (size_t i = 1; i < walked.names.size() && i <= walked.inodes.size(); ++i) {
    RefPtr<GoferInode> found;
    if (i < walked.inodes.size()) {
      found = walked.inodes[i];
    } else if (walked.end != gofer::WalkEnd::kMissing) {
      return;
    }
    GoferInode& directory = *walked.inodes[i - 1];
    std::optional<Prefetched> old;  // dies after the lock
    absl::MutexLock lock(&directory.dir_mutex_);
    if (!gofer_fs_.NoChangeSince(changes)) return;
    old = std::exchange(directory.prefetched_, Prefetched{std::string(walked.names[i]), std::move(found), now});
  }
}

bool GoferInode::TakePrefetched(std::string_view name, RefPtr<Inode>& found) {
  std::optional<Prefetched> taken;
  {
    absl::MutexLock lock(&dir_mutex_);
    if (!prefetched_ || prefetched_->name != name) return false;
    taken = std::exchange(prefetched_, std::nullopt);
  }
  if (!gofer_fs_.exclusive() && MonotonicNow() - taken->when >= kSharedFreshness) return false;
  found = std::move(taken->inode);
  return true;
}

// Whether a listing of this directory answers the question.
bool GoferInode::FromListing(std::string_view name, Result<RefPtr<Inode>>& found) {
  RefPtr<Listing> listing;
  {
    absl::MutexLock lock(&dir_mutex_);
    listing = listing_;
  }
  if (!listing) return false;
  if (!listing->Contains(name)) {
    found = RefPtr<Inode>();
    return true;
  }
  gofer::FileAttr attr;
  if (!listing->TakeAttr(name, attr)) {
    // Whoever asks about many of the names will ask about the rest: then all attributes come with one message.
    constexpr int kAtLeast = 2;
    const int asked = listed_lookups_.fetch_add(1, std::memory_order_relaxed);
    if (listing->has_attributes() || asked < kAtLeast + static_cast<int>(listing->entries().size() / 32)) return false;
    const Result<Ref<Listing>> again = ReadListing(true);
    if (!again.ok() || !(*again)->TakeAttr(name, attr)) return false;
  }
  auto inode = gofer_fs_.InodeFor(attr, gofer::kNoFid, this, name);
  if (inode.ok()) {
    found = RefPtr<Inode>(std::move(*inode));
  } else {
    found = inode.error();
  }
  return true;
}

Result<RefPtr<vfs::Inode>> GoferInode::Lookup(const Caller&, std::string_view name, std::string_view rest) {
  if (!IsDirectory()) return Errno::kENOTDIR;
  RefPtr<Inode> prefetched;
  if (TakePrefetched(name, prefetched)) return prefetched;
  Result<RefPtr<Inode>> listed = RefPtr<Inode>();
  if (gofer_fs_.exclusive() && FromListing(name, listed)) return listed;
  const uint64_t changes = gofer_fs_.Changes();
  Walked walked = TRY(Walk(name, rest));
  if (walked.inodes.empty()) {
    if (walked.end == gofer::WalkEnd::kMissing) return RefPtr<Inode>();
    return walked.end == gofer::WalkEnd::kError ? walked.error : Errno::kEIO;
  }
  KeepWalked(walked, changes);
  return RefPtr<Inode>(std::move(walked.inodes[0]));
}

Result<bool> GoferInode::Revalidate(const Caller&, std::string_view name, Inode* child) {
  // Inodes come from this filesystem: nothing else is entered below its directories.
  auto* const known = static_cast<GoferInode*>(child);
  if (known != nullptr) {
    absl::MutexLock lock(&dir_mutex_);
    // Just walked along with what led here.
    if (prefetched_ && prefetched_->name == name && prefetched_->inode.get() == known && MonotonicNow() - prefetched_->when < kSharedFreshness)
      return true;
  }
  const gofer::FidNum fid = TRY(EnsureFid());
  const auto reply = TRY(client().Call(gofer::Tewalk{fid, {{gofer::kNoFid, name}}}));
  if (reply->attrs.size() != 1) {
    if (reply->end == gofer::WalkEnd::kError) return Errno::kEIO;
    return known == nullptr;
  }
  const gofer::FileAttr& attr = reply->attrs[0];
  if (known == nullptr || !gofer::IsValid(attr) || !known->IsSameFile(attr)) return false;
  known->StoreAttr(attr, known->AttrGeneration());
  return true;
}

void GoferInode::NamesChanged() {
  MarkStale();
  std::optional<Prefetched> old;
  RefPtr<Listing> listing;
  absl::MutexLock lock(&dir_mutex_);
  ++dir_generation_;
  old = std::exchange(prefetched_, std::nullopt);
  listing = std::move(listing_);
}

// A directory is read to its end in several messages on one fid, whose position is in the Gofer: one reader of a directory at a time. Few
// directories are read at once, so they share some locks.
static absl::Mutex& ReadersOf(const GoferInode& directory) {
  static std::array<absl::Mutex, 16> mutexes;
  return mutexes[directory.ino() % mutexes.size()];
}

Result<Ref<Listing>> GoferInode::CurrentListing() {
  {
    absl::MutexLock lock(&dir_mutex_);
    if (listing_ && gofer_fs_.exclusive()) return listing_.ToRef();
  }
  return ReadListing(false);
}

Result<Ref<Listing>> GoferInode::ReadListing(bool with_attributes) {
  absl::MutexLock one_reader(&ReadersOf(*this));
  uint64_t generation = 0;
  {
    absl::MutexLock lock(&dir_mutex_);
    if (!with_attributes && listing_ && gofer_fs_.exclusive()) return listing_.ToRef();  // by the reader before us
    generation = dir_generation_;
  }
  const gofer::FidNum fid = TRY(EnsureFid());
  const uint64_t changes = gofer_fs_.Changes();
  Ref<Listing> read = TRY(Listing::Read(client(), fid, with_attributes));
  if (!gofer_fs_.exclusive()) return read;
  RefPtr<Listing> old;  // dies after the lock
  absl::MutexLock lock(&dir_mutex_);
  if (generation == dir_generation_ && gofer_fs_.NoChangeSince(changes)) old = std::exchange(listing_, RefPtr<Listing>(read));
  return read;
}

Result<Ref<vfs::Inode>> GoferInode::CreateRegular(std::string_view name, const vfs::CreateArgs& args) {
  const gofer::FidNum dir = TRY(EnsureFid());
  const gofer::FidNum fid = TRY(client().NewFid());
  auto created = client().Call(gofer::Tecreate{dir, fid, name, abi::kORdWr, args.permissions, args.uid, args.gid});
  if (!created.ok()) {
    client().ReturnUnused(fid);
    return created.error();
  }
  Ref<GoferInode> inode = TRY(gofer_fs_.InodeFor((*created)->attr, fid, this, name));
  UniqueFd donated = TRY(created->TakeFd());
  TRY(inode->AdoptDonated(std::move(donated), true, true));  // for the open that follows
  return Ref<Inode>(std::move(inode));
}

Result<Ref<vfs::Inode>> GoferInode::CreateOther(std::string_view name, const vfs::CreateArgs& args) {
  const gofer::FidNum dir = TRY(EnsureFid());
  const gofer::FidNum fid = TRY(client().NewFid());
  const auto finish = [&](auto reply) -> Result<Ref<Inode>> {
    if (!reply.ok()) {
      client().ReturnUnused(fid);
      return reply.error();
    }
    return Ref<Inode>(TRY(gofer_fs_.InodeFor((*reply)->attr, fid, this, name)));
  };
  switch (args.type) {
    case vfs::FileType::kDirectory:
      return finish(client().Call(gofer::Temkdir{dir, fid, name, args.permissions, args.uid, args.gid}));
    case vfs::FileType::kSymlink:
      return finish(client().Call(gofer::Tesymlink{dir, fid, name, args.target, args.uid, args.gid}));
    default:
      return finish(client().Call(gofer::Temknod{dir, fid, name, static_cast<uint32_t>(args.type) | args.permissions, abi::DevMajor(args.rdev),
                                                 abi::DevMinor(args.rdev), args.uid, args.gid}));
  }
}

Result<Ref<vfs::Inode>> GoferInode::Create(const Caller&, std::string_view name, const vfs::CreateArgs& args) {
  if (!IsDirectory()) return Errno::kENOTDIR;
  const Change change(gofer_fs_);
  auto made = args.type == vfs::FileType::kRegular ? CreateRegular(name, args) : CreateOther(name, args);
  NamesChanged();
  return made;
}

Result<Ref<vfs::Inode>> GoferInode::CreateUnnamed(const Caller&, const vfs::CreateArgs& args) {
  if (!IsDirectory()) return Errno::kENOTDIR;
  return CreateRegular("", args);
}

Result<void> GoferInode::Link(const Caller&, std::string_view name, Inode& target) {
  if (&target.fs() != &fs()) return Errno::kEXDEV;
  auto& file = static_cast<GoferInode&>(target);
  const gofer::FidNum dir = TRY(EnsureFid());
  const gofer::FidNum fid = TRY(file.EnsureFid());
  const Change change(gofer_fs_);
  file.MarkStale();
  const auto linked = client().Call(gofer::Telink{dir, fid, name});
  NamesChanged();
  if (!linked.ok()) return linked.error();
  return Ok();
}

// Whoever has a file open that loses its name still needs a way to it.
void GoferInode::PrepareRemoval() {
  if (descriptions_.load() > 0 || !mappings_.empty()) (void)EnsureFid();
}

Result<void> GoferInode::Unlink(const Caller&, std::string_view name, Inode& victim) {
  const gofer::FidNum dir = TRY(EnsureFid());
  static_cast<GoferInode&>(victim).PrepareRemoval();
  const Change change(gofer_fs_);
  TRY(client().Call(gofer::Tunlinkat{dir, name, 0}));
  NamesChanged();
  static_cast<GoferInode&>(victim).NameRemoved();
  return Ok();
}

Result<void> GoferInode::RemoveDirectory(const Caller&, std::string_view name, Inode& victim) {
  const gofer::FidNum dir = TRY(EnsureFid());
  const Change change(gofer_fs_);
  TRY(client().Call(gofer::Tunlinkat{dir, name, static_cast<uint32_t>(abi::kAtRemovedir)}));
  NamesChanged();
  static_cast<GoferInode&>(victim).NameRemoved();
  return Ok();
}

Result<void> GoferInode::Rename(const Caller&, std::string_view old_name, Inode& source, Inode& new_directory, std::string_view new_name,
                                Inode* replaced, uint32_t flags) {
  if (&new_directory.fs() != &fs()) return Errno::kEXDEV;
  auto& to = static_cast<GoferInode&>(new_directory);
  auto& moved = static_cast<GoferInode&>(source);
  auto* const other = static_cast<GoferInode*>(replaced);
  const gofer::FidNum from_fid = TRY(EnsureFid());
  const gofer::FidNum to_fid = TRY(to.EnsureFid());
  if (other != nullptr) other->PrepareRemoval();
  const Change change(gofer_fs_);
  TRY(client().Call(gofer::Terename{from_fid, old_name, to_fid, new_name, flags}));
  NamesChanged();
  if (&to != this) to.NamesChanged();
  moved.MarkStale();
  moved.MovedTo(to, new_name);
  if (other == nullptr || other == &moved) return Ok();
  if ((flags & abi::kRenameExchange) != 0) {
    other->MarkStale();
    other->MovedTo(*this, old_name);
  } else {
    other->NameRemoved();
  }
  return Ok();
}

}  // namespace rampart::fs
