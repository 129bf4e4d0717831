#include "runner/seccomp/install.h"

#include <malloc.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <thread>

#include "runner/seccomp/compile.h"

namespace rampart::seccomp {

Result<void> Install(const Policy& policy) {
  Program program = Compile(policy);
  const sock_fprog prog{static_cast<unsigned short>(program.size()), program.data()};
  const long result = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
  if (result < 0) return ErrnoFromHost(errno);
  if (result > 0) return Errno::kESRCH;
  return Ok();
}

void PrimeAllocator() {
  // A fixed number of arenas keeps malloc from counting processors.
  ::mallopt(M_ARENA_MAX, 4);
  std::thread([] {
    // Below the mmap threshold and together above the trim threshold: freeing them shrinks this thread's arena.
    constexpr size_t kBlock = 64 << 10;
    std::array<void*, 8> blocks{};
    for (void*& block : blocks) block = std::malloc(kBlock);
    for (size_t i = blocks.size(); i-- > 0;) std::free(blocks[i]);
  }).join();
}

}  // namespace rampart::seccomp
