#include "sentry/fs/inotify/inotify.h"

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "abi/inotify.h"
#include "abi/ioctl.h"
#include "sentry/vfs/inode_extras.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

constexpr size_t kMaxEvents = 16384;     // /proc/sys/fs/inotify/max_queued_events
constexpr size_t kMaxWatches = 65536;    // /proc/sys/fs/inotify/max_user_watches, here of one instance
constexpr uint32_t kEnding = vfs::kInDeleteSelf | vfs::kInUnmount;
constexpr uint32_t kKeptFlags = abi::kInAllEvents | abi::kInOneshot | abi::kInExclUnlink;

}  // namespace

class InotifyWatch final : public vfs::Watch {
 public:
  InotifyWatch(Inotify& owner, Ref<vfs::Dentry> name, int32_t wd, uint32_t mask) : owner_(owner), name_(std::move(name)), wd_(wd), mask_(mask) {}

  void OnEvent(uint32_t mask, uint32_t cookie, std::string_view name, bool unlinked) override {
    const uint32_t wanted = mask_.load(std::memory_order_acquire);
    if (ended_.load(std::memory_order_acquire)) return;
    if (unlinked && (wanted & abi::kInExclUnlink) != 0) return;
    if ((mask & (wanted | kEnding) & ~vfs::kInIsDir) == 0) return;
    owner_.Deliver(*this, mask, cookie, name);
  }
  vfs::Inode& inode() const { return *name_->inode(); }
  vfs::Inode* until_unmounted() const override { return name_->inode().get(); }

  Inotify& owner_;  // takes this watch out of its list before it dies
  const Ref<vfs::Dentry> name_;  // keeps the inode; not the mount, which may be unmounted
  const int32_t wd_;
  std::atomic<uint32_t> mask_;      // written under owner_.mu_
  std::atomic<bool> ended_{false};  // written under owner_.mu_
};

size_t Inotify::Event::size() const {
  const size_t padded = name.empty() ? 0 : (name.size() + 1 + sizeof(abi::InotifyEvent) - 1) / sizeof(abi::InotifyEvent) * sizeof(abi::InotifyEvent);
  return sizeof(abi::InotifyEvent) + padded;
}

Ref<Inotify> Inotify::Create(uint32_t flags) {
  Ref<vfs::Inode> inode = vfs::NewAnonymousInode(vfs::FileType{0}, 0600, 0, 0);
  return MakeRef<Inotify>(vfs::NewAnonymousPath(inode, "anon_inode:inotify"), abi::kORdOnly | (flags & abi::kONonblock));
}

Inotify::Inotify(vfs::Path path, uint32_t flags) : FileDescription(std::move(path), flags) {}

Inotify::~Inotify() {
  absl::btree_map<int32_t, Ref<InotifyWatch>> watches;
  {
    absl::MutexLock lock(&mu_);
    watches.swap(watches_);
  }
  for (const auto& [wd, watch] : watches) watch->inode().extras().watches.Remove(watch.get());
  Reap();
}

void Inotify::Reap() {
  std::vector<Ref<InotifyWatch>> ended;
  {
    absl::MutexLock lock(&mu_);
    ended.swap(ended_);
  }
  for (const Ref<InotifyWatch>& watch : ended) watch->inode().extras().watches.Remove(watch.get());
}

Result<int32_t> Inotify::AddWatch(const vfs::Path& path, uint32_t mask) {
  Reap();
  const uint32_t kept = mask & kKeptFlags;
  const RefPtr<vfs::Inode> inode = path.dentry->inode();
  if (!inode) return Errno::kENOENT;
  RefPtr<InotifyWatch> made;
  int32_t wd = 0;
  {
    absl::MutexLock lock(&mu_);
    const auto it = by_inode_.find(inode.get());
    if (it != by_inode_.end()) {
      if ((mask & abi::kInMaskCreate) != 0) return Errno::kEEXIST;
      InotifyWatch& watch = *watches_.at(it->second);
      const uint32_t old = (mask & abi::kInMaskAdd) != 0 ? watch.mask_.load(std::memory_order_relaxed) : 0;
      watch.mask_.store(old | kept, std::memory_order_release);
      return it->second;
    }
    if (watches_.size() >= kMaxWatches || last_wd_ == INT32_MAX) return Errno::kENOSPC;
    wd = ++last_wd_;
    made = MakeRef<InotifyWatch>(*this, path.dentry, wd, kept);
    watches_.emplace(wd, made.ToRef());
    by_inode_[inode.get()] = wd;
  }
  inode->extras().watches.Add(Ref<vfs::Watch>(made.ToRef()));
  return wd;
}

Result<void> Inotify::RemoveWatch(int32_t wd) {
  Reap();
  {
    absl::MutexLock lock(&mu_);
    const auto it = watches_.find(wd);
    if (it == watches_.end()) return Errno::kEINVAL;
    const Ref<InotifyWatch> watch = it->second;
    EndLocked(*watch);
  }
  queue_.Notify(abi::kPollIn | abi::kPollRdNorm);
  Reap();
  return Ok();
}

void Inotify::EndLocked(InotifyWatch& watch) {
  watch.ended_.store(true, std::memory_order_release);
  ended_.push_back(ShareRef(&watch));
  by_inode_.erase(&watch.inode());
  const int32_t wd = watch.wd_;
  watches_.erase(wd);
  QueueLocked({wd, vfs::kInIgnored, 0, ""});
}

void Inotify::Deliver(InotifyWatch& watch, uint32_t mask, uint32_t cookie, std::string_view name) {
  {
    absl::MutexLock lock(&mu_);
    if (watch.ended_.load(std::memory_order_relaxed)) return;
    const uint32_t wanted = watch.mask_.load(std::memory_order_relaxed);
    const uint32_t told = mask & (wanted | vfs::kInUnmount | vfs::kInIsDir);
    if ((told & ~vfs::kInIsDir) != 0) QueueLocked({watch.wd_, told, cookie, std::string(name)});
    const bool about_itself = name.empty();
    if ((wanted & abi::kInOneshot) != 0 || (about_itself && (mask & kEnding) != 0)) EndLocked(watch);
  }
  queue_.Notify(abi::kPollIn | abi::kPollRdNorm);
}

void Inotify::QueueLocked(Event event) {
  if (!events_.empty()) {
    const Event& last = events_.back();
    if (last.wd == event.wd && last.mask == event.mask && last.name == event.name && event.mask != vfs::kInIgnored) return;
    if (last.mask == vfs::kInQOverflow) return;
  }
  if (events_.size() >= kMaxEvents) event = {-1, vfs::kInQOverflow, 0, ""};
  events_.push_back(std::move(event));
}

Result<size_t> Inotify::Read(Caller&, mm::IoDst& dst, uint32_t) {
  Reap();
  std::vector<std::byte> bytes;
  {
    absl::MutexLock lock(&mu_);
    if (events_.empty()) return Errno::kEAGAIN;
    if (events_.front().size() > dst.remaining()) return Errno::kEINVAL;
    while (!events_.empty() && bytes.size() + events_.front().size() <= dst.remaining() && bytes.size() < (size_t{1} << 20)) {
      const Event& event = events_.front();
      const size_t start = bytes.size();
      bytes.resize(start + event.size());  // zero-filled: the padding of the name
      const abi::InotifyEvent head{event.wd, event.mask, event.cookie, static_cast<uint32_t>(event.size() - sizeof(abi::InotifyEvent))};
      std::memcpy(bytes.data() + start, &head, sizeof(head));
      std::memcpy(bytes.data() + start + sizeof(head), event.name.data(), event.name.size());
      events_.pop_front();
    }
  }
  return dst.Write(bytes);
}

wait::EventMask Inotify::Readiness(wait::EventMask mask) {
  absl::MutexLock lock(&mu_);
  return events_.empty() ? 0 : mask & (abi::kPollIn | abi::kPollRdNorm);
}

Result<uint64_t> Inotify::Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) {
  if (command != abi::kFionread) return FileDescription::Ioctl(caller, memory, command, argument);
  size_t size = 0;
  {
    absl::MutexLock lock(&mu_);
    for (const Event& event : events_) size += event.size();
  }
  TRY(memory.CopyOut(UserOut<int32_t>(argument), static_cast<int32_t>(size)));
  return uint64_t{0};
}

std::string Inotify::FdInfo() const {
  absl::MutexLock lock(&mu_);
  std::string text;
  for (const auto& [wd, watch] : watches_) {
    char line[96];
    std::snprintf(line, sizeof(line), "inotify wd:%x ino:%" PRIx64 " sdev:%" PRIx64 " mask:%x ignored_mask:0\n", static_cast<uint32_t>(wd),
                  watch->inode().ino(), watch->inode().device(), watch->mask_.load() & kKeptFlags);
    text += line;
  }
  return text;
}

}  // namespace rampart::fs
