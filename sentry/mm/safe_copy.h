// Copies that survive SIGSEGV and SIGBUS: for windows of host files that somebody else may truncate.
//
// Model. A few assembly routines whose addresses are known; the signal handler recognises a fault inside one of them and makes it return early.
// Other faults go to the handler that was there before, or kill the process as usual.
// Thread safety: all functions from any thread. Async-signal-safe after installation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace rampart::mm {

// Installs the handlers for SIGSEGV and SIGBUS. Idempotent; MemoryFile::Create's callers need not care: MemoryManager::Create does it.
void InstallSafeCopy();

// Bytes copied before the first fault (n if none).
size_t SafeCopy(void* to, const void* from, size_t n);
// Bytes zeroed before the first fault.
size_t SafeZero(void* to, size_t n);
// Atomic operations on an aligned word; nothing on a fault.
std::optional<uint32_t> SafeLoad32(const uint32_t* at);
// Stores `desired` if the word is `expected`; returns the old value.
std::optional<uint32_t> SafeCompareExchange32(uint32_t* at, uint32_t expected, uint32_t desired);

}  // namespace rampart::mm
