#include "sentry/loader/address_layout.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/safe_math.h"

namespace rampart::loader {
namespace {
constexpr uint64_t kTaskSize = 0x7ffffffff000;
constexpr uint64_t kMmapRandomPages = uint64_t{1} << 28;   // 1 TiB, vm.mmap_rnd_bits
constexpr uint64_t kStackRandomPages = uint64_t{1} << 22;  // 16 GiB
constexpr uint64_t kBrkRandomPages = uint64_t{1} << 18;    // 1 GiB
constexpr uint64_t kMinGap = uint64_t{128} << 20;
constexpr uint64_t kGuardGap = uint64_t{1} << 20;
}  // namespace

Result<ExecRandom> ExecRandom::Draw(bool layout) {
  ExecRandom random;
  std::array<uint64_t, 7> words;
  ssize_t n = 0;
  do {
    n = getrandom(words.data(), sizeof words, 0);
  } while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(sizeof words)) return Errno::kEIO;
  std::memcpy(random.auxv.data(), words.data(), random.auxv.size());
  if (layout) {
    random.mmap = words[2];
    random.stack = words[3];
    random.pie = words[4];
    random.brk = words[5];
    random.shift = words[6];
  }
  return random;
}

AddressLayout ChooseLayout(const ExecRandom& random, uint64_t max_address, uint64_t stack_limit) {
  const uint64_t task_size = PageDown(std::min(max_address, kTaskSize));
  AddressLayout layout;
  layout.stack_top = task_size - random.stack % kStackRandomPages * kPageSize;
  // Room for the stack to grow to its limit, below its randomisation.
  const uint64_t most = task_size / 6 * 5;
  const uint64_t gap = std::clamp(std::min(stack_limit, most), kMinGap, most) + kGuardGap + kStackRandomPages * kPageSize;
  layout.mmap_base = PageDown(task_size - std::min(gap, most) - random.mmap % kMmapRandomPages * kPageSize);
  layout.pie_base = PageDown(task_size / 3 * 2) + random.pie % kMmapRandomPages * kPageSize;
  layout.brk_slack = random.brk % kBrkRandomPages * kPageSize;
  layout.stack_shift = random.shift % 8192 & ~uint64_t{15};
  return layout;
}

}  // namespace rampart::loader
