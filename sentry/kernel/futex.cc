#include "sentry/kernel/futex.h"

#include <vector>

#include "sentry/kernel/futex_internal.h"

namespace rampart::kernel {

FutexManager::FutexManager() : buckets_(std::make_unique<Bucket[]>(kBuckets)) {}

FutexManager::~FutexManager() {
  for (size_t i = 0; i < kBuckets; ++i) CHECK(buckets_[i].count.load(std::memory_order_relaxed) == 0);
}

FutexManager::Bucket& FutexManager::BucketOf(const mm::FutexKey& key) const {
  // SAFETY: the pointer is only hashed.
  uint64_t h = reinterpret_cast<uintptr_t>(key.object) ^ (key.offset * 0x9e3779b97f4a7c15u);
  h ^= h >> 32;
  h *= 0xd6e8feb86659fd93u;
  return buckets_[(h >> 56) % kBuckets];
}

Result<void> FutexManager::Enqueue(Waiter& waiter, mm::UserMemory& memory, UserAddr address, uint32_t expected) {
  Bucket& bucket = BucketOf(waiter.key);
  // An application that takes the page away in a loop only makes itself see a changed value.
  for (int attempt = 0; attempt < 64; ++attempt) {
    // Before the word is looked at: a waker changes the word first and then reads the count.
    bucket.count.fetch_add(1, std::memory_order_seq_cst);
    Result<uint32_t> value = Errno::kEAGAIN;
    {
      absl::MutexLock lock(&bucket.mu);
      value = memory.Atomic32NoFault(address, mm::Atomic32Op::kLoad, 0);
      if (value.ok() && *value == expected) {
        bucket.Link(waiter);
        return Ok();
      }
    }
    bucket.count.fetch_sub(1, std::memory_order_relaxed);
    if (value.ok()) return Errno::kEAGAIN;
    if (value.error() != Errno::kEAGAIN) return value.error();
    TRY(memory.Atomic32(address, mm::Atomic32Op::kLoad, 0));
  }
  return Errno::kEAGAIN;
}

bool FutexManager::Unqueue(Waiter& waiter) {
  while (true) {
    Bucket* bucket = waiter.bucket.load(std::memory_order_acquire);
    if (bucket == nullptr) return false;
    absl::MutexLock lock(&bucket->mu);
    if (waiter.bucket.load(std::memory_order_relaxed) != bucket) continue;  // requeued or woken meanwhile
    bucket->Unlink(waiter);
    waiter.bucket.store(nullptr, std::memory_order_relaxed);
    return true;
  }
}

// Ok when a waker has unlinked the waiter. On an error it is still queued.
Result<void> FutexManager::SleepQueued(FutexCaller& caller, Waiter& waiter, Deadline deadline) {
  while (waiter.bucket.load(std::memory_order_acquire) != nullptr) {
    const Result<void> slept = caller.sleep(deadline);
    if (!slept.ok() && waiter.bucket.load(std::memory_order_acquire) != nullptr) return slept;
  }
  return Ok();
}

Result<void> FutexManager::Wait(FutexCaller& caller, const FutexWord& word, uint32_t expected, uint32_t bitset, Deadline deadline) {
  if (bitset == 0) return Errno::kEINVAL;
  Waiter waiter(caller, word.key, bitset, Waiter::Kind::kOrdinary);
  TRY(Enqueue(waiter, caller.memory, word.address, expected));
  const Result<void> slept = SleepQueued(caller, waiter, deadline);
  if (slept.ok() || !Unqueue(waiter)) return Ok();
  return slept;
}

Result<size_t> FutexManager::WaitMultiple(FutexCaller& caller, std::span<const WaitItem> items, Deadline deadline) {
  std::vector<std::unique_ptr<Waiter>> waiters;
  waiters.reserve(items.size());
  Result<void> outcome;
  for (const WaitItem& item : items) {
    auto waiter = std::make_unique<Waiter>(caller, item.word.key, kFutexBitsetAny, Waiter::Kind::kOrdinary);
    outcome = Enqueue(*waiter, caller.memory, item.word.address, item.expected);
    if (!outcome.ok()) break;
    waiters.push_back(std::move(waiter));
  }
  const auto any_woken = [&] {
    for (const auto& w : waiters) {
      if (w->bucket.load(std::memory_order_acquire) == nullptr) return true;
    }
    return false;
  };
  while (outcome.ok() && !any_woken()) outcome = caller.sleep(deadline);
  // A wake-up that came meanwhile counts, whatever else went wrong: the waker has been told so.
  std::optional<size_t> woken;
  for (size_t i = 0; i < waiters.size(); ++i) {
    if (!Unqueue(*waiters[i])) woken = i;
  }
  if (woken.has_value()) return *woken;
  return outcome.error();
}

Result<uint32_t> FutexManager::Wake(const mm::FutexKey& key, int32_t count, uint32_t bitset) {
  if (bitset == 0) return Errno::kEINVAL;
  Bucket& bucket = BucketOf(key);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // the caller's change of the word, before the count
  if (bucket.count.load(std::memory_order_relaxed) == 0) return 0u;
  WakeBatch batch;
  absl::MutexLock lock(&bucket.mu);
  uint32_t woken = 0;
  for (Waiter* w = bucket.head; w != nullptr;) {
    Waiter* next = w->next;
    if (w->key == key) {
      if (w->kind != Waiter::Kind::kOrdinary) return Errno::kEINVAL;
      if ((w->bitset & bitset) != 0) {
        batch.Take(bucket, *w);
        ++woken;
        if (static_cast<int64_t>(woken) >= count) break;
      }
    }
    w = next;
  }
  return woken;
}

Result<uint32_t> FutexManager::RequeueLocked(Bucket& a, Bucket& b, const FutexWord& from, const FutexWord& to, int32_t wake, int32_t requeue,
                                             WakeBatch& batch) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  int64_t done = 0;
  for (Waiter* w = a.head; w != nullptr;) {
    Waiter* next = w->next;
    if (done - wake >= requeue) break;
    if (w->key == from.key) {
      if (w->kind != Waiter::Kind::kOrdinary) return Errno::kEINVAL;
      if (++done <= wake) {
        batch.Take(a, *w);
      } else {
        batch.DropLater(std::exchange(w->key, to.key));
        if (&a != &b) {
          a.Unlink(*w);
          b.count.fetch_add(1, std::memory_order_seq_cst);
          b.Link(*w);
        }
      }
    }
    w = next;
  }
  return static_cast<uint32_t>(done);
}

Result<uint32_t> FutexManager::Requeue(mm::UserMemory& memory, const FutexWord& from, const FutexWord& to, int32_t wake, int32_t requeue,
                                       std::optional<uint32_t> expected) {
  if (wake < 0 || requeue < 0) return Errno::kEINVAL;
  Bucket& a = BucketOf(from.key);
  Bucket& b = BucketOf(to.key);
  for (int attempt = 0; attempt < 64; ++attempt) {
    {
      WakeBatch batch;
      TwoLocks locks(a, b);
      if (!expected.has_value()) return RequeueLocked(a, b, from, to, wake, requeue, batch);
      const Result<uint32_t> value = memory.Atomic32NoFault(from.address, mm::Atomic32Op::kLoad, 0);
      if (value.ok()) {
        if (*value != *expected) return Errno::kEAGAIN;
        return RequeueLocked(a, b, from, to, wake, requeue, batch);
      }
      if (value.error() != Errno::kEAGAIN) return value.error();
    }
    TRY(memory.Atomic32(from.address, mm::Atomic32Op::kLoad, 0));
  }
  return Errno::kEAGAIN;
}

namespace {

constexpr int32_t SignExtend12(uint32_t bits) { return static_cast<int32_t>(bits << 20) >> 20; }

// Linux's FUTEX_OP encoding: op(4, top bit: shift) cmp(4) oparg(12) cmparg(12).
struct DecodedOp {
  mm::Atomic32Op op;
  uint32_t operand;
  uint32_t compare;
  int32_t compare_operand;
};

Result<DecodedOp> DecodeOp(uint32_t encoded) {
  DecodedOp out{};
  const uint32_t op = (encoded >> 28) & 7;
  out.compare = (encoded >> 24) & 15;
  out.compare_operand = SignExtend12(encoded & 0xfff);
  out.operand = static_cast<uint32_t>(SignExtend12((encoded >> 12) & 0xfff));
  if ((encoded & 0x80000000u) != 0) out.operand = 1u << (out.operand & 31);
  switch (op) {
    case 0: out.op = mm::Atomic32Op::kExchange; break;
    case 1: out.op = mm::Atomic32Op::kAdd; break;
    case 2: out.op = mm::Atomic32Op::kOr; break;
    case 3: out.op = mm::Atomic32Op::kAnd, out.operand = ~out.operand; break;
    case 4: out.op = mm::Atomic32Op::kXor; break;
    default: return Errno::kENOSYS;
  }
  return out;
}

Result<bool> Compare(const DecodedOp& op, int32_t old) {
  switch (op.compare) {
    case 0: return old == op.compare_operand;
    case 1: return old != op.compare_operand;
    case 2: return old < op.compare_operand;
    case 3: return old <= op.compare_operand;
    case 4: return old > op.compare_operand;
    case 5: return old >= op.compare_operand;
    default: return Errno::kENOSYS;
  }
}

}  // namespace

Result<uint32_t> FutexManager::WakeOp(mm::UserMemory& memory, const FutexWord& first, const FutexWord& second, int32_t wake_first,
                                      int32_t wake_second, uint32_t encoded) {
  const DecodedOp op = TRY(DecodeOp(encoded));
  // Outside the locks, as a store followed by FUTEX_WAKE would be: a waiter that comes between sees the new value or is woken for nothing.
  const uint32_t old = TRY(memory.Atomic32(second.address, op.op, op.operand));
  const bool also_second = TRY(Compare(op, static_cast<int32_t>(old)));
  uint32_t woken = TRY(Wake(first.key, wake_first, kFutexBitsetAny));
  if (also_second) {
    const uint32_t more = TRY(Wake(second.key, wake_second, kFutexBitsetAny));
    woken += more;
  }
  return woken;
}

}  // namespace rampart::kernel
