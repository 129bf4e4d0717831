#include "sentry/vfs/file_support.h"

#include "absl/container/inlined_vector.h"

namespace rampart::vfs {

void MappingList::Add(mm::MappingSpace& space, mm::FileRange, bool shared, bool writable) {
  if (shared && writable) writable_shared_.fetch_add(1, std::memory_order_acq_rel);
  count_.fetch_add(1, std::memory_order_acq_rel);
  absl::MutexLock lock(&mu_);
  for (Entry& e : entries_) {
    if (e.space != &space) continue;
    ++e.mappings;
    return;
  }
  entries_.push_back({&space, 1});
}

void MappingList::Remove(mm::MappingSpace& space, mm::FileRange, bool shared, bool writable) {
  if (shared && writable) writable_shared_.fetch_sub(1, std::memory_order_acq_rel);
  count_.fetch_sub(1, std::memory_order_acq_rel);
  absl::MutexLock lock(&mu_);
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].space != &space) continue;
    if (--entries_[i].mappings == 0) {
      entries_[i] = entries_.back();
      entries_.pop_back();
    }
    return;
  }
}

void MappingList::Invalidate(mm::Mappable& file, mm::FileRange range, bool private_too) {
  if (empty()) return;
  absl::InlinedVector<std::pair<mm::MappingSpace*, RefPtr<RefCounted>>, 4> spaces;
  {
    // A space that is being destroyed removes its mappings first, so those in the list can be held.
    absl::MutexLock lock(&mu_);
    for (const Entry& e : entries_) {
      if (RefPtr<RefCounted> hold = e.space->TryHold()) spaces.emplace_back(e.space, std::move(hold));
    }
  }
  for (auto& [space, hold] : spaces) space->Invalidate(file, range, private_too);
}

Result<void> ConfigureFileMMap(FileDescription& file, mm::MMapArgs& args, Ref<mm::Mappable> mappable) {
  using platform::Prot;
  if (args.shared) {
    if (platform::Any(args.prot & Prot::kWrite) && !file.writable()) return Errno::kEACCES;
    if (!file.writable()) args.max_prot = args.max_prot & ~Prot::kWrite;
  }
  if (!file.readable()) return Errno::kEACCES;
  if (file.path().mount->flags().no_exec) {
    if (platform::Any(args.prot & Prot::kExec)) return Errno::kEPERM;
    args.max_prot = args.max_prot & ~Prot::kExec;
  }
  args.file = std::move(mappable);
  args.identity = ShareRef<mm::MappingIdentity>(&file);
  return Ok();
}

bool AtimeIsStale(const FileDescription& file, Nanos atime, Nanos mtime, Nanos ctime, Nanos now) {
  constexpr Nanos kDay = 24 * 3600 * kNanosPerSecond;
  // Most reads end here, before any flag is looked at.
  if (atime > mtime && atime > ctime && now - atime < kDay) {
    const MountFlags quick = file.path().mount->flags();
    if (quick.relatime || quick.no_atime) return false;
  }
  if ((file.flags() & abi::kONoatime) != 0) return false;
  const MountFlags flags = file.path().mount->flags();
  if (flags.no_atime || file.path().mount->read_only()) return false;
  if (flags.no_dir_atime && file.path().dentry->IsDirectory()) return false;
  if (!flags.relatime) return true;
  return atime <= mtime || atime <= ctime || now - atime >= kDay;
}

bool EmitDots(const FileDescription& directory, DirentSink& sink, uint64_t& position) {
  const Dentry& self = *directory.path().dentry;
  if (position == 0) {
    if (!sink.Add(".", self.inode()->ino(), FileType::kDirectory, 1)) return false;
    position = 1;
  }
  if (position == 1) {
    const RefPtr<Dentry> parent = self.parent();
    const uint64_t ino = parent != nullptr && !parent->IsNegative() ? parent->inode()->ino() : self.inode()->ino();
    if (!sink.Add("..", ino, FileType::kDirectory, 2)) return false;
    position = 2;
  }
  return true;
}

}  // namespace rampart::vfs
