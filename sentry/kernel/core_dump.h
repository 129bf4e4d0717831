// Core dumps (core(5); Linux fs/coredump.c, fs/binfmt_elf.c: elf_core_dump): what a process leaves that dies of a signal.
//
// Model. The thread that takes the signal begins the end of the process and waits until every other thread has come to the beginning of its own
// exit, where it leaves its registers in the CoreDump and waits in turn. Then it writes the file, as itself: an ELF core with the notes that
// debuggers read. What is not resident of anonymous memory becomes a hole. SIGKILL ends it early, RLIMIT_CORE bounds it.
// The file is "core" in the process's working directory, as the fixed /proc/sys/kernel/core_pattern says; what is dumped is that of
// coredump_filter's default (0x33), which is fixed too.
// Locks: `threads` and ThreadGroup::core_ are guarded by the group's signal_mu_.
#pragma once

#include <cstddef>
#include <vector>

#include "abi/regs.h"
#include "abi/signal.h"

namespace rampart::kernel {

class Task;
class ThreadGroup;

struct CoreThread {
  int tid = 0;
  abi::UserRegs regs{};
  std::vector<std::byte> xstate;
  abi::SigSet pending = 0, blocked = 0;
  int64_t user_time = 0, system_time = 0;  // ns
};

class CoreDump {
 public:
  // The thread that takes `info` by default. True: a core was begun; the process's wait status says so. Afterwards the process ends.
  static bool Write(Task& task, const abi::SigInfo& info);
  // The beginning of each thread's exit: takes part in the dump of its process, if there is one.
  static void Join(Task& task);
  Task& dumper() const { return dumper_; }

 private:
  explicit CoreDump(Task& dumper) : dumper_(dumper) {}
  static CoreThread Describe(Task& task);
  static bool Wanted(Task& task);
  static bool Gather(Task& task, const abi::SigInfo& info, CoreDump& dump);
  static void Finish(Task& task, bool written);
  static bool Killed(Task& task);
  bool WriteFile(const abi::SigInfo& info);

  Task& dumper_;
  std::vector<CoreThread> threads_;  // the dumper first
};

}  // namespace rampart::kernel
