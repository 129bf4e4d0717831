#include "sentry/vfs/dentry.h"

#include <utility>
#include <vector>

#include "sentry/vfs/dentry_cache.h"

namespace rampart::vfs {
namespace {

// Root-to-leaf chains may be as deep as an application likes, so destruction must not recurse.
thread_local std::vector<Dentry*>* t_dying = nullptr;

}  // namespace

Dentry::Dentry(RefPtr<Inode> inode, RefPtr<Dentry> parent, std::string name, bool anonymous)
    : inode_(std::move(inode)), anonymous_(anonymous), parent_(std::move(parent)), name_(std::move(name)) {}

Dentry::~Dentry() = default;

void Dentry::OnLastRef() {
  if (t_dying != nullptr) {
    t_dying->push_back(this);
    return;
  }
  std::vector<Dentry*> dying{this};
  t_dying = &dying;
  while (!dying.empty()) {
    Dentry* d = dying.back();
    dying.pop_back();
    delete d;
  }
  t_dying = nullptr;
}

Ref<Dentry> Dentry::NewRoot(Ref<Inode> inode) {
  return Ref<Dentry>::Adopt(new Dentry(std::move(inode), nullptr, "", false));
}

Ref<Dentry> Dentry::NewAnonymous(Ref<Inode> inode, std::string shown_name) {
  return Ref<Dentry>::Adopt(new Dentry(std::move(inode), nullptr, std::move(shown_name), true));
}

Ref<Dentry> Dentry::NewUnlinked(Ref<Dentry> parent, Ref<Inode> inode, std::string name) {
  Ref<Dentry> d = Ref<Dentry>::Adopt(new Dentry(std::move(inode), std::move(parent), std::move(name), false));
  d->deleted_.store(true, std::memory_order_release);
  return d;
}

RefPtr<Dentry> Dentry::parent() const {
  absl::ReaderMutexLock lock(&mu_);
  return parent_;
}

std::string Dentry::name() const {
  absl::ReaderMutexLock lock(&mu_);
  return name_;
}

}  // namespace rampart::vfs
