// Waiting for any of several files: what poll and select have in common.
#pragma once

#include <span>

#include "sentry/kernel/task.h"
#include "sentry/vfs/file_description.h"

namespace rampart::syscalls {

struct PollItem {
  RefPtr<vfs::FileDescription> file;  // null: nothing to ask; `got` is kept
  wait::EventMask wanted = 0;         // errors and hang-ups come unasked
  wait::EventMask got = 0;
};

// Waits until any item shows what is wanted (or has `got` set from the start). Returns how many do; 0 at the deadline; kERESTARTSYS.
// Task thread only.
Result<size_t> WaitForAny(kernel::Task& task, std::span<PollItem> items, Deadline deadline);

}  // namespace rampart::syscalls
