// How an operation of this directory sleeps: the caller's sleeper, and the function that sleeps on it (kernel::Task::Sleep). A waiter lives on
// the stack of the one who sleeps; whoever wakes it holds the object's lock, which the sleeper takes before it goes, so that both are done with it.
#pragma once

#include "absl/functional/function_ref.h"
#include "base/result.h"
#include "base/time.h"
#include "sentry/wait/wait.h"

namespace rampart::ipc {

struct Blocker {
  wait::Sleeper& sleeper;
  // Ok when woken (perhaps for nothing), kERESTARTSYS: a signal is to be handled; ETIMEDOUT.
  absl::FunctionRef<Result<void>(Deadline)> sleep;
};

}  // namespace rampart::ipc
