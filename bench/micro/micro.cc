// One static Linux program that times what a kernel is asked for most. bench/compare runs it natively, under sentry-run and under other
// runtimes, in one session, and prints ratios.
//
//   bench_micro [ROW…]     prints, per row: NAME NANOSECONDS_PER_OPERATION OPERATIONS   (the median of several batches)
//
// Files: the rows that need one use this program's own image, so nothing has to be prepared.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

namespace {

std::string self;  // path of this program

double Now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  std::exit(1);
}

void Getpid(long n) {
  for (long i = 0; i < n; ++i) syscall(SYS_getpid);
}

void Stat(long n) {
  struct stat st{};
  for (long i = 0; i < n; ++i) {
    if (stat(self.c_str(), &st) != 0) Die("stat");
  }
}

void OpenClose(long n) {
  for (long i = 0; i < n; ++i) {
    const int fd = open(self.c_str(), O_RDONLY);
    if (fd < 0) Die("open");
    close(fd);
  }
}

void Pread1(long n) {
  static const int fd = open(self.c_str(), O_RDONLY);
  char byte = 0;
  for (long i = 0; i < n; ++i) {
    if (pread(fd, &byte, 1, 0) != 1) Die("pread");
  }
}

// One operation is a byte there and a byte back between two processes.
void PipePingPong(long n) {
  int there[2];
  int back[2];
  if (pipe(there) != 0 || pipe(back) != 0) Die("pipe");
  const pid_t child = fork();
  if (child < 0) Die("fork");
  char byte = 0;
  if (child == 0) {
    close(there[1]);
    while (read(there[0], &byte, 1) == 1) {
      if (write(back[1], &byte, 1) != 1) _exit(1);
    }
    _exit(0);
  }
  close(there[0]);
  for (long i = 0; i < n; ++i) {
    if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) Die("ping-pong");
  }
  close(there[1]);
  waitpid(child, nullptr, 0);
  close(back[0]);
  close(back[1]);
}

void ForkWait(long n) {
  for (long i = 0; i < n; ++i) {
    const pid_t child = fork();
    if (child < 0) Die("fork");
    if (child == 0) _exit(0);
    if (waitpid(child, nullptr, 0) != child) Die("waitpid");
  }
}

void ForkExec(long n) {
  for (long i = 0; i < n; ++i) {
    const pid_t child = fork();
    if (child < 0) Die("fork");
    if (child == 0) {
      execl(self.c_str(), self.c_str(), "--exit", nullptr);
      _exit(127);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) Die("fork+exec");
  }
}

void ThreadCreateJoin(long n) {
  for (long i = 0; i < n; ++i) std::thread([] {}).join();
}

// One operation is the first touch of all pages of 64 MiB.
void Touch64MiB(long n) {
  constexpr size_t kSize = 64u << 20;
  for (long i = 0; i < n; ++i) {
    void* const area = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) Die("mmap");
    auto* const bytes = static_cast<volatile char*>(area);
    for (size_t at = 0; at < kSize; at += 4096) bytes[at] = 1;
    munmap(area, kSize);
  }
}

struct Row {
  const char* name;
  void (*run)(long n);
  long batch;    // operations per batch
  int batches;   // the median of these is reported
};

constexpr Row kRows[] = {
    {"getpid", Getpid, 2000, 9},          {"stat", Stat, 1000, 9},
    {"open_close", OpenClose, 500, 9},    {"pread_1", Pread1, 1000, 9},
    {"pipe_pingpong", PipePingPong, 500, 7}, {"fork_wait", ForkWait, 20, 7},
    {"fork_exec", ForkExec, 10, 7},       {"thread_create_join", ThreadCreateJoin, 100, 7},
    {"touch_64m", Touch64MiB, 1, 7},
};

void Measure(const Row& row) {
  row.run(std::max(1L, row.batch / 10));  // warm
  std::vector<double> samples;
  for (int i = 0; i < row.batches; ++i) {
    const double start = Now();
    row.run(row.batch);
    samples.push_back((Now() - start) / static_cast<double>(row.batch));
  }
  std::sort(samples.begin(), samples.end());
  std::printf("%s %.0f %ld\n", row.name, samples[samples.size() / 2], row.batch * row.batches);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--exit") == 0) return 0;
  char resolved[4096];
  if (realpath(argv[0], resolved) == nullptr) Die(argv[0]);
  self = resolved;
  for (const Row& row : kRows) {
    const bool wanted = argc == 1 || std::any_of(argv + 1, argv + argc, [&](const char* a) { return std::strcmp(a, row.name) == 0; });
    if (wanted) Measure(row);
  }
  return 0;
}
