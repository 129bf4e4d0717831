// What the handlers of System V IPC and of message queues share.
#pragma once

#include "sentry/ipc/blocker.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

// A task as sentry/ipc sees it who sleeps, for the time of one call.
class TaskBlocker {
 public:
  explicit TaskBlocker(kernel::Task& task) : sleep_([&task](Deadline deadline) { return task.Sleep(deadline); }), blocker_{task.sleeper(), sleep_} {}
  TaskBlocker(const TaskBlocker&) = delete;
  TaskBlocker& operator=(const TaskBlocker&) = delete;
  const ipc::Blocker& operator*() const { return blocker_; }

 private:
  const std::function<Result<void>(Deadline)> sleep_;
  const ipc::Blocker blocker_;
};

}  // namespace rampart::syscalls
