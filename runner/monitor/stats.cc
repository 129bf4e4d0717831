#include "runner/monitor/stats.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace rampart::runner {
namespace {

using sentry::boot::StatsReport;

std::string Milliseconds(uint64_t nanos) { return absl::StrFormat("%.3f ms", static_cast<double>(nanos) / 1e6); }

void Line(std::string& out, const char* name, const std::string& value) { absl::StrAppendFormat(&out, "  %-26s %14s\n", name, value); }

// What the sentry says may be anything: printable characters only, up to a NUL or the end of the field.
template <size_t kSize>
std::string Printable(const char (&field)[kSize]) {
  std::string text(field, strnlen(field, kSize));
  for (char& c : text) {
    if (c < ' ' || c == 0x7f) c = '?';
  }
  return text;
}

}  // namespace

std::string FormatStats(const StatsReport& report) {
  std::string out = "sentry-run: statistics\n";
  uint64_t calls = 0;
  std::vector<uint32_t> numbers;
  for (uint32_t number = 0; number <= abi::kMaxSysno; ++number) {
    calls += report.syscalls[number].calls;
    if (report.syscalls[number].calls != 0) numbers.push_back(number);
  }
  std::stable_sort(numbers.begin(), numbers.end(),
                   [&](uint32_t a, uint32_t b) { return report.syscalls[a].nanos > report.syscalls[b].nanos; });
  const std::string reason = Printable(report.platform_reason);
  Line(out, "platform", Printable(report.platform));
  if (!reason.empty()) absl::StrAppendFormat(&out, "    because: %s\n", reason);
  Line(out, "wall time", Milliseconds(report.wall_nanos));
  Line(out, "start-up of the kernel", Milliseconds(report.boot_nanos));
  Line(out, "application time", Milliseconds(report.user_nanos));
  Line(out, "kernel time", Milliseconds(report.system_nanos));
  Line(out, "system calls", absl::StrCat(calls));
  Line(out, "page faults", absl::StrCat(report.faults));
  Line(out, "  copied on write", absl::StrCat(report.faults_copied));
  Line(out, "tasks created", absl::StrCat(report.tasks_created));
  Line(out, "switches", absl::StrCat(report.switches));
  Line(out, "  answered without one", absl::StrCat(report.answered_calls));
  Line(out, "  faults without one", absl::StrCat(report.inner_faults));
  Line(out, "host calls", absl::StrCat(report.host_calls));
  Line(out, "  injected", absl::StrCat(report.injected_calls));
  Line(out, "helper processes", absl::StrCat(report.helper_processes));
  Line(out, "requests to the gofer", absl::StrCat(report.gofer_requests));
  Line(out, "peak memory", absl::StrCat(report.memory_peak_bytes >> 10, " KiB"));
  if (numbers.empty()) return out;
  absl::StrAppendFormat(&out, "  %-26s %14s %10s %14s %12s\n", "system call", "calls", "errors", "time", "each");
  for (const uint32_t number : numbers) {
    const auto& count = report.syscalls[number];
    absl::StrAppendFormat(&out, "  %-26s %14u %10u %14s %12s\n", abi::SysnoName(number), count.calls, count.errors,
                          Milliseconds(count.nanos), absl::StrFormat("%.2f µs", static_cast<double>(count.nanos) / 1e3 / static_cast<double>(count.calls)));
  }
  return out;
}

}  // namespace rampart::runner
