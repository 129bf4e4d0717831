#include "sentry/fs/host/host_terminal.h"

#include <sys/sysmacros.h>

#include "sentry/fs/host/host_file.h"
#include "sentry/kernel/task.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs {
namespace {

constexpr Nanos kAnswerLasts = 50 * kNanosPerMilli;

}  // namespace

HostTerminal::HostTerminal(uint64_t device) : device_(device), ino_(vfs::NextInodeNumber()) {}

std::optional<uint32_t> HostTerminal::pts_index() const {
  constexpr unsigned kPtsMajor = 136;
  if (major(device_) != kPtsMajor) return std::nullopt;
  return minor(device_);
}

void HostTerminal::Answer(Place place) {
  {
    absl::MutexLock lock(&mu_);
    ++answered_;
    place_ = place;
    good_until_ = place == Place::kForeground ? Deadline::After(kAnswerLasts) : Deadline::Immediately();
  }
  answers_.Notify(abi::kPollIn);
}

void HostTerminal::ForgetAnswer() {
  absl::MutexLock lock(&mu_);
  good_until_ = Deadline::Immediately();
}

Result<HostTerminal::Place> HostTerminal::Where(kernel::Task& task, Freshness freshness) {
  uint64_t question = 0;
  bool ask = false;
  {
    absl::MutexLock lock(&mu_);
    if (freshness == Freshness::kRecent && !good_until_.Passed()) return Place::kForeground;
    // An answer that is under way may have been given before what must be known.
    ask = asked_ == answered_ || freshness == Freshness::kNow;
    if (ask) ++asked_;
    question = asked_;
  }
  wait::SleeperEntry entry(task.sleeper());
  answers_.Register(entry, abi::kPollIn);
  if (ask) ask_();
  Result<Place> place = Place::kForeground;
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      if (answered_ >= question) {
        place = place_;
        break;
      }
    }
    const Result<void> slept = task.Sleep(Deadline::Never());
    if (slept.ok()) continue;
    place = slept.error();
    break;
  }
  answers_.Unregister(entry);
  return place;
}

Result<void> HostTerminal::CheckAccess(kernel::Task& task, kernel::TerminalAccess access, Freshness freshness) {
  TRY(kernel::CheckTerminalAccess(task, *this, access));
  if (!ask_ || kernel::ControllingTerminal(task.group()).get() != this) return Ok();
  const Place place = TRY(Where(task, freshness));
  if (freshness == Freshness::kNow && task.Interrupted()) return Errno::kERESTARTSYS;
  if (place == Place::kForeground) return Ok();
  return kernel::RefuseBackground(task, access, place == Place::kOrphaned);
}

Result<Ref<vfs::FileDescription>> HostTerminal::OpenTerminal(Caller& caller, uint32_t flags) {
  RefPtr<HostInode> inode;
  {
    absl::MutexLock lock(&mu_);
    inode = inode_;
  }
  if (!inode) return Errno::kEIO;
  const uint32_t mode = flags & abi::kOAccMode;
  if (mode != abi::kOWrOnly) TRY(inode->CheckAccess(caller, vfs::Access::kRead));
  if (mode != abi::kORdOnly) TRY(inode->CheckAccess(caller, vfs::Access::kWrite));
  const vfs::Path path = vfs::NewAnonymousPath(inode.ToRef(), name());
  return inode->Open(caller, path, flags);
}

void HostTerminal::OfferInode(const Ref<HostInode>& inode, bool reads_and_writes) {
  absl::MutexLock lock(&mu_);
  if (inode_ && (reads_and_writes_ || !reads_and_writes)) return;
  inode_ = inode;
  reads_and_writes_ = reads_and_writes;
}

void HostTerminal::LetGo() {
  RefPtr<HostInode> inode;
  absl::MutexLock lock(&mu_);
  std::swap(inode, inode_);
}

std::string HostTerminal::name() const {
  const std::optional<uint32_t> index = pts_index();
  return index ? "/dev/pts/" + std::to_string(*index) : "/dev/tty";
}

Ref<HostTerminal> HostTerminals::Of(uint64_t device) {
  for (const Ref<HostTerminal>& terminal : all_) {
    if (terminal->terminal_device() == device) return terminal;
  }
  all_.push_back(MakeRef<HostTerminal>(device));
  return all_.back();
}

}  // namespace rampart::fs
