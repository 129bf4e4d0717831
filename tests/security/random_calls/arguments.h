// Random arguments of the right kind, and of the wrong one. All state is in the object and in mappings it made: no allocation, no C library.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/security/random_calls/rng.h"

namespace random_calls {

class Arguments {
 public:
  // Maps the pools: plain, read-only, inaccessible, half mapped, shared, and file pages of which the last lie beyond the file's end.
  void MapPools();
  // The processes that may be aimed at besides the usual ones.
  void SetPeers(const volatile int32_t* pids, size_t count) {
    peers_ = pids;
    peer_count_ = count;
  }
  // One argument of the kind that `letter` names (shapes.cc).
  uint64_t Make(Rng& rng, char letter);
  // Anything at all.
  uint64_t Anything(Rng& rng);
  // A page-aligned stack of 32 KiB or so for a thread; its top.
  uint64_t StackTop(Rng& rng);

 private:
  uint64_t Pointer(Rng& rng);
  uint64_t Good(Rng& rng, size_t length);
  uint64_t Structure(Rng& rng, char letter);
  uint64_t Number(Rng& rng, char letter);
  uint64_t Length(Rng& rng);
  uint64_t Path(Rng& rng);
  uint64_t IoVectors(Rng& rng);
  uint64_t SocketAddress(Rng& rng);
  uint64_t MessageHeader(Rng& rng);
  void FillMessageHeader(Rng& rng, uint64_t at);
  uint64_t Strings(Rng& rng);
  uint64_t RandomWords(Rng& rng, size_t count);

  static constexpr size_t kPage = 4096;
  static constexpr size_t kPools = 6;
  static constexpr size_t kPoolPages = 16;
  uint64_t pools_[kPools] = {};
  uint64_t stacks_ = 0;
  const volatile int32_t* peers_ = nullptr;
  size_t peer_count_ = 0;
};

}  // namespace random_calls
