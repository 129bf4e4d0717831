#include "gofer/server/seccomp_table.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace rampart::gofer {
namespace {

constexpr uint64_t kLow32 = 0xffffffff;
constexpr int kSysFchmodat2 = 452;

#define CALL(name, ...) \
  { SYS_##name, #name, __VA_ARGS__ }

constexpr AllowedCall kCalls[] = {
    // The channel.
    CALL(recvmsg, "requests"),
    CALL(sendmsg, "replies, with donated descriptors"),
    CALL(socketpair, "further lanes into a session", {{0, kLow32, AF_UNIX}}),
    CALL(memfd_create, "lanes through shared memory"),
    CALL(write, "the log"),
    // Files. No open, openat, execve, mount, ptrace, or any call that takes a path from the working directory.
    CALL(openat2, "every open: beneath a directory's descriptor, or a descriptor again through /proc/self/fd"),
    CALL(close, "descriptors of forgotten fids"),
    CALL(statx, "attributes"),
    CALL(fstatfs, "Tstatfs"),
    CALL(getdents64, "directories"),
    CALL(lseek, "positions in directories"),
    CALL(readlinkat, "Treadlink"),
    CALL(pread64, "Tread from clients that take no descriptors"),
    CALL(pwrite64, "Twrite from clients that take no descriptors"),
    CALL(ftruncate, "a changed size"),
    CALL(fsync, "Tfsync"),
    CALL(syncfs, "syncfs(2) in the sandbox"),
    CALL(fchmod, "a changed mode, on Linux before 6.6"),
    {kSysFchmodat2, "fchmodat2", "a changed mode", {{3, kLow32, AT_EMPTY_PATH}}},
    CALL(fchownat, "a changed owner", {{4, kLow32, AT_EMPTY_PATH}}),
    CALL(utimensat, "changed times", {{3, kLow32, AT_EMPTY_PATH}}),
    CALL(mkdirat, "new directories"),
    CALL(symlinkat, "new symbolic links"),
    CALL(mknodat, "new FIFOs and sockets; devices where allowed"),
    CALL(linkat, "new hard links"),
    CALL(renameat2, "renames"),
    CALL(unlinkat, "removals"),
    CALL(fgetxattr, "extended attributes"),
    CALL(fsetxattr, "extended attributes"),
    CALL(flistxattr, "extended attributes"),
    CALL(fremovexattr, "extended attributes"),
    CALL(fcntl, "a duplicate of an attach point's root", {{1, kLow32, F_DUPFD_CLOEXEC}}),
    CALL(fcntl, "the seals of shared memory", {{1, kLow32, F_ADD_SEALS}}),
    CALL(fcntl, "the seals of shared memory", {{1, kLow32, F_GET_SEALS}}),
    CALL(fcntl, "Tlock", {{1, kLow32, F_OFD_SETLK}}),
    CALL(fcntl, "Tgetlock", {{1, kLow32, F_OFD_GETLK}}),
    // The host's UNIX sockets, where an attach point allows them.
    CALL(socket, "connections to the host's UNIX sockets", {{0, kLow32, AF_UNIX}}),
    CALL(connect, "connections to the host's UNIX sockets"),
    // Memory and threads.
    CALL(mmap, "buffers and thread stacks; never executable", {{2, PROT_EXEC, 0}}),
    CALL(munmap, "buffers and thread stacks"),
    CALL(mprotect, "thread stacks; never executable", {{2, PROT_EXEC, 0}}),
    CALL(madvise, "returns memory"),
    CALL(brk, "the heap"),
    // clone3, whose flags cannot be checked, must be ENOSYS: the C library then uses clone.
    CALL(clone, "worker threads", {{0, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM}}),
    CALL(set_robust_list, "a thread's start"),
    CALL(rseq, "a thread's start"),
    CALL(rt_sigprocmask, "a thread's start and end"),
    CALL(futex, "locks"),
    CALL(sched_yield, "locks under contention"),
    CALL(clock_nanosleep, "locks under contention"),
    CALL(clock_gettime, "times where the vDSO has no clock"),
    CALL(restart_syscall, "the kernel's own, after a stop"),
    CALL(exit, "a worker's end"),
    CALL(exit_group, "the process's end"),
};

}  // namespace

std::span<const AllowedCall> GoferHostCalls() { return kCalls; }

}  // namespace rampart::gofer
