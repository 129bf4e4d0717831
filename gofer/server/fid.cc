#include "gofer/server/fid.h"

namespace rampart::gofer {

Result<Ref<OpenFile>> Fid::Opened() {
  absl::MutexLock lock(&mutex);
  if (!file) return Errno::kEBADF;
  return file.ToRef();
}

Result<Ref<Fid>> FidTable::Find(FidNum number) const {
  absl::MutexLock lock(&mutex_);
  const auto it = fids_.find(number);
  if (it == fids_.end()) return Errno::kEBADF;
  return it->second;
}

Result<void> FidTable::Insert(FidNum number, Ref<Fid> fid) {
  if (number == kNoFid) return Errno::kEBADF;
  absl::MutexLock lock(&mutex_);
  if (fids_.size() >= limit_) return Errno::kEMFILE;
  if (!fids_.try_emplace(number, std::move(fid)).second) return Errno::kEBADF;
  return Ok();
}

Result<void> FidTable::Replace(FidNum number, Ref<Fid> fid) {
  absl::MutexLock lock(&mutex_);
  const auto it = fids_.find(number);
  if (it == fids_.end()) return Errno::kEBADF;
  std::swap(it->second, fid);  // the old one dies with the parameter, after the lock
  return Ok();
}

RefPtr<Fid> FidTable::Remove(FidNum number) {
  absl::MutexLock lock(&mutex_);
  auto node = fids_.extract(number);
  if (node.empty()) return nullptr;
  return std::move(node.mapped());
}

void FidTable::Clear() {
  absl::flat_hash_map<FidNum, Ref<Fid>> old;
  absl::MutexLock lock(&mutex_);
  old.swap(fids_);
  // `old` is declared before the lock, so its fids die after it.
}

size_t FidTable::size() const {
  absl::MutexLock lock(&mutex_);
  return fids_.size();
}

}  // namespace rampart::gofer
