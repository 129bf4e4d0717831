// Tells ThreadSanitizer about Debian's absl::Mutex, which was built without it. The preset tsan links every program with --wrap for these
// functions (cmake/Toolchain.cmake), so each call from our code comes here first; a build without TSan has nothing of this.
//
// While a wrapped function runs, TSan ignores what the thread reads and writes: absl runs other threads' conditions inside Unlock, with the
// lock still held in truth.
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace {

constexpr unsigned kRead = __tsan_mutex_read_lock;

class Locking {
 public:
  Locking(void* mutex, unsigned flags) : mutex_(mutex), flags_(flags) { __tsan_mutex_pre_lock(mutex_, flags_); }
  Locking(const Locking&) = delete;
  Locking& operator=(const Locking&) = delete;
  ~Locking() { __tsan_mutex_post_lock(mutex_, flags_, 0); }
  void Failed() { flags_ |= __tsan_mutex_try_lock_failed; }

 private:
  void* const mutex_;
  unsigned flags_;
};

class Unlocking {
 public:
  Unlocking(void* mutex, unsigned flags) : mutex_(mutex), flags_(flags) { __tsan_mutex_pre_unlock(mutex_, flags_); }
  Unlocking(const Unlocking&) = delete;
  Unlocking& operator=(const Unlocking&) = delete;
  ~Unlocking() { __tsan_mutex_post_unlock(mutex_, flags_); }

 private:
  void* const mutex_;
  const unsigned flags_;
};

// Gives the lock up and takes it again, which is what waiting does.
void GiveUp(void* mutex) { const Unlocking unlocking(mutex, 0); }

}  // namespace

// The names of absl's functions as the linker knows them, in Debian's inline namespace.
#define REAL(name) __real__ZN4absl7debian3##name
#define WRAP(name) __wrap__ZN4absl7debian3##name

extern "C" {

void REAL(5Mutex4LockEv)(absl::Mutex*);
void WRAP(5Mutex4LockEv)(absl::Mutex* mutex) {
  const Locking locking(mutex, 0);
  REAL(5Mutex4LockEv)(mutex);
}

void REAL(5Mutex6UnlockEv)(absl::Mutex*);
void WRAP(5Mutex6UnlockEv)(absl::Mutex* mutex) {
  const Unlocking unlocking(mutex, 0);
  REAL(5Mutex6UnlockEv)(mutex);
}

void REAL(5Mutex10ReaderLockEv)(absl::Mutex*);
void WRAP(5Mutex10ReaderLockEv)(absl::Mutex* mutex) {
  const Locking locking(mutex, kRead);
  REAL(5Mutex10ReaderLockEv)(mutex);
}

void REAL(5Mutex12ReaderUnlockEv)(absl::Mutex*);
void WRAP(5Mutex12ReaderUnlockEv)(absl::Mutex* mutex) {
  const Unlocking unlocking(mutex, kRead);
  REAL(5Mutex12ReaderUnlockEv)(mutex);
}

bool REAL(5Mutex7TryLockEv)(absl::Mutex*);
bool WRAP(5Mutex7TryLockEv)(absl::Mutex* mutex) {
  Locking locking(mutex, __tsan_mutex_try_lock);
  const bool locked = REAL(5Mutex7TryLockEv)(mutex);
  if (!locked) locking.Failed();
  return locked;
}

bool REAL(5Mutex13ReaderTryLockEv)(absl::Mutex*);
bool WRAP(5Mutex13ReaderTryLockEv)(absl::Mutex* mutex) {
  Locking locking(mutex, __tsan_mutex_try_read_lock);
  const bool locked = REAL(5Mutex13ReaderTryLockEv)(mutex);
  if (!locked) locking.Failed();
  return locked;
}

void REAL(5Mutex5AwaitERKNS0_9ConditionE)(absl::Mutex*, const absl::Condition&);
void WRAP(5Mutex5AwaitERKNS0_9ConditionE)(absl::Mutex* mutex, const absl::Condition& condition) {
  GiveUp(mutex);
  const Locking locking(mutex, 0);
  REAL(5Mutex5AwaitERKNS0_9ConditionE)(mutex, condition);
}

bool REAL(5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE)(absl::Mutex*, const absl::Condition&, absl::Duration);
bool WRAP(5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE)(absl::Mutex* mutex, const absl::Condition& condition, absl::Duration timeout) {
  GiveUp(mutex);
  const Locking locking(mutex, 0);
  return REAL(5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE)(mutex, condition, timeout);
}

bool REAL(5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE)(absl::Mutex*, const absl::Condition&, absl::Time);
bool WRAP(5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE)(absl::Mutex* mutex, const absl::Condition& condition, absl::Time deadline) {
  GiveUp(mutex);
  const Locking locking(mutex, 0);
  return REAL(5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE)(mutex, condition, deadline);
}

void REAL(5Mutex8LockWhenERKNS0_9ConditionE)(absl::Mutex*, const absl::Condition&);
void WRAP(5Mutex8LockWhenERKNS0_9ConditionE)(absl::Mutex* mutex, const absl::Condition& condition) {
  const Locking locking(mutex, 0);
  REAL(5Mutex8LockWhenERKNS0_9ConditionE)(mutex, condition);
}

void REAL(5MutexD1Ev)(absl::Mutex*);
void WRAP(5MutexD1Ev)(absl::Mutex* mutex) {
  __tsan_mutex_destroy(mutex, __tsan_mutex_not_static);
  REAL(5MutexD1Ev)(mutex);
}

void REAL(7CondVar4WaitEPNS0_5MutexE)(absl::CondVar*, absl::Mutex*);
void WRAP(7CondVar4WaitEPNS0_5MutexE)(absl::CondVar* variable, absl::Mutex* mutex) {
  GiveUp(mutex);
  const Locking locking(mutex, 0);
  REAL(7CondVar4WaitEPNS0_5MutexE)(variable, mutex);
}

bool REAL(7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE)(absl::CondVar*, absl::Mutex*, absl::Duration);
bool WRAP(7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE)(absl::CondVar* variable, absl::Mutex* mutex, absl::Duration timeout) {
  GiveUp(mutex);
  const Locking locking(mutex, 0);
  return REAL(7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE)(variable, mutex, timeout);
}

bool REAL(7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE)(absl::CondVar*, absl::Mutex*, absl::Time);
bool WRAP(7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE)(absl::CondVar* variable, absl::Mutex* mutex, absl::Time deadline) {
  GiveUp(mutex);
  const Locking locking(mutex, 0);
  return REAL(7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE)(variable, mutex, deadline);
}

}  // extern "C"
