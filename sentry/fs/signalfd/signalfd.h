// SignalFd: signals read as a file (signalfd(2)).
//
// Model: Linux's. Reading takes pending signals of the reading task; readiness is that of the asking task too, whoever made the descriptor. Who
// registers hears of signals of the own process: an epoll of those of the process that added the descriptor to it. Where no task asks, the process
// that made the descriptor is meant.
// Thread safety: any thread. Lock order: others_mu_ is a leaf.
#pragma once

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
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
  bool has_write() const override { return false; }
  bool pollable() const override { return true; }
  // Whole records of 128 bytes. EINVAL: no room for one; EAGAIN.
  Result<size_t> Read(Caller& caller, mm::IoDst& dst, uint32_t flags) override;
  Result<size_t> Write(Caller&, mm::IoSrc&, uint32_t) override { return Errno::kEINVAL; }
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return uint64_t{0}; }  // Linux: noop_llseek
  wait::EventMask Readiness(wait::EventMask mask) override;
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override;
  void EventUnregister(wait::WaitEntry& entry) override;
  std::string FdInfo() const override;

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  SignalFd(vfs::Path path, uint32_t flags, Ref<kernel::ThreadGroup> group, abi::SigSet signals);

  const Ref<kernel::ThreadGroup> group_;
  std::atomic<abi::SigSet> signals_;
  absl::Mutex others_mu_;
  // Where entries are registered that are not in group_'s queue.
  absl::flat_hash_map<wait::WaitEntry*, Ref<kernel::ThreadGroup>> others_ ABSL_GUARDED_BY(others_mu_);
};

}  // namespace rampart::fs
