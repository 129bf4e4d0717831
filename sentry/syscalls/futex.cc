#include "sentry/syscalls/futex.h"

#include <array>
#include <vector>

#include "sentry/kernel/cpu_clock.h"
#include "sentry/kernel/futex.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::syscalls {
namespace {

using kernel::FutexManager;
using kernel::FutexWord;
using kernel::kFutexBitsetAny;

constexpr int32_t kPrivateFlag = 128, kClockRealtimeFlag = 256;
enum Op : int32_t {
  kWait = 0, kWake = 1, kFd = 2, kRequeue = 3, kCmpRequeue = 4, kWakeOp = 5, kLockPi = 6, kUnlockPi = 7, kTrylockPi = 8, kWaitBitset = 9,
  kWakeBitset = 10, kWaitRequeuePi = 11, kCmpRequeuePi = 12, kLockPi2 = 13,
};

// FUTEX2 flags.
constexpr uint32_t kSizeMask = 3, kSizeU32 = 2, kFlagNuma = 4, kFlagPrivate = 128;
constexpr uint32_t kMaxWaitv = 128;

// A task as FutexManager sees it, for the time of one call.
class CallerOf {
 public:
  explicit CallerOf(kernel::Task& task)
      : task_(task),
        sleep_([this](Deadline deadline) { return task_.Sleep(deadline); }),
        alive_([this](abi::Pid tid) {
          const RefPtr<kernel::Task> owner = task_.FindTask(tid);
          return owner != nullptr && owner->alive();
        }),
        caller_{task.mm(), task.sleeper(), task, task.own_tid(), sleep_, alive_, &task.pid_namespace()} {}
  kernel::FutexCaller& operator*() { return caller_; }

 private:
  kernel::Task& task_;
  std::function<Result<void>(Deadline)> sleep_;
  std::function<bool(abi::Pid)> alive_;
  kernel::FutexCaller caller_;
};

Result<FutexWord> Resolve(kernel::Task& task, UserAddr address, bool process_private) {
  if ((address & 3) != 0) return Errno::kEINVAL;
  mm::FutexKey key = TRY(task.mm().GetFutexKey(address, process_private));
  return FutexWord{address, std::move(key)};
}

// A null pointer is never. Relative times count on CLOCK_MONOTONIC.
Result<Deadline> ReadDeadline(kernel::Task& task, UserIn<abi::Timespec> from, bool absolute, bool realtime) {
  if (!from) return Deadline::Never();
  const abi::Timespec t = TRY(task.CopyIn(from));
  const Nanos n = TRY(kernel::ToNanos(t));
  if (!absolute) return n == kNanosMax ? Deadline::Never() : Deadline::After(n);
  kernel::AppClock clock;
  clock.kind = realtime ? kernel::AppClock::Kind::kRealtime : kernel::AppClock::Kind::kMonotonic;
  return kernel::DeadlineOf(task.kernel(), clock, n);
}

Result<Word> Done(Result<void> result) {
  if (!result.ok()) return result.error();
  return Word{0};
}

struct WaitArgs {
  FutexWord word;
  uint32_t expected;
  uint32_t bitset;
  Deadline deadline;
};

// With a time limit the call continues through restart_syscall with the same instant, without one it starts anew.
Result<Word> WaitWithRestart(kernel::Task& task, const WaitArgs& args) {
  CallerOf caller(task);
  const Result<void> result = task.kernel().futexes().Wait(*caller, args.word, args.expected, args.bitset, args.deadline);
  if (result.ok()) return Word{0};
  if (result.error() != Errno::kERESTARTSYS || args.deadline.never()) return result.error();
  task.SetRestart([args](kernel::Task& again) { return WaitWithRestart(again, args); });
  return Errno::kERESTART_RESTARTBLOCK;
}

Result<Word> PiOperation(kernel::Task& task, Op op, const FutexWord& word, Deadline deadline) {
  CallerOf caller(task);
  FutexManager& futexes = task.kernel().futexes();
  if (op == kUnlockPi) return Done(futexes.UnlockPi(*caller, word));
  if (op == kTrylockPi) return Done(futexes.LockPi(*caller, word, Deadline::Never(), FutexManager::PiMode::kTry));
  return Done(futexes.LockPi(*caller, word, deadline, FutexManager::PiMode::kWait));
}

struct TwoWordArgs {
  FutexWord first, second;
  int32_t count, count2;
  uint32_t value3;
};

Result<Word> TwoWordOperation(kernel::Task& task, Op op, const TwoWordArgs& a) {
  FutexManager& futexes = task.kernel().futexes();
  Result<uint32_t> done = Errno::kENOSYS;
  if (op == kRequeue) done = futexes.Requeue(task.mm(), a.first, a.second, a.count, a.count2, std::nullopt);
  if (op == kCmpRequeue) done = futexes.Requeue(task.mm(), a.first, a.second, a.count, a.count2, a.value3);
  if (op == kWakeOp) done = futexes.WakeOp(task.mm(), a.first, a.second, a.count, a.count2, a.value3);
  if (op == kCmpRequeuePi) {
    CallerOf caller(task);
    done = futexes.CmpRequeuePi(*caller, a.first, a.second, a.count, a.count2, a.value3);
  }
  if (!done.ok()) return done.error();
  return Word{*done};
}

Result<uint32_t> CheckFlags(uint32_t flags) {
  if ((flags & ~(kSizeMask | kFlagNuma | kFlagPrivate)) != 0) return Errno::kEINVAL;
  if ((flags & kFlagNuma) != 0 || (flags & kSizeMask) != kSizeU32) return Errno::kEINVAL;
  return flags;
}

Result<Deadline> ReadClockDeadline(kernel::Task& task, UserIn<abi::Timespec> timeout, int32_t clock) {
  if (!timeout) return Deadline::Never();
  if (clock != abi::kClockMonotonic && clock != abi::kClockRealtime) return Errno::kEINVAL;
  return ReadDeadline(task, timeout, true, clock == abi::kClockRealtime);
}

}  // namespace

Result<Word> SysFutex(kernel::Task& task, uint64_t address, int32_t operation, uint32_t value, uint64_t timeout, uint64_t address2,
                      uint32_t value3) {
  const bool is_private = (operation & kPrivateFlag) != 0;
  const bool realtime = (operation & kClockRealtimeFlag) != 0;
  const auto op = static_cast<Op>(operation & ~(kPrivateFlag | kClockRealtimeFlag));
  if (realtime && op != kWaitBitset && op != kWaitRequeuePi && op != kLockPi2 && op != kWait) return Errno::kENOSYS;
  if (op < kWait || op > kLockPi2 || op == kFd) return Errno::kENOSYS;
  // FUTEX_LOCK_PI's time is always of CLOCK_REALTIME, LOCK_PI2's by the flag. The time limit and the set of bits are judged before the word is looked at.
  const UserIn<abi::Timespec> limit(timeout);
  const bool limited = op == kWait || op == kWaitBitset || op == kWaitRequeuePi || op == kLockPi || op == kLockPi2;
  const Deadline deadline = TRY(limited ? ReadDeadline(task, limit, op != kWait, op == kLockPi || realtime) : Deadline::Never());
  if ((op == kWaitBitset || op == kWakeBitset) && value3 == 0) return Errno::kEINVAL;
  if (op == kUnlockPi) {
    constexpr uint32_t kThread = 0x3fffffff;  // FUTEX_TID_MASK
    if ((TRY(task.CopyIn(UserIn<uint32_t>(address))) & kThread) != static_cast<uint32_t>(task.own_tid())) return Errno::kEPERM;
  }
  const bool requeues = op == kRequeue || op == kCmpRequeue || op == kCmpRequeuePi;
  if (requeues && (static_cast<int32_t>(value) < 0 || static_cast<int32_t>(timeout) < 0)) return Errno::kEINVAL;
  const FutexWord word = TRY(Resolve(task, address, is_private));
  switch (op) {
    case kWait:
    case kWaitBitset: {
      return WaitWithRestart(task, {word, value, op == kWait ? kFutexBitsetAny : value3, deadline});
    }
    case kWake:
    case kWakeBitset: {
      const uint32_t n =
          TRY(task.kernel().futexes().Wake(word.key, static_cast<int32_t>(value), op == kWake ? kFutexBitsetAny : value3));
      return Word{n};
    }
    case kLockPi:
    case kLockPi2:
    case kTrylockPi:
    case kUnlockPi: return PiOperation(task, op, word, deadline);
    case kWaitRequeuePi: {
      const FutexWord target = TRY(Resolve(task, address2, is_private));
      CallerOf caller(task);
      return Done(task.kernel().futexes().WaitRequeuePi(*caller, word, value, kFutexBitsetAny, deadline, target));
    }
    default: {
      const FutexWord second = TRY(Resolve(task, address2, is_private));
      // What is shared is looked up as what will be written, before the operation is read.
      if (op == kWakeOp && !is_private) TRY(task.mm().Atomic32(address2, mm::Atomic32Op::kOr, 0, 0));
      return TwoWordOperation(task, op, {word, second, static_cast<int32_t>(value), static_cast<int32_t>(timeout), value3});
    }
  }
}

Result<Word> SysFutexWaitv(kernel::Task& task, UserIn<FutexWaitv> waiters, uint32_t count, uint32_t flags, UserIn<abi::Timespec> timeout,
                           int32_t clock) {
  if (flags != 0 || count == 0 || count > kMaxWaitv || !waiters) return Errno::kEINVAL;
  const Deadline deadline = TRY(ReadClockDeadline(task, timeout, clock));
  const std::vector<FutexWaitv> given = TRY(task.mm().CopyInArray(waiters, count, kMaxWaitv));
  std::vector<FutexManager::WaitItem> items;
  for (const FutexWaitv& w : given) {
    TRY(CheckFlags(w.flags));
    if (w.reserved != 0 || w.value > UINT32_MAX) return Errno::kEINVAL;
    FutexWord word = TRY(Resolve(task, w.address, (w.flags & kFlagPrivate) != 0));
    items.push_back({std::move(word), static_cast<uint32_t>(w.value)});
  }
  CallerOf caller(task);
  const size_t index = TRY(task.kernel().futexes().WaitMultiple(*caller, items, deadline));
  return Word{index};
}

Result<Word> SysFutexWake(kernel::Task& task, uint64_t address, uint64_t mask, int32_t count, uint32_t flags) {
  TRY(CheckFlags(flags));
  if (mask == 0 || mask > UINT32_MAX) return Errno::kEINVAL;
  const FutexWord word = TRY(Resolve(task, address, (flags & kFlagPrivate) != 0));
  if (count <= 0) return Word{0};
  const uint32_t n = TRY(task.kernel().futexes().Wake(word.key, count, static_cast<uint32_t>(mask)));
  return Word{n};
}

Result<Word> SysFutexWait(kernel::Task& task, uint64_t address, uint64_t value, uint64_t mask, uint32_t flags, UserIn<abi::Timespec> timeout,
                          int32_t clock) {
  TRY(CheckFlags(flags));
  if (mask == 0 || mask > UINT32_MAX || value > UINT32_MAX) return Errno::kEINVAL;
  const Deadline deadline = TRY(ReadClockDeadline(task, timeout, clock));
  const FutexWord word = TRY(Resolve(task, address, (flags & kFlagPrivate) != 0));
  return WaitWithRestart(task, {word, static_cast<uint32_t>(value), static_cast<uint32_t>(mask), deadline});
}

Result<Word> SysFutexRequeue(kernel::Task& task, UserIn<FutexWaitv> waiters, uint32_t flags, int32_t wake, int32_t requeue) {
  if (flags != 0 || !waiters) return Errno::kEINVAL;
  const std::vector<FutexWaitv> w = TRY(task.mm().CopyInArray(waiters, 2, 2));
  std::array<FutexWord, 2> words;
  for (size_t i = 0; i < 2; ++i) {
    TRY(CheckFlags(w[i].flags));
    if (w[i].reserved != 0) return Errno::kEINVAL;
    words[i] = TRY(Resolve(task, w[i].address, (w[i].flags & kFlagPrivate) != 0));
  }
  if (w[0].value > UINT32_MAX) return Errno::kEINVAL;
  return TwoWordOperation(task, kCmpRequeue, {words[0], words[1], wake, requeue, static_cast<uint32_t>(w[0].value)});
}

Result<Word> SysSetRobustList(kernel::Task& task, uint64_t head, uint64_t size) {
  if (size != kernel::kRobustListHeadSize) return Errno::kEINVAL;
  task.SetRobustList(head);
  return Word{0};
}

Result<Word> SysGetRobustList(kernel::Task& task, abi::Pid tid, UserOut<uint64_t> head, UserOut<uint64_t> size) {
  RefPtr<kernel::Task> target = tid == 0 ? RefPtr<kernel::Task>(ShareRef(&task)) : task.FindTask(tid);
  if (target == nullptr) return Errno::kESRCH;
  if (!kernel::MayAccess(task, *target, kernel::AccessMode::kRealCreds)) return Errno::kEPERM;
  TRY(task.CopyOut(size, kernel::kRobustListHeadSize));
  TRY(task.CopyOut(head, target->robust_list()));
  return Word{0};
}

}  // namespace rampart::syscalls
