// How --strace prints the arguments of well-known calls.
// Thread safety: pure functions; memory is read through UserMemory and every length in it is bounded.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "abi/sysno.h"
#include "sentry/mm/user_memory.h"

namespace rampart::strace {

enum class Format : uint8_t {
  kNone,       // no such argument
  kInt,        // 32 bits, signed
  kUint,       // 64 bits, unsigned
  kHex,
  kOctal,
  kPointer,
  kFd,
  kDirFd,
  kPath,
  kOpenFlags,
  kAtFlags,
  kBufferIn,   // length: the next argument
  kBufferOut,  // length: the result
  kIovIn,      // count: the next argument
  kIovOut,     // count: the next argument; bytes: the result
  kSockaddrIn, // length: the next argument
  kSockaddrOut,
  kSignal,
  kSigSetIn,
  kSigMaskHow,
  kTimespecIn,
  kTimespecOut,
  kProt,
  kMapFlags,
  kCloneFlags,
  kFutexOp,
  kWhence,
  kStringsIn,  // argv: a null-terminated array of strings
  kIntOut,
  kFdPairOut,
  kClockId,
  kSocketFamily,
  kSocketType,
  kFcntlCommand,
  kPollFds,    // count: the next argument
  kResource,
  kUint64Out,
};

// Null: no row; print by C++ types.
const std::array<Format, 6>* FormatsOf(uint32_t number);
// Whether it is filled by the call and so printed after it.
bool IsOutput(Format format);

struct PrintContext {
  std::span<const uint64_t, 6> args;
  size_t index;            // of the argument
  int64_t result;          // at exit; negative on error
  mm::UserMemory& memory;
};
void PrintArgument(std::string& out, Format format, const PrintContext& context);

// Pieces that others print too.
void PrintQuoted(std::string& out, std::span<const std::byte> bytes, bool shortened);
const char* SignalName(int signo);  // "SIGINT"; "SIG?" 

}  // namespace rampart::strace
