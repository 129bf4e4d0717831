// Random system calls with random arguments, by processes that die and are replaced. It knows nothing of Rampart: what it shows is
// that whoever runs it survives. It is destructive: it signals, unlinks, mounts and reboots whatever it may. So it runs as PID 1 only.
//   random_calls --really [--seed N] [--calls N] [--workers N] [--seconds N]      the whole thing
//   random_calls --really --one SEED [--calls N] [--trace]                        one worker with a seed that was printed
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/security/random_calls/raw_call.h"
#include "tests/security/random_calls/rng.h"
#include "tests/security/random_calls/worker.h"

namespace random_calls {
namespace {

struct Options {
  bool really = false;
  bool trace = false;
  bool verbose = false;
  uint64_t seed = 1;
  uint64_t one = 0;
  uint64_t calls = 100'000;
  uint64_t workers = 4;
  uint64_t seconds = 3600;
};

bool Parse(int argc, char** argv, Options& out) {
  for (int i = 1; i < argc; ++i) {
    const char* name = argv[i];
    if (std::strcmp(name, "--really") == 0) {
      out.really = true;
    } else if (std::strcmp(name, "--trace") == 0) {
      out.trace = true;
    } else if (std::strcmp(name, "--verbose") == 0) {
      out.verbose = true;
    } else if (i + 1 < argc) {
      const uint64_t value = std::strtoull(argv[++i], nullptr, 0);
      if (std::strcmp(name, "--seed") == 0) out.seed = value;
      else if (std::strcmp(name, "--one") == 0) out.one = value;
      else if (std::strcmp(name, "--calls") == 0) out.calls = value;
      else if (std::strcmp(name, "--workers") == 0) out.workers = value < kMaxWorkers ? value : kMaxWorkers;
      else if (std::strcmp(name, "--seconds") == 0) out.seconds = value;
      else return false;
    } else {
      return false;
    }
  }
  return true;
}

// Also the two signals that the C library keeps for itself.
void SetAction(int signal, void (*handler)(int)) {
  const uint64_t action[4] = {reinterpret_cast<uint64_t>(handler), 0, 0, 0};  // struct sigaction of the kernel
  RawCall(SYS_rt_sigaction, static_cast<uint64_t>(signal), reinterpret_cast<uint64_t>(action), 0, 8);
}

double Now() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

class Supervisor {
 public:
  explicit Supervisor(const Options& options) : options_(options), rng_(options.seed) {
    void* shared = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) std::abort();
    board_ = static_cast<Board*>(shared);
  }

  int Run() {
    IgnoreSignals();
    const double start = Now();
    for (uint64_t i = 0; i < options_.workers; ++i) Start(i);
    double reported = start;
    while (total_ < options_.calls && Now() - start < static_cast<double>(options_.seconds)) {
      ::usleep(4'000);
      Reap();
      for (uint64_t i = 0; i < options_.workers; ++i) Watch(i);
      if (options_.verbose && Now() - reported > 5) {
        reported = Now();
        Print(reported - start);
      }
    }
    Print(Now() - start);
    return 0;
  }

 private:
  // What the workers send must not end the run; their own handling is set up by RunWorker.
  static void IgnoreSignals() {
    for (int signal = 1; signal <= 64; ++signal) {
      if (signal != SIGCHLD) SetAction(signal, SIG_IGN);
    }
  }

  void Print(double seconds) {
    std::printf("random_calls: seed %lu: %lu calls in %.1f s; %lu workers: %lu exited, %lu died of a signal, %lu were stuck\n", options_.seed, total_, seconds,
                started_, exited_, signalled_, stuck_);
    std::fflush(stdout);
  }

  // Workers may trace each other, but not the process that ends them: it would stop for ever at its next signal.
  static void GiveUpTracing() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[2]{};
    if (::syscall(SYS_capget, &header, sets) != 0) return;
    constexpr uint32_t kNot = ~(uint32_t{1} << CAP_SYS_PTRACE);
    (void)::prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0);
    sets[0].effective &= kNot;
    sets[0].permitted &= kNot;
    sets[0].inheritable &= kNot;
    (void)::syscall(SYS_capset, &header, sets);
  }

  void Start(uint64_t i) {
    const uint64_t seed = rng_.Next();
    const uint64_t calls = 200 + rng_.Below(3000);
    (void)!::truncate("/tmp/a", 0);  // else they fill the memory
    (void)!::truncate("/tmp/b", 0);
    board_->slots[i].calls = 0;
    const pid_t child = ::fork();
    if (child == 0) {
      for (int signal = 1; signal <= 64; ++signal) SetAction(signal, SIG_DFL);
      GiveUpTracing();
      RunWorker({seed, calls, static_cast<int>(i), board_, /*keep_streams=*/false, options_.trace});
    }
    states_[i] = {child, 0, 0, Now(), 0};
    board_->pids[i] = child;
    ++started_;
  }

  void Reap() {
    int status = 0;
    for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      if (WIFSTOPPED(status)) {  // it asked to be traced by this process
        ::kill(pid, SIGKILL);
        continue;
      }
      for (uint64_t i = 0; i < options_.workers; ++i) {
        if (states_[i].pid != pid) continue;
        ++(WIFEXITED(status) ? exited_ : signalled_);
        Count(i);
        Start(i);
      }
    }
    for (uint64_t i = 0; i < options_.workers; ++i) {  // taken by a hostile wait, or never started
      if (states_[i].pid < 0 || (::kill(states_[i].pid, 0) != 0)) Start(i);
    }
  }

  void Count(uint64_t i) {
    const uint64_t calls = board_->slots[i].calls;
    if (calls > states_[i].seen && calls - states_[i].seen < 1'000'000) total_ += calls - states_[i].seen;  // else it was overwritten
    states_[i].seen = calls;
  }

  void Watch(uint64_t i) {
    State& state = states_[i];
    const uint64_t before = state.seen;
    Count(i);
    const double now = Now();
    if (state.seen != before) {
      state.since = now;
      state.poked = 0;
      return;
    }
    if (now - state.since > 2) {
      ++stuck_;
      ::kill(state.pid, SIGCONT);
      ::kill(state.pid, SIGKILL);
      state.since = now;
    } else if (now - state.since > 0.004 * (state.poked + 1)) {  // interrupts what it sleeps in
      ++state.poked;
      ::kill(state.pid, state.poked % 8 == 7 ? SIGCONT : SIGALRM);
    }
  }

  struct State {
    pid_t pid = -1;
    uint64_t seen = 0;
    uint64_t unused = 0;
    double since = 0;
    int poked = 0;
  };
  const Options options_;
  Rng rng_;
  Board* board_;
  State states_[kMaxWorkers] = {};
  uint64_t total_ = 0;
  uint64_t started_ = 0;
  uint64_t exited_ = 0;
  uint64_t signalled_ = 0;
  uint64_t stuck_ = 0;
};

}  // namespace
}  // namespace random_calls

int main(int argc, char** argv) {
  random_calls::Options options;
  if (!random_calls::Parse(argc, argv, options) || !options.really) {
    std::fprintf(stderr, "usage: random_calls --really [--seed N] [--calls N] [--workers N] [--seconds N] [--verbose] | --really --one SEED [--calls N] [--trace]\n");
    return 2;
  }
  if (::getpid() != 1) {
    std::fprintf(stderr, "random_calls: it would destroy this system: it runs as the first process of a sandbox only\n");
    return 2;
  }
  if (options.one != 0) {
    static random_calls::Board board;
    random_calls::RunWorker({options.one, options.calls, 0, &board, options.trace, options.trace});
  }
  std::printf("random_calls: seed %lu\n", options.seed);
  std::fflush(stdout);
  return random_calls::Supervisor(options).Run();
}
