// Children, what they leave behind, and the settings that they inherit.
#include <fcntl.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/differential/operations.h"

namespace differential {

ForkRequest fork_request;

namespace {

void Fork(World& w, Rng& r) {
  if (w.depth >= 2) return;
  fork_request.count = 1 + static_cast<int>(r.Below(12));
  fork_request.end = r.OneIn(4) ? 1 : 0;
  fork_request.status = fork_request.end == 1 ? r.Pick({SIGKILL, SIGTERM, SIGHUP}) : static_cast<int>(r.Below(300));
}

// A child that does nothing until it is killed.
void Park(World& w, Rng&) {
  if (w.depth > 0) return;
  const int child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTERM, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    for (;;) pause();
  }
  w.AddChild(child);
  w.Say(child > 0 ? 0 : -1, "park %s", w.PidName(child).c_str());
}

void KillChild(World& w, Rng& r) {
  const int child = w.Child(r);
  if (child == 0) return;
  int signal = r.Pick({SIGSTOP, SIGCONT, SIGKILL, 0, SIGTERM});
  siginfo_t info{};
  // Only one that is there, and not stopped or dead already: then it is certain what can be waited for.
  const bool ours = waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0, alive = ours && info.si_pid == 0;
  // A sibling of ours cannot be waited for here, and its end or stop reaches our parent before or after our own end, or together with it.
  if (!ours && kill(child, 0) == 0) signal = 0;
  siginfo_t stop{};
  const bool stopped = alive && waitid(P_PID, static_cast<id_t>(child), &stop, WSTOPPED | WNOHANG | WNOWAIT) == 0 && stop.si_pid != 0;
  if (signal == SIGTERM && stopped) return;
  if (signal == SIGCONT && !stopped) return;  // a child whose stop was reported already may be running or not
  const int result = kill(child, signal);
  w.Say(result, "kill(%s, %d)", w.PidName(child).c_str(), signal);
  if (result != 0 || !alive) return;
  if (signal == SIGSTOP && !stopped) w.WaitForChange(child, WSTOPPED | WEXITED);
  if (signal == SIGCONT) {
    w.WaitForChange(child, WCONTINUED | WEXITED);
    usleep(3000);  // waitid(2) sees it at once, SIGCHLD comes when the child runs
  }
  if (signal == SIGKILL || signal == SIGTERM) w.WaitForChange(child, WEXITED);
}

void Wait4(World& w, Rng& r) {
  const int child = r.OneIn(3) ? -1 : r.OneIn(10) ? getpid() : w.Child(r);
  if (child == 0) return;
  const int options = WNOHANG | (r.OneIn(2) ? WUNTRACED : 0) | (r.OneIn(2) ? WCONTINUED : 0) | (r.OneIn(20) ? 0x100 : 0);
  int status = 0;
  rusage usage{};
  const int result = wait4(child, &status, options, r.OneIn(2) ? &usage : nullptr);
  w.Say(result > 0 ? 1 : result, "wait4(%s, %#x)", w.PidName(child).c_str(), static_cast<unsigned>(options));
  if (result > 0) w.Note("%s %#x", w.PidName(result).c_str(), static_cast<unsigned>(status));
}

void Waitid(World& w, Rng& r) {
  const int child = w.Child(r);
  const idtype_t type = r.Pick({P_PID, P_PID, P_ALL});
  const int options = WNOHANG | (r.OneIn(4) ? WNOWAIT : 0) | (r.OneIn(2) ? WSTOPPED : 0) | (r.OneIn(2) ? WCONTINUED : 0) | (r.OneIn(8) ? 0 : WEXITED);
  siginfo_t info{};
  const int result = waitid(type, static_cast<id_t>(child), &info, options);
  w.Say(result, "waitid(%d, %s, %#x)", static_cast<int>(type), w.PidName(child).c_str(), static_cast<unsigned>(options));
  if (result == 0 && info.si_pid != 0)
    w.Note("%s signal %d code %d status %d uid %u", w.PidName(info.si_pid).c_str(), info.si_signo, info.si_code, info.si_status, info.si_uid);
}

void Prctl(World& w, Rng& r) {
  char name[32] = {};
  switch (r.Below(9)) {
    case 0: return w.Say(prctl(PR_SET_NAME, r.Pick({"short", "a name that is too long for it"})), "prctl(PR_SET_NAME)");
    case 1: w.Say(prctl(PR_GET_NAME, name), "prctl(PR_GET_NAME)"); return w.Note("%s", name);
    case 2: {
      const int value = r.Pick({0, 1, 2, 3});
      return w.Say(prctl(PR_SET_DUMPABLE, value & 1 ? 1 : value), "prctl(PR_SET_DUMPABLE, %d)", value);
    }
    case 3: {
      const int value = r.Pick({0, SIGUSR1, 65});
      int got = -1;
      w.Say(prctl(PR_SET_PDEATHSIG, value), "prctl(PR_SET_PDEATHSIG, %d)", value);
      (void)prctl(PR_GET_PDEATHSIG, &got);
      return w.Note("%d", got);
    }
    case 4: return w.Say(prctl(r.OneIn(2) ? PR_SET_CHILD_SUBREAPER : PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(subreaper or keepcaps)");
    case 5: {
      const unsigned long slack = r.Pick({1UL, 50000UL, 100000UL});
      w.Say(prctl(PR_SET_TIMERSLACK, slack), "prctl(PR_SET_TIMERSLACK, %lu)", slack);
      return w.Say(prctl(PR_GET_TIMERSLACK), "prctl(PR_GET_TIMERSLACK)");
    }
    case 6: return w.Say(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, r.OneIn(4) ? 1 : 0), "prctl(PR_SET_NO_NEW_PRIVS)");
    case 7: return w.Say(prctl(PR_GET_KEEPCAPS), "prctl(PR_GET_KEEPCAPS)");
    default: return w.Say(prctl(r.Pick({PR_GET_NO_NEW_PRIVS, PR_GET_SECCOMP, 9999, PR_GET_TIMING, PR_GET_THP_DISABLE, PR_GET_SECUREBITS}), 0, 0, 0, 0), "prctl(get)");
  }
}

void Limits(World& w, Rng& r) {
  const int resource = r.Pick<int>({RLIMIT_FSIZE, RLIMIT_FSIZE, RLIMIT_MEMLOCK, RLIMIT_NICE, RLIMIT_RTPRIO, RLIMIT_MSGQUEUE, 99});
  rlimit limit{}, old{};
  limit.rlim_cur = r.Pick<rlim_t>({10000, 20000, 65536, RLIM_INFINITY, RLIM_INFINITY});
  limit.rlim_max = r.OneIn(30) ? 1 << 20 : RLIM_INFINITY;
  if (resource != RLIMIT_FSIZE) limit.rlim_max = 1 << 20;
  const bool set = r.OneIn(2) && resource != RLIMIT_MSGQUEUE && resource != RLIMIT_RTPRIO && resource != RLIMIT_NICE;
  const int result = prlimit(0, static_cast<__rlimit_resource>(resource), set ? &limit : nullptr, &old);
  w.Say(result, "prlimit(%d, %ld, %ld)", resource, set ? static_cast<long>(limit.rlim_cur) : -7, static_cast<long>(limit.rlim_max));
  if (result == 0 && resource == RLIMIT_FSIZE) w.Note("%ld %ld", static_cast<long>(old.rlim_cur), static_cast<long>(old.rlim_max));
}

void Identity(World& w, Rng& r) {
  if (!w.privileged) return;
  const auto id = r.Pick({0, 0, 1000, 1001, -1});
  switch (r.Below(6)) {
    case 0: w.Say(syscall(SYS_setresuid, -1, id, -1), "seteuid(%d)", id); break;
    case 1: w.Say(syscall(SYS_setresgid, -1, id, -1), "setegid(%d)", id); break;
    case 2: w.Say(setfsuid(static_cast<uid_t>(id)), "setfsuid(%d)", id); break;
    case 3: w.Say(setfsgid(static_cast<gid_t>(id)), "setfsgid(%d)", id); break;
    case 4:
      if (w.depth == 0) return;
      w.Say(syscall(SYS_setresuid, id, id, id), "setresuid(%d)", id);
      break;
    default: {
      gid_t groups[2] = {1000, 1002};
      const size_t count = r.Below(3);
      w.Say(syscall(SYS_setgroups, count, groups), "setgroups(%zu)", count);
    }
  }
  w.Note("now %u %u", geteuid(), getegid());
}

void Scheduling(World& w, Rng& r) {
  switch (r.Below(5)) {
    case 0: {
      const int nice_to = r.Pick({0, 1, 5, 25});
      w.Say(setpriority(PRIO_PROCESS, 0, nice_to), "setpriority(%d)", nice_to);
      return w.Say(syscall(SYS_getpriority, PRIO_PROCESS, 0), "getpriority()");
    }
    case 1: {
      sched_param parameter{};
      parameter.sched_priority = r.OneIn(8) ? 1 : 0;
      const int policy = r.Pick({SCHED_OTHER, SCHED_BATCH, SCHED_BATCH, 77});
      w.Say(sched_setscheduler(0, policy, &parameter), "sched_setscheduler(%d, %d)", policy, parameter.sched_priority);
      return w.Say(sched_getscheduler(0), "sched_getscheduler()");
    }
    case 2: return w.Say(sched_get_priority_max(r.Pick({0, 1, 2, 3, 5, 6, 99})), "sched_get_priority_max()");
    case 3: {
      itimerval value{};
      const int which = r.Pick<int>({ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF, 7});
      return w.Say(getitimer(static_cast<__itimer_which>(which), &value), "getitimer(%d)", which);
    }
    default: return w.Say(syscall(SYS_personality, 0xffffffffUL), "personality()");
  }
}

void Groups(World& w, Rng& r) {
  const int child = w.Child(r);
  switch (r.Below(4)) {
    case 0: {
      const int group = getpgid(0);
      return w.Note("group %s", w.PidName(group).c_str());
    }
    case 1: return w.Say(setpgid(0, r.Pick({0, 0, -1})), "setpgid(0)");
    case 2: {
      const int session = getsid(0);
      return w.Note("session %s", w.PidName(session).c_str());
    }
    default:
      if (child == 0) return;
      return w.Say(getpgid(child) > 0 ? 0 : -1, "getpgid(%s)", w.PidName(child).c_str());
  }
}

void Pidfd(World& w, Rng& r) {
  w.MakeRoom(r);
  const int child = r.OneIn(4) ? getpid() : w.Child(r);
  if (child == 0) return;
  const unsigned flags = r.Pick<unsigned>({0, 0, O_NONBLOCK, 1});
  const auto fd = static_cast<int>(syscall(SYS_pidfd_open, child, flags));
  w.Say(fd, "pidfd_open(%s, %#x)", w.PidName(child).c_str(), flags);
  w.Keep(fd);
  if (fd < 0) return;
  w.Say(syscall(SYS_pidfd_send_signal, fd, 0, nullptr, 0), "pidfd_send_signal(%d, 0)", fd);
  const int other = w.Fd(r);
  if (!r.OneIn(4) || child != getpid()) return;
  const auto got = static_cast<int>(syscall(SYS_pidfd_getfd, fd, other, 0));
  w.Say(got, "pidfd_getfd(%d, %d)", fd, other);
  w.Keep(got);
}

// What a new program finds: the descriptors, the mask, what is ignored.
void Exec(World& w, Rng&) {
  if (w.depth > 0) return;
  const int child = fork();
  if (child == 0) {
    execl("/proc/self/exe", "differential", "--state", static_cast<char*>(nullptr));
    _exit(127);
  }
  w.AddChild(child);
  w.Say(child > 0 ? 0 : -1, "fork, exec %s", w.PidName(child).c_str());
  if (child > 0) w.WaitForChange(child, WEXITED);
}

constexpr Operation kOperations[] = {
    {"fork", 8, Fork},     {"park", 2, Park},     {"kill_child", 6, KillChild}, {"wait4", 8, Wait4},           {"waitid", 8, Waitid}, {"prctl", 4, Prctl},
    {"limits", 3, Limits}, {"identity", 4, Identity}, {"scheduling", 2, Scheduling}, {"groups", 2, Groups}, {"pidfd", 4, Pidfd},   {"exec", 1, Exec},
};

}  // namespace

std::span<const Operation> ProcessOperations() { return kOperations; }

}  // namespace differential
