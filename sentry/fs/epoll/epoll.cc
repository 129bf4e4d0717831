#include "sentry/fs/epoll/epoll.h"

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdio>

#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

constexpr int kMaxNests = 4;  // EP_MAX_NESTS: epolls that an epoll may be below or above
constexpr uint32_t kPrivateBits = abi::kEpollWakeup | abi::kEpollOneshot | abi::kEpollEt | abi::kEpollExclusive;
constexpr uint32_t kExclusiveOkBits = abi::kPollIn | abi::kPollOut | abi::kPollErr | abi::kPollHup | abi::kEpollWakeup | abi::kEpollEt |
                                      abi::kEpollExclusive;
constexpr uint32_t kAlways = abi::kPollErr | abi::kPollHup;

}  // namespace

class Epoll::Item final : public wait::WaitEntry, public vfs::LastCloseObserver {
 public:
  Item(Epoll& epoll, vfs::FileDescription& file, Fd fd, abi::EpollEvent event) : epoll_(epoll), file_(file), fd_(fd), event_(event) {
    mask_.store(event.events, std::memory_order_relaxed);
    set_always_exclusive((event.events & abi::kEpollExclusive) != 0);
  }

  void OnEvent(wait::EventMask events) override {
    // A one-shot that has fired has no interest left, not even in errors.
    const uint32_t mask = mask_.load(std::memory_order_acquire);
    if ((mask & ~kPrivateBits & events) != 0) epoll_.Ready(*this);
  }
  bool Idle() const override { return epoll_.queue_.empty(); }
  void OnLastClose(vfs::FileDescription&) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(LastCloseMutex()) {
    Epoll& epoll = epoll_;  // this object dies below
    absl::MutexLock lock(&epoll.mu_);
    epoll.DropLocked(*this);
  }

  // What the file shows now of what is wanted.
  uint32_t Ask() {
    const uint32_t mask = mask_.load(std::memory_order_relaxed) & ~kPrivateBits;
    return mask == 0 ? 0 : file_.Readiness(mask) & mask;
  }
  void SetEvent(abi::EpollEvent event) {
    event_ = event;
    mask_.store(event.events, std::memory_order_release);
  }

  Epoll& epoll_;
  vfs::FileDescription& file_;
  const Fd fd_;
  abi::EpollEvent event_;         // guarded by epoll_.mu_
  uint64_t changes_ = 0;          // guarded by epoll_.mu_: additions and modifications, of all items
  std::atomic<uint32_t> mask_;    // event_.events, without the interests of a one-shot that has fired; written under epoll_.mu_
  // Guarded by epoll_.ready_mu_.
  Item* next_ready_ = nullptr;
  Item* prev_ready_ = nullptr;
  bool linked_ = false;
};

Ref<Epoll> Epoll::Create() {
  Ref<vfs::Inode> inode = vfs::NewAnonymousInode(vfs::FileType{0}, 0600, 0, 0);
  return MakeRef<Epoll>(vfs::NewAnonymousPath(inode, "anon_inode:[eventpoll]"));
}

Epoll::Epoll(vfs::Path path) : FileDescription(std::move(path), abi::kORdWr) {}

Epoll::~Epoll() {
  // Under LastCloseMutex a file whose items are still here cannot get past its own OnLastRef.
  absl::MutexLock nesting(&vfs::LastCloseObserver::LastCloseMutex());
  absl::MutexLock lock(&mu_);
  while (!items_.empty()) DropLocked(*items_.begin()->second);
}

void Epoll::DropLocked(Item& item) {
  item.file_.EventUnregister(item);  // no OnEvent after this
  {
    absl::MutexLock lock(&ready_mu_);
    UnlinkLocked(item);
  }
  item.file_.RemoveObserverLocked(item);
  items_.erase(Key{&item.file_, static_cast<int32_t>(item.fd_)});
}

int Epoll::DepthBelow(int budget) {
  if (budget < 0) return kMaxNests + 1;
  int depth = 0;
  absl::MutexLock lock(&mu_);
  for (const auto& [key, item] : items_) {
    if (auto* const inner = dynamic_cast<Epoll*>(key.first)) depth = std::max(depth, inner->DepthBelow(budget - 1) + 1);
  }
  return depth;
}

int Epoll::DepthAbove(int budget) {
  if (budget < 0) return kMaxNests + 1;
  int depth = 0;
  for (vfs::LastCloseObserver* o = FirstObserver(); o != nullptr; o = o->NextObserver()) {
    if (auto* const item = dynamic_cast<Item*>(o)) depth = std::max(depth, item->epoll_.DepthAbove(budget - 1) + 1);
  }
  return depth;
}

// A circle would make a chain of any length, so that the two depths find it as well, but only if both ends are looked at: this epoll must not be
// below `file`.
Result<void> Epoll::CheckNesting(vfs::FileDescription& file) {
  auto* const inner = dynamic_cast<Epoll*>(&file);
  if (inner == nullptr) return Ok();
  const auto reaches = [this](auto& self, Epoll& from, int budget) -> bool {
    if (&from == this) return true;
    if (budget < 0) return false;
    absl::MutexLock lock(&from.mu_);
    for (const auto& [key, item] : from.items_) {
      auto* const next = dynamic_cast<Epoll*>(key.first);
      if (next != nullptr && self(self, *next, budget - 1)) return true;
    }
    return false;
  };
  if (reaches(reaches, *inner, kMaxNests + 1)) return Errno::kELOOP;
  if (inner->DepthBelow(kMaxNests) + 1 + DepthAbove(kMaxNests) > kMaxNests) return Errno::kELOOP;
  return Ok();
}

Result<void> Epoll::Add(vfs::FileDescription& file, Fd fd, abi::EpollEvent event) {
  if (!file.pollable()) return Errno::kEPERM;
  if (&file == this) return Errno::kEINVAL;
  const bool is_epoll = dynamic_cast<Epoll*>(&file) != nullptr;
  if ((event.events & abi::kEpollExclusive) != 0 && (is_epoll || (event.events & ~kExclusiveOkBits) != 0)) return Errno::kEINVAL;
  event.events |= kAlways;
  absl::MutexLock nesting(&vfs::LastCloseObserver::LastCloseMutex());
  TRY(CheckNesting(file));
  Item* item = nullptr;
  {
    absl::MutexLock lock(&mu_);
    auto [it, is_new] = items_.try_emplace(Key{&file, static_cast<int32_t>(fd)});
    if (!is_new) return Errno::kEEXIST;
    it->second = std::make_unique<Item>(*this, file, fd, event);
    item = it->second.get();
    item->changes_ = ++changes_;
    file.AddObserverLocked(*item);
    file.EventRegister(*item, event.events & ~kPrivateBits);
    if (item->Ask() == 0) return Ok();
  }
  Ready(*item);  // LastCloseMutex keeps it from going
  return Ok();
}

Result<void> Epoll::Modify(vfs::FileDescription& file, Fd fd, abi::EpollEvent event) {
  if (!file.pollable()) return Errno::kEPERM;
  if (&file == this || (event.events & abi::kEpollExclusive) != 0) return Errno::kEINVAL;
  event.events |= kAlways;
  {
    absl::MutexLock lock(&mu_);
    const auto it = items_.find(Key{&file, static_cast<int32_t>(fd)});
    if (it == items_.end()) return Errno::kENOENT;
    Item& item = *it->second;
    if ((item.event_.events & abi::kEpollExclusive) != 0) return Errno::kEINVAL;
    item.changes_ = ++changes_;
    if ((item.event_.events & ~kPrivateBits) != (event.events & ~kPrivateBits)) {
      file.EventUnregister(item);
      item.SetEvent(event);
      file.EventRegister(item, event.events & ~kPrivateBits);
    } else {
      item.SetEvent(event);
    }
    if (item.Ask() == 0) return Ok();
    absl::MutexLock ready(&ready_mu_);
    if (!item.linked_) PushLocked(item);
  }
  queue_.Notify(abi::kPollIn | abi::kPollRdNorm);
  return Ok();
}

Result<void> Epoll::Remove(vfs::FileDescription& file, Fd fd) {
  if (!file.pollable()) return Errno::kEPERM;
  if (&file == this) return Errno::kEINVAL;
  absl::MutexLock nesting(&vfs::LastCloseObserver::LastCloseMutex());
  absl::MutexLock lock(&mu_);
  const auto it = items_.find(Key{&file, static_cast<int32_t>(fd)});
  if (it == items_.end()) return Errno::kENOENT;
  DropLocked(*it->second);
  return Ok();
}

void Epoll::Ready(Item& item) {
  {
    absl::MutexLock lock(&ready_mu_);
    if (!item.linked_) PushLocked(item);
  }
  queue_.Notify(abi::kPollIn | abi::kPollRdNorm);
}

void Epoll::PushLocked(Item& item) {
  item.linked_ = true;
  item.next_ready_ = nullptr;
  item.prev_ready_ = ready_tail_;
  (ready_tail_ != nullptr ? ready_tail_->next_ready_ : ready_head_) = &item;
  ready_tail_ = &item;
  ++ready_count_;
}

void Epoll::UnlinkLocked(Item& item) {
  if (!item.linked_) return;
  (item.prev_ready_ != nullptr ? item.prev_ready_->next_ready_ : ready_head_) = item.next_ready_;
  (item.next_ready_ != nullptr ? item.next_ready_->prev_ready_ : ready_tail_) = item.prev_ready_;
  item.linked_ = false;
  item.next_ready_ = item.prev_ready_ = nullptr;
  --ready_count_;
}

Epoll::Item* Epoll::PopReady() {
  absl::MutexLock lock(&ready_mu_);
  Item* const item = ready_head_;
  if (item != nullptr) UnlinkLocked(*item);
  return item;
}

void Epoll::Collect(size_t max, Events& events, Collected& collected) {
  bool more = false;
  {
    absl::MutexLock lock(&mu_);
    size_t rounds = 0;
    {
      absl::MutexLock ready(&ready_mu_);
      rounds = ready_count_;  // what is put back, or comes meanwhile, is for the next call
    }
    for (; rounds > 0 && events.size() < max; --rounds) {
      // Off the list first: an event that comes while the file is asked puts it back.
      Item* const item = PopReady();
      if (item == nullptr) break;
      const uint32_t shown = item->Ask();
      if (shown == 0) continue;
      events.push_back({shown, item->event_.data_low, item->event_.data_high});
      collected.push_back({{&item->file_, static_cast<int32_t>(item->fd_)}, item->changes_, item->event_.events});
      const uint32_t wanted = item->event_.events;
      if ((wanted & abi::kEpollOneshot) != 0) {
        item->mask_.store(wanted & kPrivateBits, std::memory_order_release);
        item->event_.events = wanted & kPrivateBits;
      } else if ((wanted & abi::kEpollEt) == 0) {
        absl::MutexLock ready(&ready_mu_);
        if (!item->linked_) PushLocked(*item);
      }
    }
    absl::MutexLock ready(&ready_mu_);
    more = ready_head_ != nullptr;
  }
  // Each event woke one waiter; if it could not take them all, another should come.
  if (more && !queue_.empty()) queue_.Notify(abi::kPollIn | abi::kPollRdNorm);
}

void Epoll::PutBack(std::span<const CollectedItem> items) {
  bool any = false;
  {
    absl::MutexLock lock(&mu_);
    for (const CollectedItem& taken : items) {
      const auto it = items_.find(taken.key);
      if (it == items_.end() || it->second->changes_ != taken.change) continue;
      Item& item = *it->second;
      item.event_.events = taken.events;
      item.mask_.store(taken.events, std::memory_order_release);
      any = true;
      absl::MutexLock ready(&ready_mu_);
      if (!item.linked_) PushLocked(item);
    }
  }
  if (any) queue_.Notify(abi::kPollIn | abi::kPollRdNorm);
}

wait::EventMask Epoll::Readiness(wait::EventMask mask) {
  absl::MutexLock lock(&mu_);
  while (true) {
    Item* item = nullptr;
    {
      absl::MutexLock ready(&ready_mu_);
      item = ready_head_;
      if (item == nullptr) return 0;
      UnlinkLocked(*item);
    }
    if (item->Ask() == 0) continue;
    absl::MutexLock ready(&ready_mu_);
    if (!item->linked_) PushLocked(*item);
    return (abi::kPollIn | abi::kPollRdNorm) & mask;
  }
}

std::string Epoll::FdInfo() const {
  absl::MutexLock lock(&mu_);
  std::string text;
  for (const auto& [key, item] : items_) {
    char line[160];
    const vfs::FileDescription& file = item->file_;
    std::snprintf(line, sizeof(line), "tfd: %8d events: %8x data: %16" PRIx64 "  pos:%" PRIu64 " ino:%" PRIx64 " sdev:%" PRIx64 "\n", key.second,
                  item->event_.events, item->event_.data(), file.position(), file.inode_number(), file.device());
    text += line;
  }
  return text;
}

}  // namespace rampart::fs
