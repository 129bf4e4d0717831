#include "sentry/kernel/robust.h"

#include "sentry/kernel/futex.h"

namespace rampart::kernel {
namespace {

struct Entry {
  UserAddr address = 0;
  bool pi = false;
};

Entry DecodeEntry(uint64_t pointer) { return {pointer & ~uint64_t{1}, (pointer & 1) != 0}; }

enum class Pending { kNo, kYes };

// Linux reads each with one get_user: all of it or nothing.
template <class T>
Result<T> Fetch(mm::UserMemory& memory, UserAddr from) {
  T value;
  const size_t n = TRY(memory.CopyInPartial(from, std::as_writable_bytes(std::span(&value, 1))));
  if (n != sizeof(T)) return Errno::kEFAULT;
  return value;
}

// Whether the walk may go on.
bool ReleaseOne(mm::UserMemory& mm, UserAddr word, abi::Pid tid, bool pi, Pending pending, absl::FunctionRef<void(UserAddr)> wake) {
  if ((word & 3) != 0) return false;
  Result<uint32_t> loaded = mm.Atomic32(word, mm::Atomic32Op::kLoad, 0);
  while (loaded.ok()) {
    const uint32_t value = *loaded;
    // A lock operation under way whose word is already 0: the thread died between unlocking and waking.
    if (pending == Pending::kYes && !pi && value == 0) {
      wake(word);
      return true;
    }
    if ((value & kFutexTidMask) != static_cast<uint32_t>(tid)) return true;
    loaded = mm.Atomic32(word, mm::Atomic32Op::kCompareExchange, (value & kFutexWaiters) | kFutexOwnerDied, value);
    if (!loaded.ok()) return false;
    if (*loaded != value) continue;
    if (!pi && (value & kFutexWaiters) != 0) wake(word);
    return true;
  }
  return false;
}

}  // namespace

void ReleaseRobustList(mm::UserMemory& mm, UserAddr head_address, abi::Pid tid, absl::FunctionRef<void(UserAddr)> wake) {
  if (head_address == 0) return;
  const Result<RobustListHead> head = Fetch<RobustListHead>(mm, head_address);
  if (!head.ok()) return;
  const auto word_of = [&](UserAddr entry) { return entry + static_cast<uint64_t>(head->futex_offset); };
  const Entry pending = DecodeEntry(head->list_op_pending);
  Entry entry = DecodeEntry(head->next);
  for (int limit = kRobustListLimit; entry.address != head_address && limit > 0; --limit) {
    // The next pointer first: once released, the entry's memory may be reused.
    const Result<uint64_t> next = Fetch<uint64_t>(mm, entry.address);
    if (entry.address != pending.address) {
      if (!ReleaseOne(mm, word_of(entry.address), tid, entry.pi, Pending::kNo, wake)) return;
    }
    if (!next.ok()) break;
    entry = DecodeEntry(*next);
  }
  if (pending.address != 0) (void)ReleaseOne(mm, word_of(pending.address), tid, pending.pi, Pending::kYes, wake);
}

}  // namespace rampart::kernel
