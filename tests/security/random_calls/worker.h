// One hostile process: makes random calls until its share is done or something ends it.
#pragma once

#include <cstdint>

namespace random_calls {

constexpr int kMaxWorkers = 32;

// Shared between the supervisor and its workers; a worker may do to its view what it likes.
struct Slot {
  volatile uint64_t calls = 0;
};
struct Board {
  Slot slots[kMaxWorkers];
  volatile int32_t pids[kMaxWorkers] = {};
};

struct WorkerOptions {
  uint64_t seed = 0;
  uint64_t calls = 0;   // after this many calls it exits
  int slot = 0;
  Board* board = nullptr;
  bool keep_streams = false;  // else the standard streams become /dev/null
  bool trace = false;         // print each call to standard error before it is made
};

// Never returns.
[[noreturn]] void RunWorker(const WorkerOptions& options);

}  // namespace random_calls
