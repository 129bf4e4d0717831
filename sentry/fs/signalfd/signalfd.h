// SignalFd: signals read as a file (signalfd(2)).
//
// Model: Linux's. Reading takes pending signals of the reading task; readiness for poll is that of the asking task too, but an epoll that asks from
// elsewhere sees those of the process that made the descriptor.
// Thread safety: any thread.
#pragma once

#include <atomic>

#include "abi/signal.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/vfs/file_description.h"

namespace rampart::fs {

class SignalFd final : public vfs::FileDescription {
 public:
  // `flags`: O_NONBLOCK. SIGKILL and SIGSTOP are dropped from the set.
  static Ref<SignalFd> Create(kernel::Task& task, abi::SigSet signals, uint32_t flags);
  void SetSignals(abi::SigSet signals);

  bool seekable() const override { return false; }
  bool pollable() const override { return true; }
  // Whole records of 128 bytes. EINVAL: no room for one; EAGAIN.
  Result<size_t> Read(Caller& caller, mm::IoDst& dst, uint32_t flags) override;
  Result<size_t> Write(Caller&, mm::IoSrc&, uint32_t) override { return Errno::kEINVAL; }
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return uint64_t{0}; }  // Linux: noop_llseek
  wait::EventMask Readiness(wait::EventMask mask) override;
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override { group_->signal_events().Register(entry, mask); }
  void EventUnregister(wait::WaitEntry& entry) override { group_->signal_events().Unregister(entry); }
  std::string FdInfo() const override;

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  SignalFd(vfs::Path path, uint32_t flags, Ref<kernel::ThreadGroup> group, abi::SigSet signals);

  const Ref<kernel::ThreadGroup> group_;
  std::atomic<abi::SigSet> signals_;
};

}  // namespace rampart::fs
