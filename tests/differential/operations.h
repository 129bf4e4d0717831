// The operations that programs are made of, one table a family.
#pragma once

#include <span>

#include "tests/differential/world.h"

namespace differential {

std::span<const Operation> FileOperations();
std::span<const Operation> NameOperations();
std::span<const Operation> AttributeOperations();
std::span<const Operation> DescriptorOperations();
std::span<const Operation> PipeOperations();
std::span<const Operation> SocketOperations();
std::span<const Operation> MemoryOperations();
std::span<const Operation> SignalOperations();
std::span<const Operation> ProcessOperations();
std::span<const Operation> IpcOperations();

// A fork whose child carries out the next `count` operations of the program while its parent waits is asked for by an operation, and made by the program.
struct ForkRequest {
  int count = 0;     // 0: none is asked for
  int end = 0;       // 0: exits with `status`; 1: ends by signal `status`
  int status = 0;
};
extern ForkRequest fork_request;

}  // namespace differential
