// Kernel::State: the private part of the kernel object: PID table, process tree lock, worker threads. Only for kernel/*.cc.
// Thread safety: tree_mu_ first of kernel/'s locks; see task.h.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "sentry/ipc/namespace.h"
#include "sentry/kernel/futex.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/kernel_threads.h"
#include "sentry/kernel/namespaces.h"
#include "sentry/kernel/pid_table.h"
#include "sentry/kernel/task_usage.h"
#include "sentry/loader/vdso_keeper.h"
#include "sentry/time/timer_queue.h"

namespace rampart::kernel {

struct Kernel::State {
  explicit State(KernelConfig c);
  ~State();

  void CountGone(const ResourceTotals& usage) {
    absl::MutexLock lock(&gone_mu);
    gone += usage;
  }

  KernelConfig config;
  std::atomic<uint64_t> max_tasks{config.limits.max_tasks};  // changed by Kernel::SetMaxTasks
  std::atomic<uint32_t> cpus{config.limits.cpus};            // changed by Kernel::SetCpus
  uint32_t host_cpus = 1;                                    // immutable once the kernel is made
  Nanos boot_time = MonotonicNow();
  std::atomic<uint64_t> forks{0};
  std::atomic<uint64_t> out_of_memory_kills{0};
  FutexManager futexes;
  // Those that the first process is in.
  const Ref<PidNamespace> pid_namespace = MakeRef<PidNamespace>(nullptr);
  const Ref<const Namespaces> namespaces = MakeRef<Namespaces>(MakeRef<UtsNamespace>(config.hostname, "(none)"),
                                                               MakeRef<ipc::Namespace>(config.memory_file), pid_namespace);
  const std::unique_ptr<keys::Registry> keys;
  AioLimits aio_limits;
  time::TimerQueue timers;
  loader::VdsoKeeper vdso_keeper{timers, config.vdso};

  absl::Mutex tree_mu;
  PidTable pids ABSL_GUARDED_BY(tree_mu);
  RefPtr<ThreadGroup> init ABSL_GUARDED_BY(tree_mu);
  std::atomic<bool> dying{false};                      // PID 1 has gone: no more clones; set under tree_mu
  bool init_done ABSL_GUARDED_BY(tree_mu) = false;
  absl::flat_hash_map<const RefCounted*, Session*> terminals ABSL_GUARDED_BY(tree_mu);  // who controls what
  wait::WaitQueue task_gone;                           // a task was removed from the table
  wait::WaitQueue resumed;                             // Kernel::Resume was called
  wait::WaitQueue exec_done;                           // a process may be attached to again

  absl::Mutex gone_mu;
  ResourceTotals gone ABSL_GUARDED_BY(gone_mu);        // of every thread that has ended

  absl::Mutex observer_mu;
  std::function<void(int)> stop_observer ABSL_GUARDED_BY(observer_mu);

  WorkerPool workers;                                  // last: its threads stop before the rest goes
};

// The first session's terminal. tree_mu held. (session.cc)
void GiveTerminalTreeLocked(Kernel::State& state, Session& session, Ref<RefCounted> terminal, abi::Pid foreground);

}  // namespace rampart::kernel
