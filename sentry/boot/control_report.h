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

// Every process of a container (ThreadGroup::container()), ascending.
void ReportProcesses(kernel::Kernel& kernel, uint32_t container, const kernel::PidNamespace& ns, control::ProcessesResponse& out);
// Memory and limits are the sandbox's, processes and times the container's.
void ReportStats(kernel::Kernel& kernel, uint32_t container, control::StatsResponse& out);
// One line for each task: what it is and what it does.
std::string ReportTasks(kernel::Kernel& kernel);

}  // namespace rampart::sentry::boot
