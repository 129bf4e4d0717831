// Directories: merged lookup and listing, whiteouts, renames.
#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "sentry/fs/overlay/overlay_inode.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

Result<bool> IsWhiteout(const Caller& caller, vfs::Inode& inode) {
  if (inode.type() != vfs::FileType::kCharDevice) return false;
  return TRY(inode.GetAttr(caller)).rdev == 0;
}

class Collector final : public vfs::DirentSink {
 public:
  struct Found {
    std::string name;
    uint64_t ino;
    vfs::FileType type;
  };
  bool Add(std::string_view name, uint64_t ino, vfs::FileType type, uint64_t) override {
    if (name != "." && name != "..") found.push_back({std::string(name), ino, type});
    return true;
  }
  std::vector<Found> found;
};

Result<std::vector<Collector::Found>> ListLayer(vfs::Inode& directory) {
  KernelCaller kernel;
  const Ref<vfs::FileDescription> file =
      TRY(directory.Open(kernel, vfs::NewAnonymousPath(ShareRef(&directory), "overlay"), abi::kORdOnly | abi::kODirectory));
  Collector sink;
  size_t before = 0;
  do {
    before = sink.found.size();
    TRY(file->Iterate(kernel, sink));
  } while (sink.found.size() != before);
  return std::move(sink.found);
}

}  // namespace

Result<RefPtr<vfs::Inode>> OverlayInode::LowerChild(const Caller& caller, std::string_view name) {
  if (lower_ == nullptr) return RefPtr<vfs::Inode>();
  return lower_->Lookup(caller, name, "");
}

Result<RefPtr<vfs::Inode>> OverlayInode::Lookup(const Caller& caller, std::string_view name, std::string_view rest) {
  RefPtr<vfs::Inode> above, below;
  if (vfs::Inode* u = upper()) above = TRY(u->Lookup(caller, name, ""));
  if (above != nullptr) {
    if (TRY(IsWhiteout(caller, *above))) return RefPtr<vfs::Inode>();
    if (above->IsDirectory()) {
      bool known = false;
      below = overlay().LowerOf(*above, known);
      if (!known) below = TRY(LowerChild(caller, name));
      if (below != nullptr && !below->IsDirectory()) below = nullptr;
    }
  } else {
    if (lower_ == nullptr) return RefPtr<vfs::Inode>();
    below = TRY(lower_->Lookup(caller, name, rest));
    if (below == nullptr) return RefPtr<vfs::Inode>();
  }
  return RefPtr<vfs::Inode>(overlay().Unique(
      MakeRef<OverlayInode>(ShareRef(&overlay()), std::move(above), std::move(below), ShareRef(this), std::string(name))));
}

Result<bool> OverlayInode::LowerHas(const Caller& caller, std::string_view name) {
  if (lower_ == nullptr) return false;
  constexpr int kOften = 3;
  if (lower_questions_.fetch_add(1, std::memory_order_relaxed) == kOften) (void)ListLayer(*lower_);
  const RefPtr<vfs::Inode> below = TRY(LowerChild(caller, name));
  return below != nullptr;
}

Result<void> OverlayInode::HideLower(const Caller& caller, vfs::Inode& upper_directory, std::string_view name) {
  const bool hidden = TRY(LowerHas(caller, name));
  if (!hidden) return Ok();
  vfs::CreateArgs args;
  args.type = vfs::FileType::kCharDevice;
  TRY(upper_directory.Create(caller, name, args));
  return Ok();
}

Result<bool> OverlayInode::ClearWhiteout(const Caller& caller, vfs::Inode& upper_directory, std::string_view name) {
  const RefPtr<vfs::Inode> there = TRY(upper_directory.Lookup(caller, name, ""));
  if (there == nullptr || !TRY(IsWhiteout(caller, *there))) return false;
  TRY(upper_directory.Unlink(caller, name, *there));
  return true;
}

Result<Ref<vfs::Inode>> OverlayInode::Create(const Caller& caller, std::string_view name, const vfs::CreateArgs& args) {
  vfs::Inode* u = TRY(CopyUp(caller));
  TRY(ClearWhiteout(caller, *u, name));
  Result<Ref<vfs::Inode>> made = u->Create(caller, name, args);
  if (!made.ok()) {
    (void)HideLower(caller, *u, name);
    return made.error();
  }
  if (args.type == vfs::FileType::kDirectory) overlay().SetLowerOf(*made.value(), nullptr);
  return Ref<vfs::Inode>(
      overlay().Unique(MakeRef<OverlayInode>(ShareRef(&overlay()), std::move(made).value(), nullptr, ShareRef(this), std::string(name))));
}

Result<Ref<vfs::Inode>> OverlayInode::CreateUnnamed(const Caller& caller, const vfs::CreateArgs& args) {
  vfs::Inode* u = TRY(CopyUp(caller));
  Ref<vfs::Inode> made = TRY(u->CreateUnnamed(caller, args));
  return Ref<vfs::Inode>(overlay().Unique(MakeRef<OverlayInode>(ShareRef(&overlay()), std::move(made), nullptr, nullptr, "")));
}

Result<void> OverlayInode::Link(const Caller& caller, std::string_view name, vfs::Inode& target) {
  auto* inode = dynamic_cast<OverlayInode*>(&target);
  if (inode == nullptr) return Errno::kEXDEV;
  vfs::Inode* u = TRY(CopyUp(caller));
  vfs::Inode* copied = TRY(inode->CopyUp(caller));
  TRY(ClearWhiteout(caller, *u, name));
  Result<void> linked = u->Link(caller, name, *copied);
  if (!linked.ok()) (void)HideLower(caller, *u, name);
  return linked;
}

Result<void> OverlayInode::Unlink(const Caller& caller, std::string_view name, vfs::Inode& victim) {
  auto& inode = dynamic_cast<OverlayInode&>(victim);
  vfs::Inode* u = TRY(CopyUp(caller));
  absl::MutexLock no_copy(&inode.copy_mu_);  // it does not come up under its name while that goes
  if (vfs::Inode* above = inode.upper()) {
    TRY(u->Unlink(caller, name, *above));
    const Result<vfs::Attr> left = above->GetAttr(caller);
    if (left.ok() && left->nlink == 0) overlay().Forget(*above);
  }
  return HideLower(caller, *u, name);
}

// Takes away the whiteouts of a directory that shows nothing.
Result<void> OverlayInode::EmptyUpper(const Caller& caller) {
  vfs::Inode* u = upper();
  if (u == nullptr) return Ok();
  const auto names = TRY(ListLayer(*u));
  for (const auto& found : names) TRY(ClearWhiteout(caller, *u, found.name));
  return Ok();
}

Result<void> OverlayInode::RemoveDirectory(const Caller& caller, std::string_view name, vfs::Inode& victim) {
  auto& inode = dynamic_cast<OverlayInode&>(victim);
  const std::vector<Entry> entries = TRY(inode.List(caller));
  if (!entries.empty()) return Errno::kENOTEMPTY;
  vfs::Inode* u = TRY(CopyUp(caller));
  if (vfs::Inode* above = inode.upper()) {
    TRY(inode.EmptyUpper(caller));
    TRY(u->RemoveDirectory(caller, name, *above));
    overlay().Forget(*above);
  }
  return HideLower(caller, *u, name);
}

Result<void> OverlayInode::Rename(const Caller& caller, std::string_view old_name, vfs::Inode& source, vfs::Inode& new_directory,
                                  std::string_view new_name, vfs::Inode* replaced, uint32_t flags) {
  if ((flags & abi::kRenameWhiteout) != 0) return Errno::kEINVAL;
  auto& moved = dynamic_cast<OverlayInode&>(source);
  auto& to = dynamic_cast<OverlayInode&>(new_directory);
  auto* target = dynamic_cast<OverlayInode*>(replaced);
  const bool exchange = (flags & abi::kRenameExchange) != 0;
  if (target != nullptr && !exchange && target->IsDirectory()) {
    const std::vector<Entry> entries = TRY(target->List(caller));
    if (!entries.empty()) return Errno::kENOTEMPTY;
    TRY(target->EmptyUpper(caller));
  }
  vfs::Inode* from_upper = TRY(CopyUp(caller));
  vfs::Inode* to_upper = TRY(to.CopyUp(caller));
  vfs::Inode* moved_upper = TRY(moved.CopyUp(caller));
  vfs::Inode* target_upper = nullptr;
  if (target != nullptr) target_upper = exchange ? TRY(target->CopyUp(caller)) : target->upper();
  if (target_upper == nullptr) TRY(to.ClearWhiteout(caller, *to_upper, new_name));
  TRY(from_upper->Rename(caller, old_name, *moved_upper, *to_upper, new_name, target_upper, flags & ~abi::kRenameNoreplace));
  const auto place = [](OverlayInode& inode, OverlayInode& directory, std::string_view name) {
    RefPtr<OverlayInode> old_parent = ShareRef(&directory);  // swapped out, dropped after the lock
    absl::MutexLock lock(&inode.place_mu_);
    std::swap(inode.parent_, old_parent);
    inode.name_ = std::string(name);
  };
  place(moved, to, new_name);
  if (exchange) {
    place(*target, *this, old_name);
    return Ok();
  }
  if (target_upper != nullptr && target->IsDirectory()) overlay().Forget(*target_upper);
  return HideLower(caller, *from_upper, old_name);
}

Result<std::vector<OverlayInode::Entry>> OverlayInode::List(const Caller& caller) {
  std::vector<Entry> entries;
  absl::flat_hash_set<std::string> seen;
  if (vfs::Inode* u = upper()) {
    const auto above = TRY(ListLayer(*u));
    for (const auto& found : above) {
      seen.insert(found.name);
      if (found.type == vfs::FileType::kCharDevice) {
        const RefPtr<vfs::Inode> inode = TRY(u->Lookup(caller, found.name, ""));
        if (inode == nullptr || TRY(IsWhiteout(caller, *inode))) continue;
      }
      entries.push_back({found.name, overlay().NumberOfUpper(found.ino), found.type});
    }
  }
  if (lower_ != nullptr) {
    const auto below = TRY(ListLayer(*lower_));
    for (const auto& found : below) {
      if (!seen.contains(found.name)) entries.push_back({found.name, found.ino << 1, found.type});
    }
  }
  return entries;
}

}  // namespace rampart::fs
