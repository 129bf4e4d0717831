// The small world that a random program lives in, and the lines that it prints about it: one a call, the same on every kernel that behaves the same.
#pragma once

#include <sys/mman.h>

#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/security/random_calls/rng.h"

namespace differential {

using random_calls::Rng;

// What a descriptor is, as fstat and /proc/self/fd tell; several may be asked for at once.
enum Kind : unsigned {
  kFile = 1,
  kDirectory = 2,
  kPipe = 4,
  kSocket = 8,
  kEvent = 16,
  kTimer = 32,
  kSignals = 64,
  kEpoll = 128,
  kInotify = 256,
  kMessages = 512,  // a POSIX queue
  kOther = 1024,
  kAnything = 2047,
};

// A buffer of the program, or a place in its area of memory (which may not be there).
struct Buffer {
  uint8_t* at = nullptr;
  size_t length = 0;
  std::string name;  // as printed
};

// A path as the program says it; `text` is what the call gets, `name` what is printed.
struct Path {
  std::string text;
  std::string name;
};

class World {
 public:
  static constexpr size_t kPage = 4096;
  static constexpr size_t kAreaPages = 48;
  static constexpr int kFirstFd = 3, kLastFd = 47;
  // A file that nobody writes: a pipe or socket that is sent a file's pages shows what is written to these before they are read.
  static constexpr int kLentFd = 60;

  // `keys` tells this program's System V keys and queue names from those of others on the machine; `top` is its directory. Never fails: exits instead.
  void Enter(uint64_t seed, int keys, const std::string& top);

  // ---- printing: `Say` names a call with its arguments, then its result, or errno's name if it is -1; `Note` adds to the same line.
  void Say(long result, const char* format, ...) __attribute__((format(printf, 3, 4)));
  void Note(const char* format, ...) __attribute__((format(printf, 2, 3)));
  // The length and hash of bytes; "fault" if they cannot all be read.
  void NoteBytes(const void* at, long length);
  void StartLine(int index);
  // With the signals that arrived since.
  void EndLine();

  // ---- descriptors
  int Fd(Rng& r, unsigned kinds = kAnything);  // mostly of these kinds; at times another, a closed one, or none at all
  void Keep(int fd);                             // after a call made it: finds its kind; -1 is ignored
  void Forget(int fd) { kinds_[fd < 0 || fd > kLastFd ? 0 : fd] = 0; }
  void MakeRoom(Rng& r);  // closes some when too many are open
  int DirectoryFd(Rng& r);
  unsigned KindOf(int fd) const { return fd >= kFirstFd && fd <= kLastFd ? kinds_[fd] : 0; }

  // ---- names, memory
  Path PathOf(Rng& r);
  std::string Shown(std::string text) const;  // what differs from one run to the next taken out of a path
  // Filled with bytes. Not one whose first byte faults, unless `may_fault`: Linux 6.15 and later lengthen a file of tmpfs by a write that fails so.
  Buffer Source(Rng& r, size_t length, bool may_fault = false);
  Buffer Target(Rng& r, size_t length);       // to be filled
  size_t Length(Rng& r);
  uint8_t* Area(size_t page) const { return area_ + page * kPage; }
  std::string AreaName(const void* at) const;
  // Whether this memory is pages of the file behind `fd` itself: what is then read or written changes while it is copied, in each kernel's own order.
  bool IsOf(int fd, const void* at, size_t length) const;
  // Whether it can be read at first and not to its end. How much of it TCP takes goes by where the kernel's current page fragment ends.
  bool IsCut(const void* at, size_t length);
  // False if `f` touched what may not be touched; `fault` then tells how.
  template <typename F>
  bool Guarded(F f);
  std::string fault;

  // ---- processes
  std::string PidName(int pid) const;
  void AddChild(int pid);
  int Child(Rng& r) const;  // a child, perhaps one that is gone; 0 if there never was one
  void WaitForChange(int pid, int options);  // until waitid would report it; reports nothing itself

  void PrintDescriptors();
  void PrintTree();
  void PrintArea();
  void PrintSignals();

  int keys = 0;
  int depth = 0;  // of forks below the program's first process
  bool privileged = false;
  // Which holes of a file a mapping fills ahead of its use, and whether what is allocated and not written is one, is a filesystem's own choice:
  // no SEEK_HOLE from then on, in the children that share the files neither.
  bool& vague_holes = *static_cast<bool*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

 private:
  void PrintTreeBelow(const std::string& path, int levels);

  unsigned kinds_[kLastFd + 1] = {};
  int children_[32] = {};
  int child_count_ = 0;
  int first_pid_ = 0;
  int first_parent_ = 0;
  uint8_t* area_ = nullptr;
  std::string top_;
  std::string line_;
};

// One step of a program.
struct Operation {
  const char* name;
  unsigned weight;
  void (*run)(World&, Rng&);
};

// How the handlers see signals (the sources of world.cc install them).
void InstallHandler(int signal, int flags, const sigset_t& mask);

extern sigjmp_buf guard_jump;
extern volatile sig_atomic_t guard_on;
extern char guard_text[64];

template <typename F>
bool World::Guarded(F f) {
  if (sigsetjmp(guard_jump, 1) != 0) {
    guard_on = 0;
    fault = guard_text;
    return false;
  }
  guard_on = 1;
  f();
  guard_on = 0;
  return true;
}

}  // namespace differential
