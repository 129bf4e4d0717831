// Priority-inheriting futexes (Linux kernel/futex/pi.c, requeue.c), without the priorities.
#include "sentry/kernel/futex_internal.h"

namespace rampart::kernel {
namespace {
constexpr uint32_t Tid(abi::Pid tid) { return static_cast<uint32_t>(tid) & kFutexTidMask; }
// How often a word that keeps changing under us is tried again before the caller is told so.
constexpr int kMaxAttempts = 1000;
}  // namespace

// One attempt to take the lock for `tid`. kMustWait: the waiters bit is set and *owner is who holds it.
Result<FutexManager::PiStep> FutexManager::TryLockPiLocked(Bucket& bucket, FutexCaller& caller, const FutexWord& word, abi::Pid tid,
                                                           bool set_waiters, abi::Pid* owner) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    const Result<uint32_t> loaded = caller.memory.Atomic32NoFault(word.address, mm::Atomic32Op::kLoad, 0);
    if (!loaded.ok()) {
      if (loaded.error() == Errno::kEAGAIN) return PiStep::kFaultIn;
      return loaded.error();
    }
    const uint32_t value = *loaded;
    const uint32_t holder = value & kFutexTidMask;
    if (holder == Tid(tid)) return Errno::kEDEADLK;
    if (const Waiter* top = bucket.First(word.key); top != nullptr) {
      if (top->kind != Waiter::Kind::kPi) return Errno::kEINVAL;
      if (holder != 0 && holder != Tid(top->pi_owner)) return Errno::kEINVAL;
      if (holder == 0 && (value & kFutexOwnerDied) == 0) return Errno::kEINVAL;
      *owner = top->pi_owner;
    } else if (holder != 0) {
      *owner = static_cast<abi::Pid>(holder);
    } else {
      *owner = 0;
    }
    const uint32_t wanted =
        *owner == 0 ? (value & kFutexOwnerDied) | Tid(tid) | (set_waiters ? kFutexWaiters : 0u) : value | kFutexWaiters;
    const Result<uint32_t> seen = caller.memory.Atomic32NoFault(word.address, mm::Atomic32Op::kCompareExchange, wanted, value);
    if (!seen.ok()) {
      if (seen.error() == Errno::kEAGAIN) return PiStep::kFaultIn;
      return seen.error();
    }
    if (*seen != value) continue;
    if (*owner == 0) return PiStep::kAcquired;
    // A dead owner's locks were handed over in OwnerExited before; whoever comes later finds nobody who could ever unlock.
    if (bucket.First(word.key) == nullptr && !caller.owner_alive(*owner)) return Errno::kESRCH;
    return PiStep::kMustWait;
  }
  return Errno::kEAGAIN;
}

// After having been unlinked by somebody: the new owner, perhaps with the word still to be written.
Result<void> FutexManager::FinishPi(FutexCaller& caller, Waiter& waiter, const FutexWord& word) {
  if (!waiter.granted) return Errno::kEAGAIN;
  if (waiter.fixup.has_value()) TRY(caller.memory.Atomic32(word.address, mm::Atomic32Op::kExchange, *waiter.fixup));
  return Ok();
}

Result<void> FutexManager::LockPi(FutexCaller& caller, const FutexWord& word, Deadline deadline, PiMode mode) {
  Bucket& bucket = BucketOf(word.key);
  Waiter waiter(caller, word.key, kFutexBitsetAny, Waiter::Kind::kPi);
  waiter.pi_address = word.address;
  for (int attempt = 0;; ++attempt) {
    {
      absl::MutexLock lock(&bucket.mu);
      abi::Pid owner = 0;
      const PiStep step = TRY(TryLockPiLocked(bucket, caller, word, caller.tid, false, &owner));
      if (step == PiStep::kAcquired) return Ok();
      if (step == PiStep::kMustWait) {
        if (mode == PiMode::kTry) return Errno::kEAGAIN;
        waiter.pi_owner = owner;
        bucket.count.fetch_add(1, std::memory_order_relaxed);
        pi_waiters_.fetch_add(1, std::memory_order_seq_cst);
        bucket.Link(waiter);
        break;
      }
    }
    if (attempt > kMaxAttempts) return Errno::kEFAULT;
    // Faults the page in for writing and changes nothing.
    TRY(caller.memory.Atomic32(word.address, mm::Atomic32Op::kOr, 0));
  }
  const Result<void> slept = SleepQueued(caller, waiter, deadline);
  const bool left = !slept.ok() && Unqueue(waiter);
  pi_waiters_.fetch_sub(1, std::memory_order_relaxed);
  if (!left) return FinishPi(caller, waiter, word);
  return slept.error() == Errno::kETIMEDOUT ? Errno::kETIMEDOUT : Errno::kERESTARTNOINTR;
}

// Makes `next` the owner: unlinks it, tells the other waiters, writes the word.
void FutexManager::HandOver(Bucket& bucket, Waiter& next, uint32_t flags, WakeBatch& batch) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  bool more = false;
  for (Waiter* w = bucket.head; w != nullptr; w = w->next) {
    if (w == &next || w->kind != Waiter::Kind::kPi || !(w->key == next.key)) continue;
    w->pi_owner = next.tid;
    more = true;
  }
  next.granted = true;
  const uint32_t value = Tid(next.tid) | flags | (more ? kFutexWaiters : 0u);
  if (!next.memory.Atomic32NoFault(next.pi_address, mm::Atomic32Op::kExchange, value).ok()) next.fixup = value;
  batch.Take(bucket, next);
}

// False: fault the word in and try again.
Result<bool> FutexManager::UnlockPiLocked(Bucket& bucket, FutexCaller& caller, const FutexWord& word,
                                          WakeBatch& batch) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    const Result<uint32_t> value = caller.memory.Atomic32NoFault(word.address, mm::Atomic32Op::kLoad, 0);
    if (!value.ok()) {
      if (value.error() == Errno::kEAGAIN) return false;
      return value.error();
    }
    if ((*value & kFutexTidMask) != Tid(caller.tid)) return Errno::kEPERM;
    Waiter* top = bucket.First(word.key);
    if (top != nullptr) {
      if (top->kind != Waiter::Kind::kPi || top->pi_owner != caller.tid) return Errno::kEINVAL;
      HandOver(bucket, *top, 0, batch);
      return true;
    }
    const Result<uint32_t> seen = caller.memory.Atomic32NoFault(word.address, mm::Atomic32Op::kCompareExchange, 0, *value);
    if (!seen.ok()) {
      if (seen.error() == Errno::kEAGAIN) return false;
      return seen.error();
    }
    if (*seen == *value) return true;
  }
  return Errno::kEAGAIN;
}

Result<void> FutexManager::UnlockPi(FutexCaller& caller, const FutexWord& word) {
  Bucket& bucket = BucketOf(word.key);
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    {
      WakeBatch batch;
      absl::MutexLock lock(&bucket.mu);
      const bool done = TRY(UnlockPiLocked(bucket, caller, word, batch));
      if (done) return Ok();
    }
    TRY(caller.memory.Atomic32(word.address, mm::Atomic32Op::kOr, 0));
  }
  return Errno::kEFAULT;
}

Result<void> FutexManager::WaitRequeuePi(FutexCaller& caller, const FutexWord& word, uint32_t expected, uint32_t bitset, Deadline deadline,
                                         const FutexWord& target) {
  if (bitset == 0 || word.address == target.address || word.key == target.key) return Errno::kEINVAL;
  Waiter waiter(caller, word.key, bitset, Waiter::Kind::kRequeuePi);
  waiter.pi_address = target.address;
  waiter.pi_target = &target.key;
  pi_waiters_.fetch_add(1, std::memory_order_seq_cst);
  Result<void> outcome = Enqueue(waiter, caller.memory, word.address, expected);
  if (!outcome.ok()) {
    pi_waiters_.fetch_sub(1, std::memory_order_relaxed);
    return outcome;
  }
  outcome = SleepQueued(caller, waiter, deadline);
  const bool left = !outcome.ok() && Unqueue(waiter);
  pi_waiters_.fetch_sub(1, std::memory_order_relaxed);
  if (!left) return FinishPi(caller, waiter, target);
  if (outcome.error() == Errno::kETIMEDOUT) return outcome;
  // Before the requeue the call can begin anew; after it the word has changed and the caller must look.
  return waiter.kind == Waiter::Kind::kRequeuePi ? Errno::kERESTARTNOINTR : Errno::kEAGAIN;
}

// Nothing: fault the words in and try again.
Result<std::optional<uint32_t>> FutexManager::CmpRequeuePiLocked(Bucket& a, Bucket& b, FutexCaller& caller, const FutexWord& from,
                                                                 const FutexWord& to, int32_t requeue,
                                                                 WakeBatch& batch) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  using Count = std::optional<uint32_t>;
  Waiter* top = a.First(from.key);
  if (top == nullptr) return Count(0u);
  if (top->kind != Waiter::Kind::kRequeuePi || !(*top->pi_target == to.key)) return Errno::kEINVAL;
  abi::Pid owner = 0;
  const PiStep step = TRY(TryLockPiLocked(b, caller, to, top->tid, requeue > 0, &owner));
  if (step == PiStep::kFaultIn) return Count();
  uint32_t done = 0;
  if (step == PiStep::kAcquired) {
    owner = top->tid;
    top->granted = true;
    batch.Take(a, *top);
    done = 1;
  }
  const int64_t limit = 1 + static_cast<int64_t>(requeue);
  for (Waiter* w = a.head; w != nullptr && static_cast<int64_t>(done) < limit;) {
    Waiter* next = w->next;
    if (w->key == from.key) {
      if (w->kind != Waiter::Kind::kRequeuePi || !(*w->pi_target == to.key)) return Errno::kEINVAL;
      batch.DropLater(std::exchange(w->key, to.key));
      w->kind = Waiter::Kind::kPi;
      w->pi_owner = owner;
      if (&a != &b) {
        a.Unlink(*w);
        b.count.fetch_add(1, std::memory_order_seq_cst);
        b.Link(*w);
      }
      ++done;
    }
    w = next;
  }
  return Count(done);
}

Result<uint32_t> FutexManager::CmpRequeuePi(FutexCaller& caller, const FutexWord& from, const FutexWord& to, int32_t wake, int32_t requeue,
                                            uint32_t expected) {
  if (wake != 1 || requeue < 0 || from.address == to.address || from.key == to.key) return Errno::kEINVAL;
  Bucket& a = BucketOf(from.key);
  Bucket& b = BucketOf(to.key);
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    {
      WakeBatch batch;
      TwoLocks locks(a, b);
      const Result<uint32_t> value = caller.memory.Atomic32NoFault(from.address, mm::Atomic32Op::kLoad, 0);
      if (value.ok()) {
        if (*value != expected) return Errno::kEAGAIN;
        const std::optional<uint32_t> count = TRY(CmpRequeuePiLocked(a, b, caller, from, to, requeue, batch));
        if (count.has_value()) return *count;
      } else if (value.error() != Errno::kEAGAIN) {
        return value.error();
      }
    }
    TRY(caller.memory.Atomic32(from.address, mm::Atomic32Op::kLoad, 0));
    TRY(caller.memory.Atomic32(to.address, mm::Atomic32Op::kOr, 0));
  }
  return Errno::kEAGAIN;
}

void FutexManager::OwnerExited(abi::Pid tid, const void* numbering) {
  // Threads that look at owner_alive after our caller's change of it do not begin to wait; those before are counted.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (pi_waiters_.load(std::memory_order_relaxed) == 0) return;
  for (size_t i = 0; i < kBuckets; ++i) {
    Bucket& bucket = buckets_[i];
    if (bucket.count.load(std::memory_order_seq_cst) == 0) continue;
    WakeBatch batch;
    absl::MutexLock lock(&bucket.mu);
    for (Waiter* w = bucket.head; w != nullptr;) {
      if (w->kind == Waiter::Kind::kPi && w->pi_owner == tid && w->numbering == numbering) {
        HandOver(bucket, *w, kFutexOwnerDied, batch);
        w = bucket.head;  // the hand-over changed others
      } else {
        w = w->next;
      }
    }
  }
}

}  // namespace rampart::kernel
