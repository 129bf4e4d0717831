// Descriptions in flight: those that are in a queue of a socket (SCM_RIGHTS) and not yet received.
//
// Sockets in flight can be in queues of each other, so that nobody can reach them and they keep each other alive. As in Linux
// (net/unix/garbage.c) a socket knows how many of its references are in queues; when all are, it may be garbage, and is unless a queue
// that can be reached holds one. Such cycles are looked for when a socket is closed.
//
// Lock: InFlightMutex() is held whenever a description enters, leaves or is copied out of a queue, so that inside it the count of a socket
// that nobody else refers to cannot change. Order: InFlightMutex → a queue's lock. Descriptions are dropped under neither.
#pragma once

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/net/socket/message.h"

namespace rampart::net {

absl::Mutex& InFlightMutex();

// Descriptions that all users together may have in flight: what Linux leaves to memory limits.
inline constexpr size_t kMaxInFlight = 262144;

// Before sending. ETOOMANYREFS: `payer` has more than `limit` in flight already, or everybody has kMaxInFlight.
Result<void> CheckInFlight(const Ancillary& ancillary, uint64_t limit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(InFlightMutex());
// The files of `ancillary` enter or leave a queue.
void CountIn(const Ancillary& ancillary) ABSL_EXCLUSIVE_LOCKS_REQUIRED(InFlightMutex());
void CountOut(const Ancillary& ancillary) ABSL_EXCLUSIVE_LOCKS_REQUIRED(InFlightMutex());

// InFlightMutex, only if it is wanted.
class ABSL_SCOPED_LOCKABLE MaybeInFlightLock {
 public:
  explicit MaybeInFlightLock(bool wanted) ABSL_NO_THREAD_SAFETY_ANALYSIS : wanted_(wanted) {
    if (wanted_) InFlightMutex().Lock();
  }
  ~MaybeInFlightLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (wanted_) InFlightMutex().Unlock();
  }
  MaybeInFlightLock(const MaybeInFlightLock&) = delete;
  MaybeInFlightLock& operator=(const MaybeInFlightLock&) = delete;

 private:
  const bool wanted_;
};

// Frees sockets that only each other's queues keep. Cheap when no socket is in flight. Without locks; not from a queue's lock.
void CollectCycles();

}  // namespace rampart::net
