// Where a stub process keeps what is ours: the last pages of user space, above everything an application can map. Shared with stub.S.
//
// A stub process shows exactly three things outside the application's own mappings:
//   code      read+execute, the routines of stub.S
//   commands  read-only, the mapping calls that the next batch runs; written by the Sentry through the control memfd
//   control   only in the pristine stub, and in a new stub until its first batch: requests to the pristine stub and its answers
#pragma once

#define STUB_PAGE 0x1000
#define STUB_CODE 0x7fffffff0000
#define STUB_COMMANDS 0x7fffffff1000
#define STUB_COMMANDS_SIZE 0x4000
#define STUB_CONTROL 0x7fffffff8000
// The end of user space: TASK_SIZE of x86-64 with four levels; with five levels nothing is mapped above it unless asked for.
#define STUB_USER_END 0x7ffffffff000

// Layout of the control memfd: code page, control page, then one slot of commands per stub process.
#define STUB_FILE_CODE 0
#define STUB_FILE_CONTROL STUB_PAGE
#define STUB_FILE_SLOTS (2 * STUB_PAGE)

// struct Control.
#define CONTROL_REQUEST 0
#define CONTROL_DONE 4
#define CONTROL_ERROR 8
#define CONTROL_PID 12
#define CONTROL_TID 16
#define CONTROL_PPID 20
#define CONTROL_SLOT 24

#define STUB_COMMAND_SIZE 56

// A new stub process: shares the Sentry's descriptors and is the Sentry's child, so that the Sentry reaps it.
// CLONE_FILES | CLONE_PARENT | CLONE_PARENT_SETTID; the exit signal is the pristine stub's (none).
#define STUB_CLONE_PROCESS 0x00108400
// A new thread in a stub process: CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM.
#define STUB_CLONE_THREAD 0x00050f00
// The same with CLONE_PARENT_SETTID.
#define STUB_CLONE_FIRST_THREAD 0x00150f00

#ifndef __ASSEMBLER__
#include <cstddef>
#include <cstdint>

namespace rampart::platform::ptrace {

// One host system call for the batch routine.
struct Command {
  uint64_t number;
  uint64_t args[6];
};
static_assert(sizeof(Command) == STUB_COMMAND_SIZE);
inline constexpr size_t kMaxCommands = STUB_COMMANDS_SIZE / sizeof(Command);

// The conversation between the Sentry and the pristine stub. No application code ever runs where this page is mapped.
struct Control {
  uint32_t request;      // number of the latest request; the pristine stub waits on it
  uint32_t done;         // number of the latest request that was answered; the Sentry waits on it
  int32_t error;         // answer: 0 or a positive errno
  int32_t pid;           // answer: the new process
  int32_t tid;           // answer: its first thread for application code
  int32_t ppid;          // the Sentry's pid; a stub born to another parent ends at once
  uint64_t slot_offset;  // request: where in the memfd the new process finds its commands
};
static_assert(offsetof(Control, done) == CONTROL_DONE && offsetof(Control, error) == CONTROL_ERROR && offsetof(Control, pid) == CONTROL_PID);
static_assert(offsetof(Control, tid) == CONTROL_TID && offsetof(Control, ppid) == CONTROL_PPID && offsetof(Control, slot_offset) == CONTROL_SLOT);

}  // namespace rampart::platform::ptrace

// Labels in stub.S; the bytes between begin and end are copied to the memfd and never run in the Sentry.
extern "C" {
extern const char rampart_stub_begin[];
extern const char rampart_stub_enter[];    // first code of the pristine stub, at a temporary address
extern const char rampart_stub_batch[];    // runs rax.. see stub.S; ends in int3
extern const char rampart_stub_batch_done[];
extern const char rampart_stub_sibling[];  // clones a thread that parks; ends in int3 with the tid or -errno in rax
extern const char rampart_stub_sibling_done[];
extern const char rampart_stub_park[];     // sleeps for ever
extern const char rampart_stub_exit[];     // ends the thread
extern const char rampart_stub_end[];
}

namespace rampart::platform::ptrace {
// The address in a stub process of a label of stub.S.
inline uint64_t StubAddress(const char* label) { return STUB_CODE + static_cast<uint64_t>(label - rampart_stub_begin); }
}  // namespace rampart::platform::ptrace
#endif
