// The hand-over from the runner to the kernel: everything that a sandbox is made of, as one value.
//
// Model. The runner (trusted) makes the namespaces, donates descriptors, and re-executes itself as the sentry process. That process
// reads its BootConfig, confines itself (empty root, no capabilities, no_new_privs, rlimits) and calls RunSandbox(), which builds the
// kernel, installs the seccomp filter (sentry/boot/seccomp_table.h) and runs the first program until the sandbox ends.
//
// Trust: the config comes from the runner and has been validated by it: descriptors are open and of the right kind, strings hold no
// NUL, mount destinations are absolute and clean. What the config *names* (files, programs) lies in the sandbox and is hostile.
//
// Thread safety: a value. Ownership: RunSandbox owns every descriptor in the config and closes it when the process ends.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "platform/platform.h"

namespace rampart::sentry::boot {

// A host descriptor of the caller that the first program finds under a number: normally 0, 1 and 2. A number that is absent is closed
// in the sandbox as well. Nothing is known about what it is (terminal, pipe, file, socket): fstat tells.
struct DonatedFile {
  int guest_fd = -1;
  int host_fd = -1;
};

// Who else can change the files below a mount: decides what may be cached.
enum class FileAccess : uint8_t { kExclusive, kShared };

enum class MountPropagation : uint8_t { kUnchanged, kPrivate, kShared, kSlave, kUnbindable };

// One mount of the sandbox, in the order in which they are made; the first is "/".
struct Mount {
  std::string type;         // "gofer", "tmpfs", "proc", "sysfs", "devtmpfs", "devpts", "mqueue", "cgroup2"
  std::string destination;  // absolute, no "." or ".." components; may be missing in the lower layers: the kernel makes it (below an overlay)
  std::string attach;       // "gofer": name of the attach point, as the gofer knows it
  std::string source;       // what /proc/mounts calls it; "" = its type
  std::string shared;       // "tmpfs": one filesystem for all mounts of a sandbox that have this name; "" = its own
  bool attach_is_directory = true;  // "gofer": false for a single bound file
  bool readonly = false;
  bool nosuid = false;
  bool nodev = false;
  bool noexec = false;
  bool noatime = false;
  bool nodiratime = false;
  bool strictatime = false;         // neither: access times move as with relatime
  bool nosymfollow = false;
  MountPropagation propagation = MountPropagation::kUnchanged;  // of the root: when everything is mounted
  bool propagation_is_recursive = false;
  bool overlay = false;     // "gofer": covered by an upper layer in memory; the gofer's tree is never written
  FileAccess access = FileAccess::kExclusive;
  uint64_t size_limit = 0;  // "tmpfs", and of an upper layer: bytes, 0 = half of the memory limit (or of the host's memory), as in Linux
  uint32_t mode = 01777;    // "tmpfs": of its root
};

struct Rlimit {
  uint64_t soft = UINT64_MAX;  // UINT64_MAX: RLIM_INFINITY
  uint64_t hard = UINT64_MAX;
};
inline constexpr int kRlimits = 16;  // RLIM_NLIMITS; indexed by RLIMIT_…

// What the kernel enforces for the whole sandbox. 0 = no limit.
struct Limits {
  uint64_t memory_bytes = 0;  // application memory, tmpfs and overlay included
  uint32_t pids = 0;          // tasks that exist at once
  int64_t cpu_quota = 0;      // microseconds of processor time in each period, which the host enforces: what programs are told of it
  uint64_t cpu_period = 100'000;
  uint32_t cpus = 0;          // processors that programs are shown; 0 = as many as the process may run on (sched_getaffinity)
};

struct CapabilitySets {
  uint64_t effective = 0;
  uint64_t permitted = 0;
  uint64_t inheritable = 0;
  uint64_t bounding = 0;
  uint64_t ambient = 0;
  bool operator==(const CapabilitySets&) const = default;
  // `set` as effective, permitted and bounding; nothing inheritable.
  static CapabilitySets Of(uint64_t set) { return {.effective = set, .permitted = set, .bounding = set}; }
};

// The identity of a program before its execve(2). Virtual: the host never sees it.
struct Identity {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;
  CapabilitySets capabilities;
  bool no_new_privs = false;
};

// What sched_setattr(2), ioprio_set(2), personality(2) and /proc/PID/oom_score_adj are told of a program before it runs. Numbers are Linux's.
struct Scheduling {
  int32_t policy = 0;       // SCHED_OTHER, SCHED_BATCH or SCHED_IDLE
  int32_t nice = 0;
  bool reset_on_fork = false;
  int32_t io_priority = 0;  // class << 13 | level; 0: none
  uint32_t personality = 0;
  int32_t oom_score_adj = 0;
};

// A program and what it starts with. argv[0] without a slash is looked up in PATH of `environment`, as execvp(3) does.
struct Program {
  std::string executable;                // path of its file, if argv[0] is not to be looked up
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // "NAME=value"
  std::string cwd = "/";                 // a missing directory fails the start with ENOENT
  Identity identity;
  uint32_t umask = 022;
  std::vector<Rlimit> rlimits;         // kRlimits entries
  uint64_t ignored_signals = 0;        // bit N-1: signal N was ignored by the caller (nohup)
  uint64_t blocked_signals = 0;        // likewise its mask
  Scheduling scheduling;
  bool terminal_is_controlling = false;  // the first terminal among files 0, 1, 2 becomes the controlling terminal of its session
};

// A node of the sandbox beyond the usual ones; devices that the kernel does not have open with ENXIO.
enum class DeviceKind : uint8_t { kCharacter, kBlock, kFifo };
struct DeviceNode {
  std::string path;  // absolute
  DeviceKind kind = DeviceKind::kCharacter;
  uint32_t major = 0;
  uint32_t minor = 0;
  uint32_t mode = 0666;
  uint32_t uid = 0;
  uint32_t gid = 0;
};

// A file below /proc/sys and what is written to it at boot.
struct Sysctl {
  std::string file;  // "kernel/shmmax"
  std::string value;
};

// A program that runs inside to its end before the first one does (hooks.startContainer): as the first one would, with this environment and nothing else of it.
struct StartHook {
  std::string path;
  std::vector<std::string> argv;         // empty: the path
  std::vector<std::string> environment;
  uint32_t timeout_seconds = 0;          // then it is killed, and the start fails; 0: never
};

// One instruction of classic BPF, as struct sock_filter.
struct FilterInstruction {
  uint16_t code = 0;
  uint8_t if_true = 0;
  uint8_t if_false = 0;
  uint32_t value = 0;
};

// The base is the first program.
struct BootConfig : Program {
  // Descriptors. -1: not there.
  int gofer_fd = -1;    // SOCK_SEQPACKET or stream socket of the gofer's channel (gofer/protocol)
  int control_fd = -1;  // SOCK_SEQPACKET socket to the runner: sentry/boot/control.h
  int log_fd = -1;      // where Log() and --strace go
  int stats_fd = -1;    // write end of a pipe: one StatsReport (sentry/boot/control.h) at the end; -1 = not wanted
  std::vector<int> platform_fds;  // what the platform needs from the host (kvm: /dev/kvm); empty for ptrace
  std::vector<DonatedFile> files;

  bool container = false;  // a container of runsc: serves control connections, and runs the first program only when it is told to (kStart); that
                           // is protected from signals as the first process of a PID namespace
  bool program_must_exist = false;  // containers: whether it can be found is looked at before kReady, not only at kStart
  std::string hostname;
  std::string domainname;
  std::vector<Mount> mounts;
  std::vector<DeviceNode> devices;
  std::vector<std::string> masked_paths;    // covered, if they are there: an empty read-only directory, or /dev/null
  std::vector<std::string> readonly_paths;  // made read-only, if they are there
  std::vector<Sysctl> sysctls;
  std::vector<StartHook> start_hooks;       // containers: in this order
  std::string hook_state_before, hook_state_after;  // what they read: the container's state, with the number of its first process in between
  std::vector<FilterInstruction> filter;    // of every program that is started from outside (linux.seccomp); empty: none
  Limits limits;

  bool host_clock_is_tsc = false;  // what HostClockIsTsc() (runner/sandbox/caller.h) said: the kernel has no /sys any more
  std::string platform;   // name in the registry; "" = the best that works here
  bool strace = false;
  std::string strace_set;  // "" = all; else comma-separated names and %classes, as strace -e trace=
  int log_level = 3;      // rampart::LogLevel
};

// What the runner lends to the kernel: code that lives above it.
struct BootHooks {
  // Installs the Sentry's seccomp filter: called once, on the main thread, when everything that needs the host is made (platform, memory
  // file, channels, poller) and before any application instruction. The filter must reach every thread of the process (TSYNC).
  // Returns what failed, for people; empty: confined. Null in tests that run unconfined.
  std::function<std::string(const platform::PlatformInfo& platform)> confine;
};

// Builds the kernel, confines the process by the seccomp filter, runs the first program, and returns when the sandbox is over.
//
// REQUIRES: the calling thread is the process's only one; control messages have not been read.
// Tells the runner over control_fd what happened (kStarted or kStartFailed, then kExited); the return value is only the exit status of
// the sentry process: 0 when a result was sent, 1 when the runner must find out by itself (the reason has been logged).
int RunSandbox(const BootConfig& config, const BootHooks& hooks);

}  // namespace rampart::sentry::boot
