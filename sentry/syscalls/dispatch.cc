#include "sentry/syscalls/dispatch.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "base/log.h"
#include "base/time.h"
#include "sentry/kernel/task.h"
#include "sentry/strace/line.h"
#include "sentry/syscalls/async_io.h"
#include "sentry/syscalls/seccomp.h"
#include "sentry/syscalls/table.h"

namespace rampart::syscalls {
namespace {

constexpr uint32_t kStats = 1, kStrace = 2;

struct Counter {
  std::atomic<uint64_t> calls{0}, errors{0}, nanos{0};
};

struct State {
  std::atomic<uint32_t> features{0};
  std::array<std::atomic<bool>, abi::kMaxSysno + 1> traced{};
  std::array<Counter, abi::kMaxSysno + 1> counters;
  std::array<std::atomic<bool>, abi::kMaxSysno + 1> reported{};  // missing calls: said once
};
constinit State g_state;

// What did not get to a handler.
Result<Word> Unhandled(const kernel::Task& task, const SyscallEntry* entry, uint32_t number) {
  if (entry == nullptr) {
    Log(LogLevel::kDebug, "[%d] system call number %u does not exist", task.tid(), number);
    return Errno::kENOSYS;
  }
  if (entry->support == Support::kMissing && !g_state.reported[number].exchange(true, std::memory_order_relaxed)) {
    Log(LogLevel::kInfo, "[%d] %s is not implemented: %s", task.tid(), abi::SysnoName(number), entry->note);
  }
  return entry->error;
}

// Linux: syscall_user_dispatch. True: the call is not carried out, the program (a foreign one, perhaps) is told of it instead.
bool Diverted(kernel::Task& task, uint32_t number) {
  const kernel::Task::UserDispatch& dispatch = task.user_dispatch();
  if (task.regs().rip - dispatch.offset < dispatch.length) return false;
  if (dispatch.selector != 0) {
    constexpr uint8_t kAllow = 0, kBlock = 1;
    const Result<uint8_t> wish = task.CopyIn(UserIn<uint8_t>(dispatch.selector));
    if (wish.ok() && *wish == kAllow) return false;
    if (!wish.ok() || *wish != kBlock) {
      task.PrepareGroupExit(abi::KilledStatus(wish.ok() ? abi::kSigSys : abi::kSigSegv, false));
      return true;
    }
  }
  constexpr int32_t kSysUserDispatch = 2;
  abi::SigInfo info{.signo = abi::kSigSys, .code = kSysUserDispatch};
  info.SetSyscall(task.regs().rip, static_cast<int32_t>(number), abi::kAuditArchX86_64);
  task.ForceSignal(info);
  return true;
}

Result<Word> Invoke(kernel::Task& task, const SyscallEntry* entry, uint32_t number) {
  if (task.user_dispatch().on) [[unlikely]] {
    if (Diverted(task, number)) return task.regs().orig_rax;
  }
  if (task.seccomp_mode() != abi::kSeccompModeDisabled) [[unlikely]] {
    if (const std::optional<Word> refused = RefusedBySeccomp(task, number)) return *refused;
    if (const auto wanted = static_cast<uint32_t>(task.regs().orig_rax); wanted != number) {
      // A tracer has made another call of it.
      number = wanted;
      entry = Amd64Table().Find(number);
    }
  }
  if (entry == nullptr || entry->handler == nullptr) return Unhandled(task, entry, number);
  const Result<Word> result = entry->handler(task, task.regs());
  if (t_left_notes) [[unlikely]] SendLeftNotes(task);
  return result;
}

void Count(uint32_t number, const Result<Word>& result, Nanos spent) {
  if (number > abi::kMaxSysno) return;
  Counter& counter = g_state.counters[number];
  counter.calls.fetch_add(1, std::memory_order_relaxed);
  if (!result.ok()) counter.errors.fetch_add(1, std::memory_order_relaxed);
  counter.nanos.fetch_add(static_cast<uint64_t>(spent), std::memory_order_relaxed);
}

Result<Word> DispatchObserved(kernel::Task& task, const SyscallEntry* entry, uint32_t number, uint32_t features) {
  const bool traced = (features & kStrace) != 0 && (number > abi::kMaxSysno || g_state.traced[number].load(std::memory_order_relaxed));
  // The mm may be replaced by the call (execve): arguments that are read after it are then those of the new program, as for any tracer.
  strace::Line line(task.tid(), number, task.regs());
  if (traced) line.PrintEntry(task.mm(), entry != nullptr ? entry->print : nullptr);
  const Nanos begin = MonotonicNow();
  const Result<Word> result = Invoke(task, entry, number);
  const Nanos spent = MonotonicNow() - begin;
  if ((features & kStats) != 0) Count(number, result, spent);
  if (traced) {
    line.PrintExit(task.mm(), result, spent);
    LogAlways("%s", line.text().c_str());
  }
  return result;
}

}  // namespace

void ConfigureDispatch(const DispatchOptions& options) {
  g_state.features.store(options.stats ? kStats : 0u, std::memory_order_relaxed);
  if (options.strace) SetTraced(options.traced);
}

void SetTraced(const strace::TraceSet& traced) {
  for (size_t i = 0; i < g_state.traced.size(); ++i) g_state.traced[i].store(traced.test(i), std::memory_order_relaxed);
  if (traced.any()) {
    g_state.features.fetch_or(kStrace, std::memory_order_release);
  } else {
    g_state.features.fetch_and(~kStrace, std::memory_order_release);
  }
}

Result<Word> Dispatch(kernel::Task& task, uint32_t number) {
  const SyscallEntry* entry = Amd64Table().Find(number);
  const uint32_t features = g_state.features.load(std::memory_order_relaxed);
  if (features == 0) [[likely]] {
    return Invoke(task, entry, number);
  }
  return DispatchObserved(task, entry, number, features);
}

void ReadSyscallStats(std::span<SyscallStat> out) {
  const size_t n = std::min(out.size(), g_state.counters.size());
  for (size_t i = 0; i < n; ++i) {
    const Counter& c = g_state.counters[i];
    out[i] = {c.calls.load(std::memory_order_relaxed), c.errors.load(std::memory_order_relaxed), c.nanos.load(std::memory_order_relaxed)};
  }
}

}  // namespace rampart::syscalls
