#include "sentry/syscalls/poll.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "sentry/kernel/thread_group.h"
#include "sentry/syscalls/poll_wait.h"
#include "sentry/syscalls/timeouts.h"

namespace rampart::syscalls {
namespace {

Result<Word> DoPoll(kernel::Task& task, UserInOut<PollFd> user_fds, uint32_t count, Deadline deadline) {
  if (count > task.limit(abi::Resource::kNofile)) return Errno::kEINVAL;
  std::vector<PollFd> fds = TRY(task.mm().CopyInArray(UserIn<PollFd>(user_fds), count, count));
  std::vector<PollItem> items(count);
  for (uint32_t i = 0; i < count; ++i) {
    fds[i].revents = 0;
    if (fds[i].fd < 0) continue;
    Result<Ref<vfs::FileDescription>> file = task.fds().Get(Fd{fds[i].fd});
    if (!file.ok() || (file.value()->flags() & abi::kOPath) != 0) {
      items[i].got = abi::kPollNval;
      continue;
    }
    items[i].file = std::move(file).value();
    items[i].wanted = static_cast<uint16_t>(fds[i].events);
  }
  const size_t ready = TRY(WaitForAny(task, items, deadline));
  for (uint32_t i = 0; i < count; ++i) fds[i].revents = static_cast<int16_t>(items[i].got);
  TRY(task.mm().CopyOutArray<PollFd>(user_fds, fds));
  return ready;
}

// The three sets of select, as bitmaps of 64-bit words.
struct FdSets {
  std::vector<uint64_t> read, write, except;
  bool Wants(size_t word, uint64_t bit) const { return ((read[word] | write[word] | except[word]) & bit) != 0; }
};

constexpr wait::EventMask kReadEvents = abi::kPollNval | abi::kPollRdNorm | abi::kPollRdBand | abi::kPollIn | abi::kPollHup | abi::kPollErr;
constexpr wait::EventMask kWriteEvents = abi::kPollNval | abi::kPollWrBand | abi::kPollWrNorm | abi::kPollOut | abi::kPollErr;
constexpr wait::EventMask kExceptEvents = abi::kPollNval | abi::kPollPri;

// Linux looks at no more descriptors than the table has room for: 64, or a power of two of 128s.
uint32_t TableSize(kernel::Task& task) {
  const std::vector<Fd> used = task.fds().List();
  const uint32_t top = used.empty() ? 0 : static_cast<uint32_t>(used.back());
  return top < 64 ? 64 : std::bit_ceil(top / 128 + 1) * 128;
}

Result<std::vector<uint64_t>> ReadSet(kernel::Task& task, UserIn<uint64_t> from, uint32_t count) {
  std::vector<uint64_t> words((count + 63) / 64);
  if (!from) return words;
  return task.mm().CopyInArray(from, words.size(), words.size());
}

Result<void> WriteSet(kernel::Task& task, UserOut<uint64_t> to, const std::vector<uint64_t>& words) {
  if (!to) return Ok();
  return task.mm().CopyOutArray<uint64_t>(to, words);
}

struct SelectArgs {
  int32_t count;
  UserInOut<uint64_t> read, write, except;
};

Result<std::vector<PollItem>> SelectItems(kernel::Task& task, const FdSets& sets, uint32_t count, std::vector<uint32_t>& numbers) {
  std::vector<PollItem> items;
  for (uint32_t fd = 0; fd < count; ++fd) {
    const uint64_t bit = uint64_t{1} << (fd % 64);
    if (!sets.Wants(fd / 64, bit)) continue;
    PollItem item;
    item.file = TRY(task.fds().Get(Fd{static_cast<int32_t>(fd)}));
    // A descriptor of O_PATH is one, but cannot be asked.
    if ((item.file->flags() & abi::kOPath) != 0) item.file = nullptr, item.got = abi::kPollNval;
    if ((sets.read[fd / 64] & bit) != 0) item.wanted |= kReadEvents;
    if ((sets.write[fd / 64] & bit) != 0) item.wanted |= kWriteEvents;
    if ((sets.except[fd / 64] & bit) != 0) item.wanted |= kExceptEvents;
    items.push_back(std::move(item));
    numbers.push_back(fd);
  }
  return items;
}

// A hang-up or error comes unasked, but only counts for a set that it means something to.
size_t Relevant(std::span<PollItem> items) {
  return static_cast<size_t>(std::count_if(items.begin(), items.end(), [](const PollItem& i) { return (i.got & i.wanted) != 0; }));
}

Result<Word> DoSelect(kernel::Task& task, const SelectArgs& args, Deadline deadline) {
  if (args.count < 0) return Errno::kEINVAL;
  uint32_t count = static_cast<uint32_t>(args.count);
  if (count > 64) count = std::min(count, TableSize(task));
  FdSets sets;
  sets.read = TRY(ReadSet(task, args.read, count));
  sets.write = TRY(ReadSet(task, args.write, count));
  sets.except = TRY(ReadSet(task, args.except, count));
  std::vector<uint32_t> numbers;
  std::vector<PollItem> items = TRY(SelectItems(task, sets, count, numbers));
  size_t ready = TRY(WaitForAny(task, items, deadline));
  while (ready != 0 && Relevant(items) == 0) {
    // Only an unasked hang-up: those files can tell nothing more that is wanted, so the wait goes on without them.
    for (PollItem& item : items) {
      if (item.got != 0) item.file = nullptr, item.got = 0;
    }
    ready = TRY(WaitForAny(task, items, deadline));
  }
  FdSets found{std::vector<uint64_t>(sets.read.size()), std::vector<uint64_t>(sets.read.size()), std::vector<uint64_t>(sets.read.size())};
  Word bits = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const uint32_t word = numbers[i] / 64;
    const uint64_t bit = uint64_t{1} << (numbers[i] % 64);
    const auto mark = [&](const std::vector<uint64_t>& wanted, std::vector<uint64_t>& out, wait::EventMask events) {
      if ((wanted[word] & bit) == 0 || (items[i].got & events) == 0) return;
      out[word] |= bit;
      ++bits;
    };
    mark(sets.read, found.read, kReadEvents);
    mark(sets.write, found.write, kWriteEvents);
    mark(sets.except, found.except, kExceptEvents);
  }
  TRY(WriteSet(task, args.read, found.read));
  TRY(WriteSet(task, args.write, found.write));
  TRY(WriteSet(task, args.except, found.except));
  return bits;
}

constexpr uint32_t kStickyTimeouts = 0x4000000;  // personality(2)

// What select and pselect6 do at the end: the time that is left goes back, and a call that cannot tell it is not restarted.
template <class T>
Result<Word> FinishTimed(kernel::Task& task, Result<Word> result, UserOut<T> timeout, Deadline deadline) {
  const bool sticky = (task.group().personality.load(std::memory_order_relaxed) & kStickyTimeouts) != 0;
  const bool told = !sticky && WriteRemaining(task, timeout, deadline).ok();
  if (!result.ok() && result.error() == Errno::kERESTARTSYS) return told ? Errno::kERESTARTNOHAND : Errno::kEINTR;
  return result;
}

bool WasInterrupted(const Result<Word>& result) { return !result.ok() && result.error() == Errno::kERESTARTSYS; }

}  // namespace

Result<Word> SysPoll(kernel::Task& task, UserInOut<PollFd> fds, uint32_t count, int32_t timeout_ms) {
  const Deadline deadline = MillisTimeout(timeout_ms);
  Result<Word> result = DoPoll(task, fds, count, deadline);
  if (!WasInterrupted(result)) return result;
  task.SetRestart([fds, count, deadline](kernel::Task& again) -> Result<Word> {
    const Result<Word> repeated = DoPoll(again, fds, count, deadline);
    if (WasInterrupted(repeated)) return Errno::kERESTART_RESTARTBLOCK;
    return repeated;
  });
  return Errno::kERESTART_RESTARTBLOCK;
}

Result<Word> SysPpoll(kernel::Task& task, UserInOut<PollFd> fds, uint32_t count, UserInOut<abi::Timespec> timeout, UserIn<abi::SigSet> mask,
                      uint64_t mask_size) {
  const Deadline deadline = TRY(ReadTimeout(task, UserIn<abi::Timespec>(timeout)));
  CallMask applied = TRY(CallMask::Apply(task, mask, mask_size));
  const Result<Word> result = DoPoll(task, fds, count, deadline);
  applied.Finish(task, WasInterrupted(result));
  return FinishTimed<abi::Timespec>(task, result, timeout, deadline);
}

Result<Word> SysSelect(kernel::Task& task, int32_t count, UserInOut<uint64_t> read, UserInOut<uint64_t> write, UserInOut<uint64_t> except,
                       UserInOut<abi::Timeval> timeout) {
  const Deadline deadline = TRY(ReadTimeout(task, UserIn<abi::Timeval>(timeout)));
  const Result<Word> result = DoSelect(task, {count, read, write, except}, deadline);
  return FinishTimed<abi::Timeval>(task, result, timeout, deadline);
}

Result<Word> SysPselect6(kernel::Task& task, int32_t count, UserInOut<uint64_t> read, UserInOut<uint64_t> write, UserInOut<uint64_t> except,
                         UserInOut<abi::Timespec> timeout, UserIn<SigSetArgument> mask) {
  SigSetArgument argument{};
  if (mask) argument = TRY(task.CopyIn(mask));
  const Deadline deadline = TRY(ReadTimeout(task, UserIn<abi::Timespec>(timeout)));
  CallMask applied = TRY(CallMask::Apply(task, UserIn<abi::SigSet>(argument.address), argument.size));
  const Result<Word> result = DoSelect(task, {count, read, write, except}, deadline);
  applied.Finish(task, WasInterrupted(result));
  return FinishTimed<abi::Timespec>(task, result, timeout, deadline);
}

}  // namespace rampart::syscalls
