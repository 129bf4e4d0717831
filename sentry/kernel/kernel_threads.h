// WorkerPool: the host threads that run tasks. A thread whose task has exited keeps its platform::Context and waits for the next task:
// making a thread with its helper process costs far more than waking one.
//
// Model. Idle workers form a stack; a new thread of a process prefers the worker that ran in the same address space last. Each
// worker makes its Context on itself (platform.h: a Context belongs to its thread).
// Thread safety: any thread. Lock order: mu_ is a leaf, below all of kernel/'s.
#pragma once

#include <pthread.h>

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/sanitizers.h"
#include "platform/platform.h"
#include "sentry/kernel/task.h"
#include "sentry/wait/wait.h"

namespace rampart::kernel {

class WorkerPool {
 public:
  WorkerPool() = default;
  ~WorkerPool();  // REQUIRES: no task runs any more; ends the idle threads and waits for them

  // Runs `task` on a thread. `space`: the address space it will run in, as a hint only. EAGAIN: the host gives no more threads.
  Result<void> Start(platform::Platform& platform, Ref<Task> task, const platform::AddressSpace* space);
  size_t threads() const;

 private:
  struct Worker;
  static void* Main(void* worker);
  void Serve(Worker& worker);
  bool BecomeIdle(Worker& worker);
  Result<void> StartNew(platform::Platform& platform, Ref<Task> task);

  static constexpr size_t kStackBytes = (kSanitized ? 1024 : 256) * 1024;
  static constexpr size_t kMaxIdle = 24;

  mutable absl::Mutex mu_;
  std::vector<Worker*> idle_ ABSL_GUARDED_BY(mu_);
  size_t threads_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace rampart::kernel
