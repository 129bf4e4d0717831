#include "sentry/vfs/fs_context.h"

#include <utility>

namespace rampart::vfs {

FsContext::FsContext(Ref<MountNamespace> ns, Path root, Path cwd, uint32_t umask)
    : mounts_(std::move(ns)), root_(std::move(root)), cwd_(std::move(cwd)), umask_(umask & 0777) {}

Ref<FsContext> FsContext::Clone() const {
  absl::ReaderMutexLock lock(&mu_);
  return MakeRef<FsContext>(mounts_, root_, cwd_, umask());
}

Ref<MountNamespace> FsContext::mounts() const {
  absl::ReaderMutexLock lock(&mu_);
  return mounts_;
}

Path FsContext::root() const {
  absl::ReaderMutexLock lock(&mu_);
  return root_;
}

Path FsContext::cwd() const {
  absl::ReaderMutexLock lock(&mu_);
  return cwd_;
}

FsContext::View FsContext::view() const {
  absl::ReaderMutexLock lock(&mu_);
  return {mounts_, root_, cwd_};
}

// What is replaced goes away after the lock.
void FsContext::SetRoot(Path root) {
  absl::MutexLock lock(&mu_);
  std::swap(root_, root);
}

void FsContext::SetCwd(Path cwd) {
  absl::MutexLock lock(&mu_);
  std::swap(cwd_, cwd);
}

void FsContext::Replace(const Path& old_root, const Path& new_root) {
  Path root = new_root, cwd = new_root;
  absl::MutexLock lock(&mu_);
  if (root_ == old_root) std::swap(root_, root);
  if (cwd_ == old_root) std::swap(cwd_, cwd);
}

void FsContext::SetMounts(Ref<MountNamespace> ns, Path root, Path cwd) {
  absl::MutexLock lock(&mu_);
  std::swap(mounts_, ns);
  std::swap(root_, root);
  std::swap(cwd_, cwd);
}

}  // namespace rampart::vfs
