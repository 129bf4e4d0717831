// Clocks as an application names them (clockid_t), and reading them: wall clocks through the vDSO's parameters, so that system calls and vDSO
// agree; CPU clocks through the counters of tasks.
// Thread safety: any thread. Source: Linux kernel/time/posix-timers.c, posix-cpu-timers.c.
#pragma once

#include <cstdint>

#include "abi/time.h"
#include "base/result.h"
#include "base/time.h"

namespace rampart::kernel {

class Kernel;
class Task;
class ThreadGroup;

// A clock, resolved.
struct AppClock {
  enum class Kind : uint8_t { kRealtime, kMonotonic, kMonotonicRaw, kBoottime, kProcess, kThread };
  enum class Cpu : uint8_t { kProf, kVirtual, kSched };  // user + system; user; the scheduler's (here the same as kProf)

  Kind kind = Kind::kMonotonic;
  Cpu cpu = Cpu::kSched;
  bool coarse = false;
  bool alarm = false;      // …_ALARM: would wake the machine
  abi::Pid id = 0;         // pid or tid of a CPU clock

  bool is_cpu() const { return kind == Kind::kProcess || kind == Kind::kThread; }
};

enum class ClockUse : uint8_t { kRead, kTimer };

// Decodes a clockid_t as `task` sees it, with the CPU clocks of other processes (clock_getcpuclockid(3)). EINVAL: unknown, or nobody has
// that id, or the thread belongs to another process.
Result<AppClock> DecodeClock(const Task& task, int32_t id, ClockUse use);

// Now, in ns of that clock. EINVAL: the process or thread is gone.
Result<Nanos> ReadClock(Kernel& kernel, const AppClock& clock);
// Wall clocks only.
Nanos ReadWallClock(Kernel& kernel, const AppClock& clock);
// The resolution as clock_getres(2) says.
Nanos ClockResolution(const AppClock& clock);

// CPU time of a process or task by the kind of clock.
Nanos CpuTime(const ThreadGroup& group, AppClock::Cpu cpu);
Nanos CpuTime(const Task& task, AppClock::Cpu cpu);

// When a wall clock will show `at`, as a deadline of the host's CLOCK_MONOTONIC. Right as long as the clock is not set; who waits on it reads the clock
// again when the deadline has passed.
Deadline DeadlineOf(Kernel& kernel, const AppClock& clock, Nanos at);

// timespec and timeval, checked: EINVAL when negative or not normalised. Saturates.
Result<Nanos> ToNanos(const abi::Timespec& t);
Result<Nanos> ToNanos(const abi::Timeval& t);
abi::Timespec ToTimespec(Nanos n);   // REQUIRES: n >= 0
abi::Timeval ToTimeval(Nanos n);     // rounds down. REQUIRES: n >= 0

}  // namespace rampart::kernel
