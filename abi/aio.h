// Asynchronous I/O of Linux: io_setup(2) and its like, and the ring that they share with the application.
#pragma once

#include <cstdint>

namespace rampart::abi {

inline constexpr uint16_t kIocbPread = 0, kIocbPwrite = 1, kIocbFsync = 2, kIocbFdsync = 3, kIocbPoll = 5, kIocbPreadv = 7, kIocbPwritev = 8;
inline constexpr uint32_t kIocbFlagResfd = 1, kIocbFlagIoprio = 2;

struct Iocb {
  uint64_t data;
  uint32_t key, rw_flags;
  uint16_t opcode;
  int16_t priority;
  uint32_t fd;
  uint64_t buffer, length;
  int64_t offset;
  uint64_t reserved;
  uint32_t flags, result_fd;
};
static_assert(sizeof(Iocb) == 64);

struct IoEvent {
  uint64_t data, object;
  int64_t result, result2;
};
static_assert(sizeof(IoEvent) == 32);

// The head of the ring; events follow. The application may take events by itself, moving `head`.
struct AioRing {
  uint32_t id, count, head, tail, magic, compatible, incompatible, header_length;
};
static_assert(sizeof(AioRing) == 32);
inline constexpr uint32_t kAioRingMagic = 0xa10a10a1;

}  // namespace rampart::abi
