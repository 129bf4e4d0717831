// Waiting for a file, once for all system calls: try, register, try again, sleep.
#pragma once

#include "absl/functional/function_ref.h"
#include "sentry/kernel/task.h"
#include "sentry/vfs/file_description.h"

namespace rampart::kernel {

// Calls `attempt` until it returns anything but EAGAIN. Between attempts sleeps until `file` shows one of `events`.
// Errors: attempt's; kERESTARTSYS when interrupted (the caller maps it where Linux says EINTR); EAGAIN when the deadline passed.
// Task thread only. `attempt` must make progress visible (a partial transfer is a success, not EAGAIN).
template <class T>
Result<T> BlockOn(Task& task, vfs::FileDescription& file, wait::EventMask events, Deadline deadline,
                  absl::FunctionRef<Result<T>()> attempt) {
  Result<T> first = attempt();
  if (first.ok() || first.error() != Errno::kEAGAIN) return first;
  wait::SleeperEntry entry(task.sleeper());
  file.EventRegister(entry, events);
  Result<T> result = Errno::kEAGAIN;
  while (true) {
    result = attempt();
    if (result.ok() || result.error() != Errno::kEAGAIN) break;
    const Result<void> slept = task.Sleep(deadline);
    if (slept.ok()) continue;
    result = slept.error() == Errno::kETIMEDOUT ? Errno::kEAGAIN : slept.error();
    break;
  }
  file.EventUnregister(entry);
  return result;
}

}  // namespace rampart::kernel
