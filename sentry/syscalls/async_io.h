// Signals about files: SIGIO for input and output (O_ASYNC, F_SETOWN, F_SETSIG) and leases (F_SETLEASE) and directory
// notification (F_NOTIFY), which tell their holder by the same signal; SIGURG for a socket's owner.
//
// Model: whoever sets O_ASYNC hangs an entry on the file's wait queue, whoever takes a lease hangs a holder on its description; both live until
// that ends or the description does. They run where no signal may be sent (under a queue's or the lease table's lock), so they only leave a note. The
// task whose call caused it sends it when that call is done, so that it has come when the caller goes on, as on Linux; the timer thread sends what
// is left by others, or by a call that sleeps.
// Thread safety: any thread. Lock order: LastCloseMutex → LeaseTable::mu_ or WaitQueue::mu_ → the notes' lock (a leaf, with the timer queue's);
// the sending lock → signals' locks.
#pragma once

#include "abi/types.h"
#include "sentry/kernel/task.h"
#include "sentry/syscalls/path_arg.h"
#include "sentry/vfs/file_description.h"

namespace rampart::syscalls {

// Whether this thread has left notes since it last sent them.
extern constinit thread_local bool t_left_notes;
// At the end of a call that has: they are sent when this returns.
void SendLeftNotes(kernel::Task& task);

// Begins or ends SIGURG for a socket's owner, after F_SETOWN and its like have named one.
void FollowOwner(kernel::Task& task, vfs::FileDescription& file);
// Begins or ends the signals, after O_ASYNC has changed; `fd` is what F_SETSIG's siginfo names.
void FollowAsyncFlag(kernel::Task& task, vfs::FileDescription& file, Fd fd);

// fcntl(2). `kind`: F_RDLCK, F_WRLCK or F_UNLCK. EACCES (not the owner), EINVAL (not a regular file), EAGAIN (open in a conflicting way).
Result<Word> SetLease(kernel::Task& task, vfs::FileDescription& file, Fd fd, uint64_t kind);
Result<Word> GetLease(vfs::FileDescription& file);

// fcntl(F_NOTIFY): `events` are its DN_… bits, none of them ends it. ENOTDIR.
Result<Word> SetDirectoryNotify(kernel::Task& task, vfs::FileDescription& file, Fd fd, uint32_t events);
// A descriptor of `file` is being closed: notification asked for with it ends.
void EndDirectoryNotify(vfs::FileDescription& file);

// After an open or truncation said EAGAIN: if `path` is leased, waits until `attempt` succeeds, at most the break time, after which
// the lease is gone. Otherwise EAGAIN.
Result<void> WaitForLease(kernel::Task& task, const PathArg& path, bool follow, bool for_write, absl::FunctionRef<Result<void>()> attempt);

}  // namespace rampart::syscalls
