#include "base/log.h"

#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "base/check.h"

namespace rampart {
namespace {

int log_fd = 2;
LogLevel log_level = LogLevel::kWarning;
const char* log_name = "rampart";

constexpr char kLevelLetters[] = "DIWE";

}  // namespace

void SetLogging(int fd, LogLevel level, const char* name) {
  log_fd = fd;
  log_level = level;
  log_name = name;
}

bool LogEnabled(LogLevel level) { return level >= log_level && log_level != LogLevel::kOff; }

namespace {

[[gnu::format(printf, 2, 0)]] void WriteLine(char letter, const char* format, va_list args) {
  const int saved_errno = errno;
  char line[2048];
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  int used = std::snprintf(line, sizeof(line), "%lld.%06ld %c %s: ", static_cast<long long>(now.tv_sec), now.tv_nsec / 1000, letter, log_name);
  const int wanted = std::vsnprintf(line + used, sizeof(line) - static_cast<size_t>(used) - 1, format, args);
  if (wanted > 0) used += wanted;
  if (used > static_cast<int>(sizeof(line)) - 2) used = sizeof(line) - 2;
  line[used++] = '\n';
  [[maybe_unused]] const ssize_t written = ::write(log_fd, line, static_cast<size_t>(used));
  errno = saved_errno;
}

}  // namespace

void Log(LogLevel level, const char* format, ...) {
  if (!LogEnabled(level)) return;
  va_list args;
  va_start(args, format);
  WriteLine(kLevelLetters[static_cast<int>(level)], format, args);
  va_end(args);
}

void LogAlways(const char* format, ...) {
  va_list args;
  va_start(args, format);
  WriteLine('S', format, args);
  va_end(args);
}

void CheckFailed(const char* file, int line, const char* condition) {
  char text[512];
  const int n = std::snprintf(text, sizeof(text), "%s: CHECK failed at %s:%d: %s\n", log_name, file, line, condition);
  if (n > 0) {
    [[maybe_unused]] ssize_t written = ::write(log_fd, text, static_cast<size_t>(n));
    if (log_fd != 2) written = ::write(2, text, static_cast<size_t>(n));
  }
  std::abort();
}

}  // namespace rampart
