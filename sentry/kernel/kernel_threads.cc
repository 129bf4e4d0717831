#include "sentry/kernel/kernel_threads.h"

#include <cerrno>
#include <utility>

#include "base/log.h"

namespace rampart::kernel {

struct WorkerPool::Worker {
  Worker(WorkerPool& p, platform::Platform& host, Ref<Task> first) : pool(p), platform(host), task(std::move(first)) {}

  WorkerPool& pool;
  platform::Platform& platform;
  RefPtr<Task> task;                               // handed over under pool.mu_, then `ready` is woken
  bool quit = false;                               // likewise
  wait::Sleeper ready;
  std::unique_ptr<platform::Context> context;      // made and used on the worker's thread
  const platform::AddressSpace* last_space = nullptr;  // a name, never dereferenced; guarded by pool.mu_ while idle
};

WorkerPool::~WorkerPool() {
  absl::MutexLock lock(&mu_);
  stopping_ = true;
  for (Worker* worker : std::exchange(idle_, {})) {
    worker->quit = true;
    worker->ready.Wake();
  }
  mu_.Await(absl::Condition(+[](size_t* threads) { return *threads == 0; }, &threads_));
}

size_t WorkerPool::threads() const {
  absl::MutexLock lock(&mu_);
  return threads_;
}

Result<void> WorkerPool::Start(platform::Platform& platform, Ref<Task> task, const platform::AddressSpace* space) {
  {
    const wait::DeferWakes defer;
    absl::MutexLock lock(&mu_);
    if (!idle_.empty()) {
      size_t pick = idle_.size() - 1;
      for (size_t i = idle_.size(); i-- > 0;) {
        if (idle_[i]->last_space != space) continue;
        pick = i;
        break;
      }
      Worker* worker = idle_[pick];
      idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(pick));
      worker->task = std::move(task);
      worker->ready.Wake();
      return Ok();
    }
  }
  return StartNew(platform, std::move(task));
}

Result<void> WorkerPool::StartNew(platform::Platform& platform, Ref<Task> task) {
  auto worker = std::unique_ptr<Worker>(new Worker(*this, platform, std::move(task)));
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return Errno::kEAGAIN;
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  {
    absl::MutexLock lock(&mu_);
    ++threads_;
  }
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, &WorkerPool::Main, worker.get());
  pthread_attr_destroy(&attributes);
  if (error != 0) {
    absl::MutexLock lock(&mu_);
    --threads_;
    return Errno::kEAGAIN;
  }
  worker.release();  // its thread owns it now
  return Ok();
}

void* WorkerPool::Main(void* argument) {
  // SAFETY: StartNew passed a Worker and gave it up to this thread.
  const std::unique_ptr<Worker> worker(static_cast<Worker*>(argument));
  WorkerPool& pool = worker->pool;
  pool.Serve(*worker);
  worker->context = nullptr;
  absl::MutexLock lock(&pool.mu_);
  --pool.threads_;
  return nullptr;
}

void WorkerPool::Serve(Worker& worker) {
  Result<std::unique_ptr<platform::Context>> context = worker.platform.NewContext();
  if (context.ok()) {
    worker.context = std::move(context).value();
  } else {
    Log(LogLevel::kError, "kernel: the host refuses another application thread: %s", ErrnoName(context.error()));
  }
  do {
    const Ref<Task> task = std::exchange(worker.task, nullptr).ToRef();
    if (worker.context == nullptr) {
      task->RunWithoutContext();
      return;
    }
    worker.last_space = &task->mm().space();
    task->Run(*worker.context);
  } while (BecomeIdle(worker));
}

// False: the thread is to end.
bool WorkerPool::BecomeIdle(Worker& worker) {
  {
    absl::MutexLock lock(&mu_);
    if (stopping_ || idle_.size() >= kMaxIdle) return false;
    idle_.push_back(&worker);
  }
  while (true) {
    (void)worker.ready.SleepUninterruptible(Deadline::Never());  // first, so that each hand-over's wake is taken with it
    absl::MutexLock lock(&mu_);
    if (worker.quit) return false;
    if (worker.task) return true;
  }
}

}  // namespace rampart::kernel
