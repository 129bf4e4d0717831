#include "sentry/fs/host/host_events.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "base/log.h"
#include "base/sanitizers.h"
#include "base/unique_fd.h"

namespace rampart::fs {

class HostPoller {
 public:
  static HostPoller& Get() {
    static HostPoller* const poller = new HostPoller;  // lives as long as its thread: to the end of the process
    return *poller;
  }

  Result<void> Start() {
    absl::MutexLock lock(&mu_);
    return StartLocked();
  }

  void Watch(HostEvents& events) {
    absl::MutexLock lock(&mu_);
    if (events.id_ != 0 || events.unpollable_) return;
    if (!StartLocked().ok()) return;
    const uint64_t id = ++last_id_;
    epoll_event event{};
    event.events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.u64 = id;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, events.fd_, &event) != 0) {
      events.unpollable_ = true;
      return;
    }
    events.id_ = id;
    watched_[id] = &events;
  }

  void Forget(HostEvents& events) {
    absl::MutexLock lock(&mu_);
    ForgetLocked(events);
  }

 private:
  HostPoller() = default;

  Result<void> StartLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (epoll_.valid()) return Ok();
    UniqueFd epoll = TRY(FdFromHost(epoll_create1(EPOLL_CLOEXEC)));
    epoll_ = std::move(epoll);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, size_t{kSanitized ? 1024 : 128} << 10);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread{};
    const int error = pthread_create(&thread, &attr, &Main, this);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attr);
    if (error == 0) return Ok();
    epoll_.Reset();
    return ErrnoFromHost(error);
  }

  void ForgetLocked(HostEvents& events) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (events.id_ == 0) return;
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, events.fd_, nullptr);
    watched_.erase(events.id_);
    events.id_ = 0;
  }

  static void* Main(void* self) {
    pthread_setname_np(pthread_self(), "host-poller");
    static_cast<HostPoller*>(self)->Loop();
    return nullptr;
  }

  void Loop() {
    int fd = -1;
    {
      absl::MutexLock lock(&mu_);
      fd = epoll_.get();
    }
    std::array<epoll_event, 16> events;
    while (true) {
      const int n = epoll_wait(fd, events.data(), static_cast<int>(events.size()), -1);
      if (n < 0 && errno != EINTR) {
        Log(LogLevel::kError, "host poller: epoll_wait: %s", ErrnoName(ErrnoFromHost(errno)));
        return;
      }
      for (int i = 0; i < n; ++i) Dispatch(events[static_cast<size_t>(i)]);
    }
  }

  void Dispatch(const epoll_event& event) {
    absl::MutexLock lock(&mu_);
    const uint64_t id = event.data.u64;  // a copy: the structure is packed
    const auto it = watched_.find(id);
    if (it == watched_.end()) return;  // closed meanwhile
    HostEvents& events = *it->second;
    if (events.queue_.empty()) {
      ForgetLocked(events);
    } else {
      events.queue_.Notify(event.events & 0xffffu);
    }
  }

  absl::Mutex mu_;
  UniqueFd epoll_ ABSL_GUARDED_BY(mu_);
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<uint64_t, HostEvents*> watched_ ABSL_GUARDED_BY(mu_);
};

HostEvents::~HostEvents() { HostPoller::Get().Forget(*this); }

wait::EventMask HostEvents::Ready(wait::EventMask mask) const {
  pollfd entry{fd_, static_cast<short>(mask & 0x7fffu), 0};
  const timespec now{0, 0};
  if (ppoll(&entry, 1, &now, nullptr) < 0) return abi::kPollErr;
  return static_cast<uint16_t>(entry.revents);
}

void HostEvents::Register(wait::WaitEntry& entry, wait::EventMask mask) {
  queue_.Register(entry, mask);
  HostPoller::Get().Watch(*this);
}

Result<void> StartHostPoller() { return HostPoller::Get().Start(); }

}  // namespace rampart::fs
