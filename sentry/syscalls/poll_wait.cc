#include "sentry/syscalls/poll_wait.h"

#include <array>
#include <memory>

namespace rampart::syscalls {
namespace {

class PollEntry final : public wait::WaitEntry {
 public:
  void OnEvent(wait::EventMask) override { sleeper->Wake(); }
  wait::Sleeper* sleeper = nullptr;
};

size_t Ask(std::span<PollItem> items) {
  size_t ready = 0;
  for (PollItem& item : items) {
    if (item.file) {
      const wait::EventMask mask = item.wanted | abi::kPollErr | abi::kPollHup;
      item.got = item.file->Readiness(mask) & mask;
    }
    if (item.got != 0) ++ready;
  }
  return ready;
}

// Registered with every item for as long as it lives.
class Registration {
 public:
  Registration(wait::Sleeper& sleeper, std::span<PollItem> items) : items_(items) {
    PollEntry* entries = few_.data();
    if (items.size() > few_.size()) {
      many_ = std::make_unique<PollEntry[]>(items.size());
      entries = many_.get();
    }
    entries_ = entries;
    for (size_t i = 0; i < items.size(); ++i) {
      entries[i].sleeper = &sleeper;
      if (items[i].file) items[i].file->EventRegister(entries[i], items[i].wanted);
    }
  }
  ~Registration() {
    for (size_t i = 0; i < items_.size(); ++i) {
      if (items_[i].file) items_[i].file->EventUnregister(entries_[i]);
    }
  }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

 private:
  std::span<PollItem> items_;
  std::array<PollEntry, 8> few_;
  std::unique_ptr<PollEntry[]> many_;
  PollEntry* entries_;
};

}  // namespace

Result<size_t> WaitForAny(kernel::Task& task, std::span<PollItem> items, Deadline deadline) {
  size_t ready = Ask(items);
  if (ready != 0 || deadline.Passed()) return ready;
  Registration registration(task.sleeper(), items);
  while (true) {
    ready = Ask(items);
    if (ready != 0) return ready;
    const Result<void> slept = task.Sleep(deadline);
    if (slept.ok()) continue;
    if (slept.error() == Errno::kETIMEDOUT) return Ask(items);
    return slept.error();
  }
}

}  // namespace rampart::syscalls
