#include "sentry/vfs/dentry_cache.h"

#include <utility>
#include <vector>

namespace rampart::vfs {
namespace {

// A clock over all cached dentries: each passes the hand at most once per EvictSome, used ones go to the back.
struct Clock {
  absl::Mutex mu;
  Dentry* head ABSL_GUARDED_BY(mu) = nullptr;
  Dentry* tail ABSL_GUARDED_BY(mu) = nullptr;
  size_t count ABSL_GUARDED_BY(mu) = 0;
  std::atomic<size_t> limit{65536};
};

Clock& TheClock() {
  static Clock* const clock = new Clock;
  return *clock;
}

constexpr int kScanPerInsertion = 32;

}  // namespace

// The cache's reference to a dentry is the one that the clock's list carries. Both under the clock's lock.
void DentryCache::Push(Dentry& d) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  Clock& c = TheClock();
  d.clock_next_ = nullptr;
  d.clock_prev_ = c.tail;
  (c.tail != nullptr ? c.tail->clock_next_ : c.head) = &d;
  c.tail = &d;
}

void DentryCache::Pop(Dentry& d) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  Clock& c = TheClock();
  (d.clock_prev_ != nullptr ? d.clock_prev_->clock_next_ : c.head) = d.clock_next_;
  (d.clock_next_ != nullptr ? d.clock_next_->clock_prev_ : c.tail) = d.clock_prev_;
}

RefPtr<Dentry> DentryCache::Find(Dentry& directory, std::string_view name) {
  absl::ReaderMutexLock lock(&directory.mu_);
  auto it = directory.children_.find(name);
  if (it == directory.children_.end()) return nullptr;
  Dentry* d = it->second;
  if (!d->recently_used_.load(std::memory_order_relaxed)) d->recently_used_.store(true, std::memory_order_relaxed);
  d->IncRef();  // the cache's own reference cannot go while the map holds it
  return RefPtr<Dentry>::Adopt(d);
}

Ref<Dentry> DentryCache::Enter(Dentry& directory, std::string_view name, RefPtr<Inode> inode) {
  Ref<Dentry> made = Ref<Dentry>::Adopt(new Dentry(std::move(inode), ShareRef(&directory), std::string(name), false));
  if (const RefPtr<Dentry> old = Find(directory, name)) Detach(*old, directory);
  {
    absl::MutexLock lock(&directory.mu_);
    absl::MutexLock own(&made->mu_);
    directory.children_.emplace(std::string_view(made->name_), made.get());
    Clock& clock = TheClock();
    absl::MutexLock clock_lock(&clock.mu);
    made->IncRef();
    made->cached_ = true;
    Push(*made);
    ++clock.count;
  }
  EvictSome();
  return made;
}

// Takes `dentry` out of its parent's map and out of the clock, if it is there.
void DentryCache::Detach(Dentry& dentry, Dentry& parent) {
  bool was_cached = false;
  {
    absl::MutexLock lock(&parent.mu_);
    absl::MutexLock own(&dentry.mu_);
    auto it = parent.children_.find(std::string_view(dentry.name_));
    if (it == parent.children_.end() || it->second != &dentry) return;
    parent.children_.erase(it);
    Clock& clock = TheClock();
    absl::MutexLock clock_lock(&clock.mu);
    was_cached = dentry.cached_;
    if (was_cached) {
      dentry.cached_ = false;
      Pop(dentry);
      --clock.count;
    }
  }
  if (was_cached) dentry.DecRef();
}

void DentryCache::Forget(Dentry& dentry, bool deleted) {
  if (deleted) dentry.deleted_.store(true);  // before a look at what is mounted on it
  if (const RefPtr<Dentry> parent = dentry.parent()) Detach(dentry, *parent);
}

void DentryCache::Move(Dentry& dentry, Dentry& directory, std::string_view name) {
  if (const RefPtr<Dentry> old = Find(directory, name)) Detach(*old, directory);
  const RefPtr<Dentry> old_parent = dentry.parent();
  CHECK(old_parent != nullptr);
  {
    absl::MutexLock lock(&old_parent->mu_);
    absl::MutexLock own(&dentry.mu_);
    auto it = old_parent->children_.find(std::string_view(dentry.name_));
    if (it != old_parent->children_.end() && it->second == &dentry) old_parent->children_.erase(it);
  }
  // Between the two a lookup misses, and then waits for the directory's lock.
  absl::MutexLock lock(&directory.mu_);
  absl::MutexLock own(&dentry.mu_);
  dentry.name_ = std::string(name);
  dentry.parent_ = ShareRef(&directory);
  Clock& clock = TheClock();
  {
    absl::MutexLock clock_lock(&clock.mu);
    if (!dentry.cached_) {
      dentry.cached_ = true;
      dentry.IncRef();
      Push(dentry);
      ++clock.count;
    }
  }
  directory.children_.emplace(std::string_view(dentry.name_), &dentry);
  // Whoever was above may now be below: the order that the deadlock detector has learnt is void.
  dentry.dir_mu_.ForgetDeadlockInfo();
  dentry.mu_.ForgetDeadlockInfo();
}

void DentryCache::Exchange(Dentry& a, Dentry& b) {
  const RefPtr<Dentry> parent_a = a.parent(), parent_b = b.parent();
  const std::string name_a = a.name(), name_b = b.name();
  const Ref<Dentry> hold = ShareRef(&b);
  Detach(b, *parent_b);
  Move(a, *parent_b, name_b);
  Move(b, *parent_a, name_a);
}

bool DentryCache::IsBelow(const Dentry& ancestor, const Dentry& dentry) {
  if (&ancestor == &dentry) return true;
  for (RefPtr<Dentry> at = dentry.parent(); at != nullptr; at = at->parent()) {
    if (at.get() == &ancestor) return true;
  }
  return false;
}

// Drops a dentry that only the cache (and `dentry` here) refers to. Its parent's lock makes the count's answer final: new references come
// from the map.
bool DentryCache::TryEvict(const Ref<Dentry>& dentry) {
  const RefPtr<Dentry> parent = dentry->parent();
  if (parent == nullptr) return false;
  absl::MutexLock lock(&parent->mu_);
  if (dentry->RefCountForTesting() != 2) return false;
  absl::MutexLock own(&dentry->mu_);
  auto it = parent->children_.find(std::string_view(dentry->name_));
  if (it == parent->children_.end() || it->second != dentry.get()) return false;
  Clock& clock = TheClock();
  absl::MutexLock clock_lock(&clock.mu);
  if (!dentry->cached_) return false;
  parent->children_.erase(it);
  dentry->cached_ = false;
  Pop(*dentry);
  --clock.count;
  dentry->DecRef();  // not the last: `dentry` is destroyed by its owner, after the locks
  return true;
}

void DentryCache::EvictSome() {
  Clock& clock = TheClock();
  std::vector<Ref<Dentry>> candidates;
  {
    absl::MutexLock lock(&clock.mu);
    if (clock.count <= clock.limit.load(std::memory_order_relaxed)) return;
    for (int i = 0; i < kScanPerInsertion && clock.head != nullptr; ++i) {
      Dentry* d = clock.head;
      Pop(*d);
      Push(*d);
      const bool used = d->recently_used_.exchange(false, std::memory_order_relaxed);
      if (!used && d->RefCountForTesting() == 1) candidates.push_back(ShareRef(d));
      if (candidates.size() == 2) break;  // one for the new one, one to come back below the limit
    }
  }
  for (const Ref<Dentry>& d : candidates) TryEvict(d);
}

void DentryCache::PruneBelow(Dentry& directory) {
  // Deepest first: a parent becomes unused when its last child goes. An explicit stack, for trees of any depth.
  std::vector<std::pair<Ref<Dentry>, bool>> stack;
  stack.emplace_back(ShareRef(&directory), false);
  while (!stack.empty()) {
    auto [dentry, expanded] = std::move(stack.back());
    stack.pop_back();
    if (expanded) {
      if (dentry.get() != &directory) TryEvict(dentry);
      continue;
    }
    std::vector<Ref<Dentry>> children;
    {
      absl::ReaderMutexLock lock(&dentry->mu_);
      for (const auto& [name, child] : dentry->children_) children.push_back(ShareRef(child));
    }
    stack.emplace_back(std::move(dentry), true);
    for (Ref<Dentry>& child : children) stack.emplace_back(std::move(child), false);
  }
}

void DentryCache::SetLimit(size_t dentries) { TheClock().limit.store(dentries, std::memory_order_relaxed); }

size_t DentryCache::CountForTesting() {
  Clock& clock = TheClock();
  absl::MutexLock lock(&clock.mu);
  return clock.count;
}

}  // namespace rampart::vfs
