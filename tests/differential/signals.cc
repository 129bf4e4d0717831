// Signals to the program itself: handlers, masks, queues.
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <ctime>

#include "tests/differential/operations.h"

namespace differential {
namespace {

int Signal(Rng& r) {
  const int real_time = SIGRTMIN;
  return r.Pick({SIGUSR1, SIGUSR1, SIGUSR2, real_time + 1, real_time + 1, real_time + 2, SIGURG, SIGCHLD, SIGPIPE});
}

sigset_t Set(Rng& r, unsigned long* shown) {
  sigset_t set;
  sigemptyset(&set);
  *shown = 0;
  for (const int signal : {SIGUSR1, SIGUSR2, SIGRTMIN + 1, SIGRTMIN + 2, SIGCHLD, SIGURG, SIGPIPE}) {
    if (!r.OneIn(2)) continue;
    sigaddset(&set, signal);
    *shown |= 1UL << (signal - 1);
  }
  return set;
}

void Kill(World& w, Rng& r) {
  const int signal = r.OneIn(20) ? r.Pick({0, 65, -1}) : Signal(r);
  switch (r.Below(4)) {
    case 0: return w.Say(kill(getpid(), signal), "kill(me, %d)", signal);
    case 1: return w.Say(syscall(SYS_tgkill, getpid(), getpid(), signal), "tgkill(me, me, %d)", signal);
    case 2: return w.Say(syscall(SYS_tkill, getpid(), signal), "tkill(me, %d)", signal);
    default: return w.Say(raise(signal), "raise(%d)", signal);
  }
}

void Queue(World& w, Rng& r) {
  const int signal = Signal(r);
  sigval value{};
  value.sival_int = static_cast<int>(r.Below(1000));
  if (r.OneIn(2)) return w.Say(sigqueue(getpid(), signal, value), "sigqueue(me, %d, %d)", signal, value.sival_int);
  siginfo_t info{};
  info.si_code = r.Pick<int>({SI_QUEUE, SI_USER, SI_TKILL, -60, 1});
  info.si_pid = getpid();
  info.si_value = value;
  w.Say(syscall(SYS_rt_sigqueueinfo, getpid(), signal, &info), "rt_sigqueueinfo(me, %d, %d, %d)", signal, info.si_code, value.sival_int);
}

void Mask(World& w, Rng& r) {
  unsigned long shown = 0;
  const sigset_t set = Set(r, &shown);
  const int how = r.Pick({SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK, SIG_UNBLOCK, 7});
  uint64_t old = 0;
  const long result = syscall(SYS_rt_sigprocmask, how, &set, &old, 8);
  w.Say(result, "sigprocmask(%d, %#lx)", how, shown);
  w.Note("%#lx", old);
}

void Action(World& w, Rng& r) {
  const int signal = r.OneIn(30) ? r.Pick({SIGKILL, SIGSTOP, 0, 65, 32}) : Signal(r);
  unsigned long shown = 0;
  const sigset_t set = Set(r, &shown);
  const bool may_default = signal == SIGCHLD || signal == SIGURG;
  struct sigaction old {};
  if (r.OneIn(4) || signal == SIGKILL || signal == SIGSTOP || signal < 1 || signal > 64) {
    struct sigaction action {};
    action.sa_handler = may_default && r.OneIn(2) ? SIG_DFL : SIG_IGN;
    action.sa_flags = r.OneIn(4) ? SA_NOCLDWAIT : 0;
    w.Say(sigaction(signal, &action, &old), "sigaction(%d, %s, %#x)", signal, action.sa_handler == SIG_DFL ? "default" : "ignore",
          static_cast<unsigned>(action.sa_flags));
  } else {
    const int flags = (r.OneIn(3) ? SA_RESTART : 0) | (r.OneIn(4) ? SA_NODEFER : 0) | (may_default && r.OneIn(6) ? static_cast<int>(SA_RESETHAND) : 0) |
                      (r.OneIn(6) ? SA_NOCLDSTOP : 0) | (r.OneIn(6) ? SA_NOCLDWAIT : 0) | (r.OneIn(6) ? SA_ONSTACK : 0);
    sigaction(signal, nullptr, &old);
    InstallHandler(signal, flags, set);
    w.Say(0, "sigaction(%d, handler, %#x, %#lx)", signal, static_cast<unsigned>(flags), shown);
  }
  w.Note("old %s %#x", old.sa_handler == SIG_DFL ? "default" : old.sa_handler == SIG_IGN ? "ignore" : "handler", static_cast<unsigned>(old.sa_flags));
}

void Pending(World& w, Rng&) {
  uint64_t set = 0;
  const long result = syscall(SYS_rt_sigpending, &set, 8);
  w.Say(result, "sigpending()");
  w.Note("%#lx", set);
}

void TimedWait(World& w, Rng& r) {
  unsigned long shown = 0;
  const sigset_t set = Set(r, &shown);
  siginfo_t info{};
  const timespec none{0, r.OneIn(20) ? 1'000'000'000 : 0};
  const int result = sigtimedwait(&set, &info, &none);
  w.Say(result, "sigtimedwait(%#lx)", shown);
  if (result > 0) w.Note("code %d from %s value %d", info.si_code, w.PidName(info.si_pid).c_str(), info.si_code == SI_QUEUE ? info.si_value.sival_int : 0);
}

// A signal that is pending already is what it waits for, so it never sleeps.
void Suspend(World& w, Rng& r) {
  uint64_t pending = 0;
  (void)syscall(SYS_rt_sigpending, &pending, 8);
  sigset_t set;
  sigemptyset(&set);
  for (int signal = 1; signal <= 64; ++signal)
    if ((pending >> (signal - 1) & 1) == 0 && signal != SIGSEGV && signal != SIGBUS && r.OneIn(2)) sigaddset(&set, signal);
  bool caught = false;
  for (int signal = 1; signal <= 64; ++signal) {
    struct sigaction action {};
    if ((pending >> (signal - 1) & 1) == 0 || sigaction(signal, nullptr, &action) != 0) continue;
    if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) caught = true;
  }
  if (!caught) return;
  w.Say(sigsuspend(&set), "sigsuspend()");
}

alignas(16) uint8_t g_stack[32768];

void AltStack(World& w, Rng& r) {
  stack_t stack{};
  stack.ss_sp = g_stack;
  stack.ss_size = r.Pick<size_t>({sizeof(g_stack), 16384, 100, 0});
  stack.ss_flags = r.Pick<int>({0, 0, SS_DISABLE, SS_ONSTACK, 77});
  stack_t old{};
  const int result = sigaltstack(&stack, &old);
  w.Say(result, "sigaltstack(%zu, %d)", stack.ss_size, stack.ss_flags);
  w.Note("old %zu %#x", old.ss_size, static_cast<unsigned>(old.ss_flags));
}

void Timers(World& w, Rng& r) {
  static timer_t timer;
  static bool made = false;
  itimerspec value{}, old{};
  switch (r.Below(3)) {
    case 0: {
      if (made) return;
      sigevent event{};
      event.sigev_notify = r.Pick({SIGEV_SIGNAL, SIGEV_NONE});
      event.sigev_signo = Signal(r);
      event.sigev_value.sival_int = 55;
      const int result = timer_create(r.Pick({CLOCK_MONOTONIC, CLOCK_REALTIME}), &event, &timer);
      made = result == 0;
      return w.Say(result, "timer_create(%d, %d)", event.sigev_notify, event.sigev_signo);
    }
    case 1: {
      if (!made) return;
      value.it_value.tv_sec = r.Pick<long>({0, 100000, 500000});
      w.Say(timer_settime(timer, 0, &value, &old), "timer_settime(%ld)", value.it_value.tv_sec);
      return w.Note("old %s", old.it_value.tv_sec > 0 ? "on" : "off");
    }
    default: {
      if (!made) return;
      made = false;
      w.Say(timer_getoverrun(timer), "timer_getoverrun()");
      return w.Say(timer_delete(timer), "timer_delete()");
    }
  }
}

void Show(World& w, Rng&) { w.PrintSignals(); }

constexpr Operation kOperations[] = {
    {"kill", 10, Kill},       {"queue", 8, Queue},      {"mask", 12, Mask},         {"action", 7, Action}, {"pending", 4, Pending}, {"timedwait", 6, TimedWait},
    {"suspend", 3, Suspend}, {"altstack", 2, AltStack}, {"timers", 3, Timers}, {"status", 3, Show},
};

}  // namespace

std::span<const Operation> SignalOperations() { return kOperations; }

}  // namespace differential
