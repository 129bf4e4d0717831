// Watches a running sandbox until it is over: passes signals on, keeps the time limit, notices when one of the two processes dies, and
// takes the other one down.
//
// Trust: the sentry and the gofer are hostile here. Every message is checked; what is not well-formed is logged and dropped.
// Thread safety: none; one call per sandbox.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "base/time.h"
#include "runner/monitor/caller_signals.h"
#include "runner/monitor/terminal.h"
#include "runner/namespaces/clone.h"
#include "sentry/boot/control.h"

namespace rampart::runner {

// What a container has beyond a command: somebody who creates it, later somebody who starts it, and clients.
struct WatchedContainer {
  int listen_fd = -1;    // connections from here go to the sentry
  int lifeline_fd = -1;  // whoever creates the container: its end, or a byte when all is done. Before that its end ends the sandbox.
  std::function<absl::Status()> ready = nullptr;  // the sandbox waits for its start; an error ends it
  std::function<void()> started = nullptr;        // the first program runs
  bool start_at_once = false;                     // after ready()
};

struct Watched {
  const Child& sentry;
  const Child& gofer;
  int control_fd = -1;        // to the sentry: sentry/boot/control.h
  int gofer_report_fd = -1;   // from the gofer: nothing, or one packet that says why it could not start
  int stats_fd = -1;          // read end; -1 = no statistics wanted
  const Terminal* terminal = nullptr;  // the caller's; null: none
  Nanos timeout = 0;          // from the program's start; 0 = none
  WatchedContainer container = {};
};

// How a process ended, as waitid(2) tells it.
struct Death {
  bool by_signal = false;
  int value = 0;  // exit status or signal
};

struct Outcome {
  enum class Kind {
    kExited,       // the program ended: wait_status
    kStartFailed,  // the program or the sandbox could not start: failure, error, text
    kInterrupted,  // a signal ended us before the program ran: value in death
    kTimedOut,
    kSentryDied,   // death, violation
    kGoferDied,    // death, violation, or text
    kAbandoned,    // a container whose creator ended or failed before it was done; text
  };
  Kind kind = Kind::kExited;
  int wait_status = 0;
  uint32_t memory_kills = 0;  // kExited: processes inside that were killed because memory had run out
  sentry::boot::StartFailure failure{};
  int error = 0;
  std::string text;
  Death death;
  long violation = -1;  // the system call that the filter stopped; -1 = not known
  bool have_stats = false;
  sentry::boot::StatsReport stats;
};

// Returns when both processes are gone and reaped.
Outcome Supervise(const Watched& watched, CallerSignals& signals);

// The status that sentry-run ends with: the program's own; 128+N for signal N; 126, 127 as a shell; 124 for the time limit; 125 for the
// sandbox's own failures.
int ExitStatusOf(const Outcome& outcome);

// One line for people when the sandbox itself failed, else "". `program` is argv[0].
std::string MessageOf(const Outcome& outcome, const std::string& program);

}  // namespace rampart::runner
