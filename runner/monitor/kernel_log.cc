#include "runner/monitor/kernel_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string>

namespace rampart::runner {
namespace {

// The number after `key` in the fields before comm= (which the process chose) or after exe="…".
std::optional<uint32_t> Field(std::string_view text, std::string_view key) {
  const size_t at = text.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  const char* begin = text.data() + at + key.size();
  uint32_t number = 0;
  const auto parsed = std::from_chars(begin, text.data() + text.size(), number);
  if (parsed.ec != std::errc()) return std::nullopt;
  return number;
}

}  // namespace

std::optional<uint32_t> ParseSeccompRecord(std::string_view record, pid_t pid) {
  if (record.find("type=1326 ") == std::string_view::npos) return std::nullopt;
  const size_t comm = record.find(" comm=");
  const size_t signal = record.rfind(" sig=");
  if (comm == std::string_view::npos || signal == std::string_view::npos) return std::nullopt;
  if (Field(record.substr(0, comm), " pid=") != static_cast<uint32_t>(pid)) return std::nullopt;
  return Field(record.substr(signal), " syscall=");
}

UniqueFd OpenKernelLog() { return UniqueFd(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC)); }

std::optional<uint32_t> FindSeccompViolation(pid_t pid, const UniqueFd& log) {
  if (!log.valid()) return std::nullopt;
  std::optional<uint32_t> found;
  std::string record(8192, '\0');
  for (;;) {
    const ssize_t n = ::read(log.get(), record.data(), record.size());
    if (n < 0 && errno == EPIPE) continue;  // the record was overwritten; the next read goes on after it
    if (n <= 0) return found;
    if (const auto number = ParseSeccompRecord(std::string_view(record.data(), static_cast<size_t>(n)), pid)) found = number;
  }
}

}  // namespace rampart::runner
