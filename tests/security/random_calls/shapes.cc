#include "tests/security/random_calls/shapes.h"

#include <sys/syscall.h>

namespace random_calls {
namespace {

// Letters: f descriptor · b buffer · n length · s path · z name · i iovec array · k small count · a sockaddr · l sockaddr length ·
// L pointer to int · m msghdr · M mmsghdr array · e epoll_event · u futex word · t timespec · I itimer or itimerspec · S signal ·
// p process · F flags · O open flags · o offset · A page address · x anything · g sigaction · w signal set · W its size · c clock ·
// d small number · r structure of random bytes · P pollfd array · B fd_set · R protection · Y mmap flags · U user · V string array ·
// C clone flags · H stack_t · j ioctl · h mode · D domain · T socket type · y option level · X futex operation · N fcntl command ·
// E epoll operation · K close_range flags · J msync/madvise advice · Q prctl operation · 8 the constant 8 mostly
constexpr Shape kShapes[] = {
    {SYS_read, "fbn"}, {SYS_write, "fbn"}, {SYS_open, "sOh"}, {SYS_close, "f"}, {SYS_stat, "sb"}, {SYS_fstat, "fb"}, {SYS_lstat, "sb"},
    {SYS_poll, "Pkd"}, {SYS_lseek, "fod"}, {SYS_mmap, "AnRYfo"}, {SYS_mprotect, "AnR"}, {SYS_munmap, "An"}, {SYS_brk, "b"},
    {SYS_rt_sigaction, "SgbW"}, {SYS_rt_sigprocmask, "dwbW"}, {SYS_rt_sigreturn, ""}, {SYS_ioctl, "fjb"}, {SYS_pread64, "fbno"},
    {SYS_pwrite64, "fbno"}, {SYS_readv, "fik"}, {SYS_writev, "fik"}, {SYS_access, "sd"}, {SYS_pipe, "b"}, {SYS_select, "kBBBt"},
    {SYS_sched_yield, ""}, {SYS_mremap, "AnndA"}, {SYS_msync, "And"}, {SYS_mincore, "Anb"}, {SYS_madvise, "AnJ"}, {SYS_shmget, "xnF"},
    {SYS_shmat, "dAF"}, {SYS_shmctl, "ddr"}, {SYS_dup, "f"}, {SYS_dup2, "ff"}, {SYS_pause, ""}, {SYS_nanosleep, "tb"},
    {SYS_getitimer, "db"}, {SYS_alarm, "d"}, {SYS_setitimer, "dIb"}, {SYS_getpid, ""}, {SYS_sendfile, "ffbn"}, {SYS_socket, "DTd"},
    {SYS_connect, "fal"}, {SYS_accept, "fbL"}, {SYS_sendto, "fbnFal"}, {SYS_recvfrom, "fbnFbL"}, {SYS_sendmsg, "fmF"},
    {SYS_recvmsg, "fmF"}, {SYS_shutdown, "fd"}, {SYS_bind, "fal"}, {SYS_listen, "fd"}, {SYS_getsockname, "fbL"}, {SYS_getpeername, "fbL"},
    {SYS_socketpair, "DTdb"}, {SYS_setsockopt, "fydrn"}, {SYS_getsockopt, "fydbL"}, {SYS_clone, "CAbbx"}, {SYS_fork, ""}, {SYS_vfork, ""},
    {SYS_execve, "sVV"}, {SYS_exit, "d"}, {SYS_wait4, "pbFb"}, {SYS_kill, "pS"}, {SYS_uname, "b"}, {SYS_semget, "xdF"},
    {SYS_semop, "drk"}, {SYS_semctl, "dddb"}, {SYS_shmdt, "A"}, {SYS_msgget, "xF"}, {SYS_msgsnd, "drnF"}, {SYS_msgrcv, "dbnxF"},
    {SYS_msgctl, "ddr"}, {SYS_fcntl, "fNr"}, {SYS_flock, "fd"}, {SYS_fsync, "f"}, {SYS_fdatasync, "f"}, {SYS_truncate, "so"},
    {SYS_ftruncate, "fo"}, {SYS_getdents, "fbn"}, {SYS_getcwd, "bn"}, {SYS_chdir, "s"}, {SYS_fchdir, "f"}, {SYS_rename, "ss"},
    {SYS_mkdir, "sh"}, {SYS_rmdir, "s"}, {SYS_creat, "sh"}, {SYS_link, "ss"}, {SYS_unlink, "s"}, {SYS_symlink, "ss"},
    {SYS_readlink, "sbn"}, {SYS_chmod, "sh"}, {SYS_fchmod, "fh"}, {SYS_chown, "sUU"}, {SYS_fchown, "fUU"}, {SYS_lchown, "sUU"},
    {SYS_umask, "h"}, {SYS_gettimeofday, "bb"}, {SYS_getrlimit, "db"}, {SYS_getrusage, "db"}, {SYS_sysinfo, "b"}, {SYS_times, "b"},
    {SYS_ptrace, "dpbb"}, {SYS_getuid, ""}, {SYS_syslog, "dbn"}, {SYS_setuid, "U"}, {SYS_setgid, "U"}, {SYS_setpgid, "pp"},
    {SYS_getppid, ""}, {SYS_setsid, ""}, {SYS_setreuid, "UU"}, {SYS_setregid, "UU"}, {SYS_getgroups, "kb"}, {SYS_setgroups, "kr"},
    {SYS_setresuid, "UUU"}, {SYS_getresuid, "bbb"}, {SYS_setresgid, "UUU"}, {SYS_getresgid, "bbb"}, {SYS_getpgid, "p"},
    {SYS_setfsuid, "U"}, {SYS_setfsgid, "U"}, {SYS_getsid, "p"}, {SYS_capget, "rb"}, {SYS_capset, "rr"}, {SYS_rt_sigpending, "bW"},
    {SYS_rt_sigtimedwait, "wbtW"}, {SYS_rt_sigqueueinfo, "pSr"}, {SYS_rt_sigsuspend, "wW"}, {SYS_sigaltstack, "Hb"}, {SYS_utime, "sr"},
    {SYS_mknod, "shx"}, {SYS_personality, "F"}, {SYS_ustat, "xb"}, {SYS_statfs, "sb"}, {SYS_fstatfs, "fb"}, {SYS_sysfs, "dbb"},
    {SYS_getpriority, "dp"}, {SYS_setpriority, "dpd"}, {SYS_sched_setparam, "pr"}, {SYS_sched_getparam, "pb"},
    {SYS_sched_setscheduler, "pdr"}, {SYS_sched_getscheduler, "p"}, {SYS_sched_get_priority_max, "d"}, {SYS_sched_rr_get_interval, "pb"},
    {SYS_mlock, "An"}, {SYS_munlock, "An"}, {SYS_mlockall, "d"}, {SYS_munlockall, ""}, {SYS_vhangup, ""}, {SYS_modify_ldt, "drn"},
    {SYS_pivot_root, "ss"}, {SYS_prctl, "Qbbbb"}, {SYS_arch_prctl, "xb"}, {SYS_adjtimex, "r"}, {SYS_setrlimit, "dr"}, {SYS_chroot, "s"},
    {SYS_sync, ""}, {SYS_acct, "s"}, {SYS_settimeofday, "tr"}, {SYS_mount, "sszFz"}, {SYS_umount2, "sd"}, {SYS_swapon, "sF"},
    {SYS_reboot, "xxxb"}, {SYS_sethostname, "zn"}, {SYS_setdomainname, "zn"}, {SYS_iopl, "d"}, {SYS_ioperm, "nnd"},
    {SYS_init_module, "bnz"}, {SYS_delete_module, "zF"}, {SYS_quotactl, "xsUb"}, {SYS_gettid, ""}, {SYS_readahead, "fon"},
    {SYS_setxattr, "szbnF"}, {SYS_lsetxattr, "szbnF"}, {SYS_fsetxattr, "fzbnF"}, {SYS_getxattr, "szbn"}, {SYS_lgetxattr, "szbn"},
    {SYS_fgetxattr, "fzbn"}, {SYS_listxattr, "sbn"}, {SYS_llistxattr, "sbn"}, {SYS_flistxattr, "fbn"}, {SYS_removexattr, "sz"},
    {SYS_lremovexattr, "sz"}, {SYS_fremovexattr, "fz"}, {SYS_tkill, "pS"}, {SYS_time, "b"}, {SYS_futex, "uXdtux"},
    {SYS_sched_setaffinity, "pnr"}, {SYS_sched_getaffinity, "pnb"}, {SYS_io_setup, "db"}, {SYS_io_destroy, "x"},
    {SYS_io_getevents, "xddbt"}, {SYS_io_submit, "xdV"}, {SYS_io_cancel, "xrb"}, {SYS_epoll_create, "d"}, {SYS_getdents64, "fbn"},
    {SYS_set_tid_address, "b"}, {SYS_restart_syscall, ""}, {SYS_fadvise64, "fond"}, {SYS_timer_create, "crb"},
    {SYS_timer_settime, "ddIb"}, {SYS_timer_gettime, "db"}, {SYS_timer_getoverrun, "d"}, {SYS_timer_delete, "d"},
    {SYS_clock_settime, "ct"}, {SYS_clock_gettime, "cb"}, {SYS_clock_getres, "cb"}, {SYS_clock_nanosleep, "cdtb"},
    {SYS_exit_group, "d"}, {SYS_epoll_wait, "fbkd"}, {SYS_epoll_ctl, "fEfe"}, {SYS_tgkill, "ppS"}, {SYS_utimes, "sr"},
    {SYS_mbind, "AnFbnF"}, {SYS_mq_open, "zOhr"}, {SYS_mq_unlink, "z"}, {SYS_mq_timedsend, "fbndt"}, {SYS_mq_timedreceive, "fbnbt"},
    {SYS_mq_notify, "fr"}, {SYS_mq_getsetattr, "frb"}, {SYS_kexec_load, "xxbF"}, {SYS_waitid, "dpbFb"}, {SYS_add_key, "zzbnx"},
    {SYS_request_key, "zzzx"}, {SYS_keyctl, "dxxxx"}, {SYS_ioprio_set, "dpd"}, {SYS_ioprio_get, "dp"}, {SYS_inotify_init, ""},
    {SYS_inotify_add_watch, "fsF"}, {SYS_inotify_rm_watch, "fd"}, {SYS_openat, "fsOh"}, {SYS_mkdirat, "fsh"}, {SYS_mknodat, "fshx"},
    {SYS_fchownat, "fsUUF"}, {SYS_futimesat, "fsr"}, {SYS_newfstatat, "fsbF"}, {SYS_unlinkat, "fsF"}, {SYS_renameat, "fsfs"},
    {SYS_linkat, "fsfsF"}, {SYS_symlinkat, "sfs"}, {SYS_readlinkat, "fsbn"}, {SYS_fchmodat, "fsh"}, {SYS_faccessat, "fsd"},
    {SYS_pselect6, "kBBBtr"}, {SYS_ppoll, "PktwW"}, {SYS_unshare, "C"}, {SYS_set_robust_list, "r8"}, {SYS_get_robust_list, "pbb"},
    {SYS_splice, "fbfbnF"}, {SYS_tee, "ffnF"}, {SYS_sync_file_range, "food"}, {SYS_vmsplice, "fikF"}, {SYS_move_pages, "pkVbbF"},
    {SYS_utimensat, "fsrF"}, {SYS_epoll_pwait, "fbkdwW"}, {SYS_signalfd, "fwW"}, {SYS_timerfd_create, "cF"}, {SYS_eventfd, "d"},
    {SYS_fallocate, "fdon"}, {SYS_timerfd_settime, "fdIb"}, {SYS_timerfd_gettime, "fb"}, {SYS_accept4, "fbLF"}, {SYS_signalfd4, "fwWF"},
    {SYS_eventfd2, "dF"}, {SYS_epoll_create1, "F"}, {SYS_dup3, "ffF"}, {SYS_pipe2, "bO"}, {SYS_inotify_init1, "O"},
    {SYS_preadv, "fikoo"}, {SYS_pwritev, "fikoo"}, {SYS_rt_tgsigqueueinfo, "ppSr"}, {SYS_perf_event_open, "rpddF"},
    {SYS_recvmmsg, "fMkFt"}, {SYS_fanotify_init, "FF"}, {SYS_fanotify_mark, "fFFfs"}, {SYS_prlimit64, "pdrb"},
    {SYS_name_to_handle_at, "fsrbF"}, {SYS_open_by_handle_at, "frF"}, {SYS_clock_adjtime, "cr"}, {SYS_syncfs, "f"},
    {SYS_sendmmsg, "fMkF"}, {SYS_setns, "fC"}, {SYS_getcpu, "bbb"}, {SYS_process_vm_readv, "pikikF"}, {SYS_process_vm_writev, "pikikF"},
    {SYS_kcmp, "ppdff"}, {SYS_finit_module, "fzF"}, {SYS_sched_setattr, "prF"}, {SYS_sched_getattr, "pbnF"}, {SYS_renameat2, "fsfsF"},
    {SYS_seccomp, "dFr"}, {SYS_getrandom, "bnF"}, {SYS_memfd_create, "zF"}, {SYS_kexec_file_load, "ffnzF"}, {SYS_bpf, "drn"},
    {SYS_execveat, "fsVVF"}, {SYS_userfaultfd, "F"}, {SYS_membarrier, "FFd"}, {SYS_mlock2, "And"}, {SYS_copy_file_range, "fbfbnF"},
    {SYS_preadv2, "fikooF"}, {SYS_pwritev2, "fikooF"}, {SYS_pkey_mprotect, "AnRd"}, {SYS_pkey_alloc, "FF"}, {SYS_pkey_free, "d"},
    {SYS_statx, "fsFFb"}, {SYS_io_pgetevents, "xddbtr"}, {SYS_rseq, "bnFx"}, {424 /* pidfd_send_signal */, "fSrF"},
    {425 /* io_uring_setup */, "dr"}, {426, "fddFwW"}, {427, "fdbk"}, {428 /* open_tree */, "fsF"}, {429 /* move_mount */, "fsfsF"},
    {430 /* fsopen */, "zF"}, {431 /* fsconfig */, "fdzbd"}, {432 /* fsmount */, "fFF"}, {433 /* fspick */, "fsF"},
    {434 /* pidfd_open */, "pF"}, {435 /* clone3 */, "r8"}, {436 /* close_range */, "ffK"}, {437 /* openat2 */, "fsrn"},
    {438 /* pidfd_getfd */, "ffF"}, {439 /* faccessat2 */, "fsdF"}, {440 /* process_madvise */, "fikJF"},
    {441 /* epoll_pwait2 */, "fbktwW"}, {442 /* mount_setattr */, "fsFrn"}, {444 /* landlock_create_ruleset */, "rnF"},
    {445, "fdrF"}, {446, "fF"}, {447 /* memfd_secret */, "F"}, {448 /* process_mrelease */, "fF"}, {449 /* futex_waitv */, "rkFtc"},
    {451 /* cachestat */, "frbF"}, {452 /* fchmodat2 */, "fshF"}, {453 /* map_shadow_stack */, "AnF"}, {454 /* futex_wake */, "uxdF"},
    {455 /* futex_wait */, "uxxFtc"}, {456 /* futex_requeue */, "rFdd"}, {457 /* statmount */, "rbnF"}, {458 /* listmount */, "rbnF"},
    {462 /* mseal */, "AnF"}, {463 /* setxattrat */, "fsFzrn"}, {464 /* getxattrat */, "fsFzrn"},
};

}  // namespace

std::span<const Shape> Shapes() { return kShapes; }

}  // namespace random_calls
