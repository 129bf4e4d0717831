// differential SEED COUNT: carries out the random program of COUNT calls that SEED stands for, and prints a line a call.
//
//   --dir DIR         where it works, in a new directory (default: the current one)
//   --programs N      the programs of N seeds, from SEED on
//   --keep LIST       only these of its calls ("0-40,55"), each as it would be in the whole program
//   --only FAMILIES   only operations of these families ("files,pipes")
//
// The same seed prints the same lines on every kernel that behaves the same: nothing depends on time, on numbers that a kernel hands out, or on
// who runs when. Each operation draws from a generator of its own, so that leaving some out (--keep) changes the others only through their effects.
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tests/differential/operations.h"

namespace differential {
namespace {

struct Options {
  uint64_t seed = 1;
  int count = 100;
  int programs = 1;
  std::string directory = ".";
  std::string keep;
  std::string only;
};

class Program {
 public:
  Program(const Options& options, uint64_t seed) : options_(options), seed_(seed), kept_(static_cast<size_t>(options.count), options.keep.empty()) {
    const std::pair<const char*, std::span<const Operation>> families[] = {
        {"files", FileOperations()},     {"names", NameOperations()},     {"attributes", AttributeOperations()}, {"descriptors", DescriptorOperations()},
        {"pipes", PipeOperations()},     {"sockets", SocketOperations()}, {"memory", MemoryOperations()},        {"signals", SignalOperations()},
        {"processes", ProcessOperations()}, {"ipc", IpcOperations()}};
    for (const auto& [name, operations] : families) {
      if (!options.only.empty() && ("," + options.only + ",").find("," + std::string(name) + ",") == std::string::npos) continue;
      for (const Operation& operation : operations)
        for (unsigned i = 0; i < operation.weight; ++i) choices_.push_back(&operation);
    }
    ParseKeep();
  }

  void Run(World& world) {
    RunRange(world, 0, options_.count);
    world.Note("signals:");
    world.PrintSignals();
    world.EndLine();
    world.Note("area:");
    world.PrintArea();
    world.EndLine();
    world.PrintDescriptors();
    if (setegid(0) != 0 || seteuid(0) != 0) world.Note("as an ordinary user");
    world.Note("the tree:");
    world.EndLine();
    world.PrintTree();
  }

 private:
  void ParseKeep() {
    const char* at = options_.keep.c_str();
    while (*at != 0) {
      char* end = nullptr;
      const long from = strtol(at, &end, 10);
      const long to = *end == '-' ? strtol(end + 1, &end, 10) : from;
      for (long i = from; i <= to && i < options_.count; ++i)
        if (i >= 0) kept_[static_cast<size_t>(i)] = true;
      at = *end == ',' ? end + 1 : "";
    }
  }

  void RunRange(World& world, int from, int to) {
    for (int i = from; i < to; ++i) {
      if (!kept_[static_cast<size_t>(i)]) continue;
      Rng rng(seed_ * 0x9e3779b97f4a7c15 + static_cast<uint64_t>(i) * 0xd1b54a32d192ed03);
      (void)rng.Next();
      const Operation& operation = *choices_[rng.Below(choices_.size())];
      world.StartLine(i);
      fork_request = {};
      operation.run(world, rng);
      if (fork_request.count > 0) {
        const int end = std::min(to, i + 1 + fork_request.count);
        ForkHere(world, i + 1, end);
        i = end - 1;
      } else {
        world.EndLine();
      }
    }
  }

  // The child does the calls from `from` to `to`; the parent goes on when it has ended, and leaves it to be waited for.
  void ForkHere(World& world, int from, int to) {
    const ForkRequest request = fork_request;
    const int child = fork();
    if (child == 0) {
      ++world.depth;
      world.Note("in a child");
      world.EndLine();
      RunRange(world, from, to);
      if (request.end == 1) {
        signal(request.status, SIG_DFL);
        kill(getpid(), request.status);
      }
      _exit(request.status);
    }
    if (child > 0) world.WaitForChange(child, WEXITED);
    world.StartLine(to - 1);
    world.AddChild(child);
    world.Say(child > 0 ? 0 : -1, "fork ended, %s", world.PidName(child).c_str());
    world.EndLine();
  }

  const Options& options_;
  uint64_t seed_;
  std::vector<bool> kept_;
  std::vector<const Operation*> choices_;
};

int RemoveOne(const char* path, const struct stat*, int, struct FTW*) {
  (void)remove(path);
  return 0;
}

int MakeAccessible(const char* path, const struct stat*, int type, struct FTW*) {
  if (type == FTW_D || type == FTW_DNR) (void)chmod(path, 0755);
  return 0;
}

void RemoveObjects(int keys) {
  for (int i = 0; i < 2; ++i) {
    if (const int id = msgget(keys + i, 0); id >= 0) msgctl(id, IPC_RMID, nullptr);
    if (const int id = semget(keys + i, 0, 0); id >= 0) semctl(id, 0, IPC_RMID);
    if (const int id = shmget(keys + i, 0, 0); id >= 0) shmctl(id, IPC_RMID, nullptr);
    mq_unlink(("/differential." + std::to_string(keys) + "." + std::to_string(i)).c_str());
  }
}

// One program in a process of its own, which is stopped if it does not end.
void RunOne(const Options& options, uint64_t seed) {
  std::string top = options.directory + "/p" + std::to_string(seed);
  const int keys = 0x5a000000 | (getpid() & 0xfffff) << 4;
  if (mkdir(top.c_str(), 0777) != 0) {
    perror(top.c_str());
    exit(2);
  }
  (void)chmod(top.c_str(), 0777);
  printf("seed %lu\n", seed);
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    setsid();
    static World world;
    world.Enter(seed, keys, top);
    Program(options, seed).Run(world);
    _exit(0);
  }
  int status = -1;
  for (int i = 0; waitpid(child, &status, WNOHANG) == 0; ++i) {
    usleep(i < 100 ? 500 : 20000);
    if (i < 1500) continue;
    kill(child, SIGKILL);
    printf("stuck\n");
  }
  kill(-child, SIGKILL);
  printf("ended %#x\n", static_cast<unsigned>(status));
  fflush(stdout);
  RemoveObjects(keys);
  nftw(top.c_str(), MakeAccessible, 32, FTW_PHYS);
  nftw(top.c_str(), RemoveOne, 32, FTW_DEPTH | FTW_PHYS);
}

// What a program that was started by another finds.
void ShowState() {
  static World world;
  world.Note("exec:");
  for (int fd = World::kFirstFd; fd <= World::kLastFd; ++fd)
    if (const int flags = fcntl(fd, F_GETFL); flags != -1) world.Note("%d:%#x", fd, static_cast<unsigned>(flags));
  world.PrintSignals();
  world.EndLine();
}

}  // namespace
}  // namespace differential

int main(int argc, char** argv) {
  differential::Options options;
  int given = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--state") {
      differential::ShowState();
      return 0;
    }
    if (argument.starts_with("--") && i + 1 < argc) {
      if (argument == "--dir") options.directory = argv[++i];
      else if (argument == "--programs") options.programs = atoi(argv[++i]);
      else if (argument == "--keep") options.keep = argv[++i];
      else if (argument == "--only") options.only = argv[++i];
      else given = 9;
    } else if (given++ == 0) {
      options.seed = strtoull(argv[i], nullptr, 10);
    } else {
      options.count = atoi(argv[i]);
    }
  }
  if (given != 2 || options.count < 1) {
    fprintf(stderr, "usage: differential SEED COUNT [--dir DIR] [--programs N] [--keep LIST] [--only FAMILIES]\n");
    return 2;
  }
  char here[4096];
  if (options.directory[0] != '/' && getcwd(here, sizeof(here)) != nullptr) options.directory = std::string(here) + "/" + options.directory;
  for (int i = 0; i < options.programs; ++i) differential::RunOne(options, options.seed + static_cast<uint64_t>(i));
  return 0;
}
