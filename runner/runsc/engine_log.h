// --log: where engines look for the reason of a failure, in the format that they ask for.
// Thread safety: none.
#pragma once

#include <string>

#include "base/unique_fd.h"
#include "runner/runsc/config.h"

namespace rampart::runner {

// One line for --log-format: {"level":"error","msg":"…","time":"…"} or time="…" level=error msg="…". `now`: seconds since 1970.
std::string FormatLogLine(const std::string& format, const char* level, const std::string& message, int64_t now);

// --log, opened to be appended to; invalid if there is none. Failures are only told on standard error.
UniqueFd OpenEngineLog(const Config& config);
// Appends the line to --log, if there is one. Failures to do so are only told on standard error.
void LogToEngine(const Config& config, const char* level, const std::string& message);
void LogToEngine(const Config& config, const UniqueFd& log, const char* level, const std::string& message);

}  // namespace rampart::runner
