// What /proc and ptrace-like observers see of a task: one consistent copy of state that is otherwise private.
// Thread safety: any thread; takes the locks of task.h in their order.
#pragma once

#include "sentry/kernel/task.h"
#include "sentry/kernel/task_usage.h"

namespace rampart::kernel {

struct TaskView {
  char state = 'R';             // R running, S sleeping, T stopped, t tracing stop, Z zombie, X dead
  int threads = 1;              // of the process
  int nice = 0;
  abi::SigSet pending = 0, shared_pending = 0, blocked = 0, ignored = 0, caught = 0;
  uint64_t signal_queue_size = 0;
  int exit_signal = 17;
  uint64_t tty_device = 0;      // dev_t of the controlling terminal, 0: none
  abi::Pid tty_foreground = -1; // its foreground process group, -1: none
  Nanos start_time = 0;         // CLOCK_MONOTONIC
  Nanos user_time = 0, system_time = 0;                  // of the thread
  Nanos group_user_time = 0, group_system_time = 0;      // of the process, finished threads included
  Nanos children_user_time = 0, children_system_time = 0;
  uint32_t scheduling_policy = 0, rt_priority = 0;
  bool dumpable = true;
};

TaskView ViewOf(const Task& task);

// A number of the sandbox as `reader` knows it (pid_namespace.h); who is no task knows the sandbox's.
abi::Pid SeenPid(Caller& reader, abi::Pid pid);

// Of all threads of the sandbox that have ended, waited for or not.
ResourceTotals UsageOfTheGone(Kernel& kernel);

}  // namespace rampart::kernel
