#include "sentry/strace/trace_set.h"

#include <span>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace rampart::strace {
namespace {

using enum abi::Sysno;

constexpr abi::Sysno kFile[] = {open, stat, lstat, access, execve, truncate, chdir, rename, mkdir, rmdir, creat, link, unlink, symlink, readlink,
                                chmod, chown, lchown, utime, mknod, statfs, pivot_root, chroot, mount, umount2, setxattr, lsetxattr, getxattr,
                                lgetxattr, listxattr, llistxattr, removexattr, lremovexattr, utimes, openat, mkdirat, mknodat, fchownat,
                                futimesat, newfstatat, unlinkat, renameat, linkat, symlinkat, readlinkat, fchmodat, faccessat, utimensat,
                                name_to_handle_at, renameat2, execveat, statx, openat2, faccessat2, fchmodat2, inotify_add_watch, getcwd,
                                uselib, acct, swapon, swapoff, quotactl, fanotify_mark, open_tree, move_mount, fspick, mount_setattr};
constexpr abi::Sysno kDesc[] = {read, write, close, fstat, poll, lseek, mmap, ioctl, pread64, pwrite64, readv, writev, pipe, select, dup, dup2,
                                sendfile, fcntl, flock, fsync, fdatasync, ftruncate, getdents, getdents64, fchdir, fchmod, fchown, fstatfs,
                                readahead, fsetxattr, fgetxattr, flistxattr, fremovexattr, epoll_create, epoll_ctl, epoll_wait, fadvise64,
                                epoll_pwait, epoll_pwait2, openat, pselect6, ppoll, splice, tee, sync_file_range, vmsplice, signalfd, signalfd4,
                                timerfd_create, timerfd_settime, timerfd_gettime, eventfd, eventfd2, fallocate, epoll_create1, dup3, pipe2,
                                inotify_init, inotify_init1, inotify_add_watch, inotify_rm_watch, preadv, pwritev, preadv2, pwritev2, syncfs,
                                copy_file_range, memfd_create, close_range, pidfd_open, pidfd_getfd, pidfd_send_signal, cachestat};
constexpr abi::Sysno kProcess[] = {clone, clone3, fork, vfork, execve, execveat, exit, exit_group, wait4, waitid, kill, tkill, tgkill, pidfd_open,
                                   pidfd_send_signal, rt_sigqueueinfo, rt_tgsigqueueinfo, arch_prctl, unshare, setns};
constexpr abi::Sysno kNetwork[] = {socket, connect, accept, sendto, recvfrom, sendmsg, recvmsg, shutdown, bind, listen, getsockname, getpeername,
                                   socketpair, setsockopt, getsockopt, recvmmsg, accept4, sendmmsg};
constexpr abi::Sysno kSignal[] = {rt_sigaction, rt_sigprocmask, rt_sigreturn, pause, kill, rt_sigpending, rt_sigtimedwait, rt_sigqueueinfo,
                                  rt_sigsuspend, sigaltstack, tkill, tgkill, signalfd, signalfd4, rt_tgsigqueueinfo, pidfd_send_signal};
constexpr abi::Sysno kMemory[] = {mmap, mprotect, munmap, brk, mremap, msync, mincore, madvise, mlock, munlock, mlockall, munlockall, mlock2,
                                  remap_file_pages, mbind, set_mempolicy, get_mempolicy, migrate_pages, move_pages, pkey_mprotect, shmat, shmdt,
                                  process_madvise, mseal, membarrier};
constexpr abi::Sysno kIpc[] = {shmget, shmat, shmctl, shmdt, semget, semop, semctl, semtimedop, msgget, msgsnd, msgrcv, msgctl};
constexpr abi::Sysno kClock[] = {abi::Sysno::time, gettimeofday, settimeofday, adjtimex, clock_settime, clock_gettime, clock_getres, clock_adjtime,
                                 nanosleep, clock_nanosleep};
constexpr abi::Sysno kCreds[] = {getuid, getgid, setuid, setgid, geteuid, getegid, setreuid, setregid, getgroups, setgroups, setresuid,
                                 getresuid, setresgid, getresgid, setfsuid, setfsgid, capget, capset, prctl};

struct Class {
  std::string_view name;
  std::span<const abi::Sysno> calls;
};
constexpr Class kClasses[] = {{"file", kFile},     {"desc", kDesc},     {"process", kProcess}, {"network", kNetwork}, {"net", kNetwork},
                              {"signal", kSignal}, {"memory", kMemory}, {"ipc", kIpc},         {"clock", kClock},     {"creds", kCreds}};

bool AddClass(std::string_view name, TraceSet& set) {
  for (const Class& c : kClasses) {
    if (c.name != name) continue;
    for (const abi::Sysno number : c.calls) set.set(static_cast<size_t>(number));
    return true;
  }
  return false;
}

bool AddName(std::string_view name, TraceSet& set) {
  for (const abi::Sysno number : abi::kSysnos) {
    if (name != abi::SysnoName(static_cast<uint32_t>(number))) continue;
    set.set(static_cast<size_t>(number));
    return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<TraceSet> ParseTraceSet(std::string_view text) {
  TraceSet set;
  bool invert = false;
  if (!text.empty() && text[0] == '!') {
    invert = true;
    text.remove_prefix(1);
  }
  if (text.empty() || text == "all" || text == "%all") {
    set.set();
    return invert ? ~set : set;
  }
  for (const absl::string_view part : absl::StrSplit(absl::string_view(text.data(), text.size()), ',', absl::SkipEmpty())) {
    const std::string_view word(part.data(), part.size());
    const bool known = word[0] == '%' ? AddClass(word.substr(1), set) : AddName(word, set) || AddClass(word, set);
    if (!known) return absl::InvalidArgumentError(absl::StrCat("--strace: unknown system call or class \"", part, "\""));
  }
  return invert ? ~set : set;
}

}  // namespace rampart::strace
