#include "sentry/fs/timerfd/timerfd.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "sentry/vfs/operations.h"

namespace rampart::fs {

Ref<TimerFd> TimerFd::Create(time::TimerQueue& queue, Clock clock, int32_t clock_id, uint32_t flags) {
  Ref<vfs::Inode> inode = vfs::NewAnonymousInode(vfs::FileType{0}, 0600, 0, 0);
  return MakeRef<TimerFd>(vfs::NewAnonymousPath(inode, "anon_inode:[timerfd]"), abi::kORdWr | (flags & abi::kONonblock), queue,
                          std::move(clock), clock_id);
}

TimerFd::TimerFd(vfs::Path path, uint32_t flags, time::TimerQueue& queue, Clock clock, int32_t clock_id)
    : FileDescription(std::move(path), flags), clock_(std::move(clock)), clock_id_(clock_id), timer_(queue, [this] { OnTimer(); }) {}

void TimerFd::ArmLocked(Nanos now) {
  if (expires_ == 0 || expires_ == kNanosMax || expired_) return timer_.Arm(Deadline::Never());
  timer_.Arm(Deadline::After(std::max<Nanos>(expires_ - now, 0)));
}

void TimerFd::OnTimer() {
  const Nanos now = clock_();
  {
    absl::MutexLock lock(&mu_);
    if (expires_ == 0 || expired_) return;
    if (expires_ > now) return ArmLocked(now);
    expired_ = true;
  }
  queue_.Notify(abi::kPollIn | abi::kPollRdNorm);
}

TimerFd::Setting TimerFd::LeftLocked(Nanos now) const {
  if (expires_ == 0) return {0, interval_};
  Nanos left = expires_ - now;
  // Expired and not read: the next one that is still to come.
  if (left <= 0 && interval_ > 0) left = interval_ - (-left % interval_);
  if (left <= 0) return {expired_ ? 0 : 1, interval_};
  return {left, interval_};
}

TimerFd::Setting TimerFd::Get() {
  const Nanos now = clock_();
  absl::MutexLock lock(&mu_);
  return LeftLocked(now);
}

TimerFd::Setting TimerFd::Set(Setting setting, bool absolute) {
  const Nanos now = clock_();
  absl::MutexLock lock(&mu_);
  const Setting old = LeftLocked(now);
  expires_ = setting.value == 0 || absolute ? setting.value : SaturatingAdd(now, setting.value);
  interval_ = setting.interval;
  expired_ = false;
  ArmLocked(now);
  return old;
}

Result<size_t> TimerFd::Read(Caller&, mm::IoDst& dst, uint32_t) {
  if (dst.remaining() < sizeof(uint64_t)) return Errno::kEINVAL;
  const Nanos now = clock_();
  uint64_t count = 0;
  {
    absl::MutexLock lock(&mu_);
    if (!expired_) return Errno::kEAGAIN;
    count = 1;
    expired_ = false;
    if (interval_ > 0) {
      count += static_cast<uint64_t>(std::max<Nanos>(now - expires_, 0) / interval_);
      expires_ += static_cast<Nanos>(count) * interval_;
    } else {
      expires_ = 0;
    }
    ArmLocked(now);
  }
  const size_t n = TRY(dst.Write(std::as_bytes(std::span(&count, 1))));
  if (n != sizeof(count)) return Errno::kEFAULT;
  return n;
}

wait::EventMask TimerFd::Readiness(wait::EventMask mask) {
  absl::MutexLock lock(&mu_);
  return (expired_ ? abi::kPollIn : 0u) & mask;
}

std::string TimerFd::FdInfo() const {
  const Nanos now = clock_();
  absl::MutexLock lock(&mu_);
  const Setting left = LeftLocked(now);
  char text[256];
  std::snprintf(text, sizeof(text),
                "clockid: %d\nticks: %d\nsettime flags: 00\nit_value: (%" PRId64 ", %" PRId64 ")\nit_interval: (%" PRId64 ", %" PRId64 ")\n",
                clock_id_, expired_ ? 1 : 0, left.value / kNanosPerSecond, left.value % kNanosPerSecond, interval_ / kNanosPerSecond,
                interval_ % kNanosPerSecond);
  return text;
}

}  // namespace rampart::fs
