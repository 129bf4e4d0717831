// Logging for the processes of a sandbox: printf-style lines to one descriptor, which the runner chose before confinement.
//
//   Log(LogLevel::kWarning, "gofer: bad message length %u", length);
//
// Each line is one write(2), so lines of several threads and processes do not mix. Nothing is formatted when the level is off.
// Thread safety: all functions may be called from any thread; SetLogging before threads start. Not async-signal-safe.
#pragma once

namespace rampart {

enum class LogLevel : int { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3, kOff = 4 };

// Lines at `level` and above go to `fd` (not owned), each beginning with time, level and `name` ("sentry", "gofer", …).
void SetLogging(int fd, LogLevel level, const char* name);
bool LogEnabled(LogLevel level);
[[gnu::format(printf, 2, 3)]] void Log(LogLevel level, const char* format, ...);
// A line that somebody asked for by name (--strace), whatever the level.
[[gnu::format(printf, 1, 2)]] void LogAlways(const char* format, ...);

}  // namespace rampart
