// TraceState: what a task is as somebody's tracee. Part of Task; everything that is done with it is in ptrace.h, whose comment explains it.
// Thread safety: each field says which lock.
#pragma once

#include <cstdint>

#include "abi/signal.h"
#include "absl/functional/function_ref.h"

namespace rampart::kernel {

class Task;

// How the tracer lets its tracee go.
enum class TraceResume : uint8_t { kContinue, kSyscall, kStep, kEmulate, kEmulateStep };

// What the tracee's own thread has to do for its tracer beyond the usual: Task::trace_work_. None of them: nobody pays for tracing.
inline constexpr uint8_t kTraceSyscalls = 1, kTraceEmulate = 2, kTraceStep = 4;

struct TraceState {
  // Written under Kernel::tree_mu_ and the group's signal_mu_, read under either.
  Task* tracer = nullptr;             // null: not traced
  bool seized = false;                // PTRACE_SEIZE, not ATTACH or TRACEME
  bool tracer_privileged = false;     // the tracer could trace anybody when it began

  // Guarded by the group's signal_mu_.
  uint32_t options = 0;               // PTRACE_O_…
  bool stopped = false;               // in a ptrace-stop (Linux: TASK_TRACED)
  bool frozen = false;                // the tracer is at work on it: it stays, whatever comes
  bool listening = false;             // PTRACE_LISTEN: stopped for itself, but not for the tracer
  bool trap_stop = false;             // has to stop for the tracer (Linux: JOBCTL_TRAP_STOP)
  bool trap_notify = false;           // has to tell a seizing tracer that job control has happened (JOBCTL_TRAP_NOTIFY)
  bool trapping = false;              // the tracer waits for it to go from a stop of job control to one of tracing
  bool counts_in_stop = false;        // one of those that the stop in progress waits for (JOBCTL_STOP_CONSUME)
  int stop_signal = 0;                // of the last stop by job control
  int wait_code = 0;                  // of the stop, as wait tells it; 0 once told
  int answer = 0;                     // the signal that the tracer let it go with
  TraceResume resume = TraceResume::kContinue;
  uint64_t message = 0;               // PTRACE_GETEVENTMSG
  abi::SigInfo* info = nullptr;       // of the stop; on the stack of the tracee's thread
  const absl::FunctionRef<void()>* errand = nullptr;  // run by the tracee's thread while it is stopped
};

}  // namespace rampart::kernel
