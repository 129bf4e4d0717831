#include <algorithm>
#include <utility>

#include "sentry/vfs/fs_context.h"
#include "sentry/vfs/inode_extras.h"

namespace rampart::vfs {
namespace {

// A wrong or huge number is simply past the end.
size_t IndexOf(Fd fd) { return static_cast<uint32_t>(fd); }

// Linux's sysctl fs.nr_open: no descriptor is above, whatever the limit says.
constexpr uint64_t kNrOpen = 1024 * 1024;

}  // namespace

Ref<FdTable> FdTable::Clone() const {
  Ref<FdTable> copy = MakeRef<FdTable>();
  absl::ReaderMutexLock lock(&mu_);
  absl::MutexLock theirs(&copy->mu_);
  size_t used = entries_.size();
  while (used > 0 && entries_[used - 1].file == nullptr) --used;
  copy->entries_.assign(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(used));
  copy->lowest_free_hint_ = std::min(lowest_free_hint_, static_cast<int32_t>(used));
  return copy;
}

Result<Ref<FileDescription>> FdTable::Get(Fd fd) const {
  const size_t i = IndexOf(fd);
  absl::ReaderMutexLock lock(&mu_);
  if (i >= entries_.size() || entries_[i].file == nullptr) return Errno::kEBADF;
  return entries_[i].file.ToRef();
}

Result<FdTable::Entry> FdTable::GetEntry(Fd fd) const {
  const size_t i = IndexOf(fd);
  absl::ReaderMutexLock lock(&mu_);
  if (i >= entries_.size() || entries_[i].file == nullptr) return Errno::kEBADF;
  return entries_[i];
}

Result<size_t> FdTable::FindFreeLocked(size_t minimum, uint64_t limit) const {
  size_t i = std::max(minimum, static_cast<size_t>(lowest_free_hint_));
  while (i < entries_.size() && entries_[i].file != nullptr) ++i;
  if (i >= std::min(limit, kNrOpen)) return Errno::kEMFILE;
  return i;
}

void FdTable::PutLocked(size_t i, Ref<FileDescription> file, bool close_on_exec) {
  if (i >= entries_.size()) entries_.resize(std::max({i + 1, entries_.size() * 2, size_t{8}}));
  entries_[i].file = std::move(file);
  entries_[i].close_on_exec = close_on_exec;
  if (static_cast<size_t>(lowest_free_hint_) == i) lowest_free_hint_ = static_cast<int32_t>(i + 1);
}

RefPtr<FileDescription> FdTable::TakeLocked(size_t i) {
  lowest_free_hint_ = std::min(lowest_free_hint_, static_cast<int32_t>(i));
  entries_[i].close_on_exec = false;
  return std::exchange(entries_[i].file, nullptr);
}

Result<Fd> FdTable::Install(Ref<FileDescription> file, bool close_on_exec, uint64_t limit, int32_t minimum) {
  if (minimum < 0) return Errno::kEINVAL;
  absl::MutexLock lock(&mu_);
  const size_t i = TRY(FindFreeLocked(static_cast<size_t>(minimum), limit));
  PutLocked(i, std::move(file), close_on_exec);
  return Fd{static_cast<int32_t>(i)};
}

Result<std::pair<Fd, Fd>> FdTable::InstallPair(Ref<FileDescription> a, Ref<FileDescription> b, bool close_on_exec, uint64_t limit) {
  absl::MutexLock lock(&mu_);
  const size_t first = TRY(FindFreeLocked(0, limit));
  const size_t second = TRY(FindFreeLocked(first + 1, limit));
  PutLocked(first, std::move(a), close_on_exec);
  PutLocked(second, std::move(b), close_on_exec);
  return std::pair(Fd{static_cast<int32_t>(first)}, Fd{static_cast<int32_t>(second)});
}

Result<RefPtr<FileDescription>> FdTable::InstallAt(Fd fd, Ref<FileDescription> file, bool close_on_exec, uint64_t limit) {
  const size_t i = IndexOf(fd);
  if (i >= std::min(limit, kNrOpen)) return Errno::kEBADF;
  absl::MutexLock lock(&mu_);
  RefPtr<FileDescription> old;
  if (i < entries_.size()) old = TakeLocked(i);
  PutLocked(i, std::move(file), close_on_exec);
  return old;
}

Result<Ref<FileDescription>> FdTable::Remove(Fd fd) {
  const size_t i = IndexOf(fd);
  absl::MutexLock lock(&mu_);
  if (i >= entries_.size() || entries_[i].file == nullptr) return Errno::kEBADF;
  return TakeLocked(i).ToRef();
}

Result<void> FdTable::SetCloseOnExec(Fd fd, bool on) {
  const size_t i = IndexOf(fd);
  absl::MutexLock lock(&mu_);
  if (i >= entries_.size() || entries_[i].file == nullptr) return Errno::kEBADF;
  entries_[i].close_on_exec = on;
  return Ok();
}

std::vector<Ref<FileDescription>> FdTable::RemoveRange(uint32_t first, uint32_t last, bool only_close_on_exec) {
  std::vector<Ref<FileDescription>> removed;
  absl::MutexLock lock(&mu_);
  const size_t end = std::min<size_t>(entries_.size(), size_t{last} + 1);
  for (size_t i = first; i < end; ++i) {
    if (entries_[i].file == nullptr || (only_close_on_exec && !entries_[i].close_on_exec)) continue;
    removed.push_back(TakeLocked(i).ToRef());
  }
  return removed;
}

void FdTable::SetCloseOnExecRange(uint32_t first, uint32_t last) {
  absl::MutexLock lock(&mu_);
  const size_t end = std::min<size_t>(entries_.size(), size_t{last} + 1);
  for (size_t i = first; i < end; ++i) {
    if (entries_[i].file != nullptr) entries_[i].close_on_exec = true;
  }
}

std::vector<Fd> FdTable::List() const {
  std::vector<Fd> list;
  absl::ReaderMutexLock lock(&mu_);
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].file != nullptr) list.push_back(Fd{static_cast<int32_t>(i)});
  }
  return list;
}

Result<void> CloseDescriptor(Caller& caller, const FdTable& owner, Ref<FileDescription> file) {
  if (const Inode* inode = file->path().dentry->inode().get()) {
    // A process's record locks go with any of its descriptors of the file (fcntl(2)), even one that was only dup'ed.
    if (InodeExtras* extras = inode->extras_if_any()) extras->locks.ReleaseAll(&owner);
  }
  return file->OnClose(caller);
}

}  // namespace rampart::vfs
