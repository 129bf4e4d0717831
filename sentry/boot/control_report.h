// What clients of the control protocol are told about a running sandbox.
// Thread safety: any thread.
#pragma once

#include <string>

#include "sentry/kernel/kernel.h"

namespace rampart::control {
class ProcessesResponse;
class StatsResponse;
}  // namespace rampart::control

namespace rampart::sentry::boot {

// Every process, ascending.
void ReportProcesses(kernel::Kernel& kernel, control::ProcessesResponse& out);
void ReportStats(kernel::Kernel& kernel, control::StatsResponse& out);
// One line for each task: what it is and what it does.
std::string ReportTasks(kernel::Kernel& kernel);

}  // namespace rampart::sentry::boot
