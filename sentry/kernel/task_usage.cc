#include "sentry/kernel/task_usage.h"

#include <algorithm>

namespace rampart::kernel {
namespace {

struct TickReference {
  uint64_t tsc = ReadTsc();
  Nanos monotonic = MonotonicNow();
};
const TickReference& Reference() {
  static const TickReference reference;
  return reference;
}

}  // namespace

void StartTickClock() { Reference(); }

Nanos TicksToNanos(uint64_t ticks) {
  const TickReference& start = Reference();
  const uint64_t tsc = ReadTsc() - start.tsc;
  const Nanos nanos = MonotonicNow() - start.monotonic;
  if (tsc == 0 || nanos <= 0) return 0;
  return static_cast<Nanos>(static_cast<long double>(ticks) * static_cast<long double>(nanos) / static_cast<long double>(tsc));
}

ResourceTotals& ResourceTotals::operator+=(const ResourceTotals& o) {
  user_time += o.user_time;
  system_time += o.system_time;
  minor_faults += o.minor_faults;
  major_faults += o.major_faults;
  voluntary_switches += o.voluntary_switches;
  involuntary_switches += o.involuntary_switches;
  blocks_in += o.blocks_in;
  blocks_out += o.blocks_out;
  bytes_read += o.bytes_read;
  bytes_written += o.bytes_written;
  read_calls += o.read_calls;
  write_calls += o.write_calls;
  peak_resident_bytes = std::max(peak_resident_bytes, o.peak_resident_bytes);
  return *this;
}

abi::Rusage ToRusage(const ResourceTotals& totals) {
  abi::Rusage r;
  r.utime_sec = totals.user_time / kNanosPerSecond;
  r.utime_usec = totals.user_time % kNanosPerSecond / 1000;
  r.stime_sec = totals.system_time / kNanosPerSecond;
  r.stime_usec = totals.system_time % kNanosPerSecond / 1000;
  r.maxrss = static_cast<int64_t>(totals.peak_resident_bytes / 1024);
  r.minflt = static_cast<int64_t>(totals.minor_faults);
  r.majflt = static_cast<int64_t>(totals.major_faults);
  r.inblock = static_cast<int64_t>(totals.blocks_in);
  r.oublock = static_cast<int64_t>(totals.blocks_out);
  r.nvcsw = static_cast<int64_t>(totals.voluntary_switches);
  r.nivcsw = static_cast<int64_t>(totals.involuntary_switches);
  return r;
}

}  // namespace rampart::kernel
