// HostTerminal: a terminal of the host that the runner donated, as the controlling terminal of a session inside.
//
// Model. Line discipline, echo and settings are the host's; sessions, process groups and who may read are ours (kernel/session.h). All donated
// descriptors of one terminal share one HostTerminal. The Sentry leads a host session of its own, so the host does not stop it when it reads in the
// background; what the host would have done to the command itself is asked of the runner, which is in the caller's job: `ask` sends a
// question, Answer brings the reply. Questions are not asked while a recent answer said "foreground": a job is moved to the background by
// stopping it first, and then the answer is forgotten.
// Thread safety: any thread; InForeground on the task's thread. Lock order: mu_ is a leaf.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/time.h"
#include "sentry/kernel/session.h"
#include "sentry/vfs/terminal.h"
#include "sentry/wait/wait.h"

namespace rampart::fs {

class HostInode;

class HostTerminal final : public vfs::Terminal {
 public:
  enum class Place : uint8_t { kBackground = 0, kForeground = 1, kOrphaned = 2 };

  explicit HostTerminal(uint64_t device);

  // Where the runner's job is. Set before tasks run; without it everything is in the foreground.
  void SetAsk(std::function<void()> ask) { ask_ = std::move(ask); }
  void Answer(Place place);
  // The job was stopped: what was answered is no longer true.
  void ForgetAnswer();

  // Whether an answer that is a few milliseconds old will do. It will not where input is taken: a signal typed before that input must come first, and
  // the runner passes on what it has received before it answers.
  enum class Freshness : uint8_t { kRecent, kNow };
  // What a task may do now: kernel::CheckTerminalAccess inside, and the same rule outside. May sleep for the answer, interruptibly.
  Result<void> CheckAccess(kernel::Task& task, kernel::TerminalAccess access, Freshness freshness);

  // One of its descriptors: the first that can read and write is what /dev/tty opens. It stays open as long as the terminal, which is as long as the
  // sandbox: /dev/tty works also when descriptors 0, 1 and 2 were closed.
  void OfferInode(const Ref<HostInode>& inode, bool reads_and_writes);
  RefPtr<HostInode> inode() const {
    absl::MutexLock lock(&mu_);
    return inode_;
  }
  // The terminal is used no longer: /dev/tty opens nothing, and the descriptor is closed when nobody else has it open.
  void LetGo();
  // What /proc/self/fd shows.
  std::string name() const;
  // st_ino of all its descriptors.
  uint64_t ino() const { return ino_; }
  // N of /dev/pts/N, if it is such a one.
  std::optional<uint32_t> pts_index() const;

  // vfs::Terminal.
  Result<Ref<vfs::FileDescription>> OpenTerminal(Caller& caller, uint32_t flags) override;
  uint64_t terminal_device() const override { return device_; }

 private:
  Result<Place> Where(kernel::Task& task, Freshness freshness);

  const uint64_t device_;
  const uint64_t ino_;
  std::function<void()> ask_;
  wait::WaitQueue answers_;
  mutable absl::Mutex mu_;
  RefPtr<HostInode> inode_ ABSL_GUARDED_BY(mu_);
  bool reads_and_writes_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t asked_ ABSL_GUARDED_BY(mu_) = 0, answered_ ABSL_GUARDED_BY(mu_) = 0;
  Place place_ ABSL_GUARDED_BY(mu_) = Place::kBackground;
  Deadline good_until_ ABSL_GUARDED_BY(mu_) = Deadline::Immediately();
};

// The terminals among the donated descriptors. Used by boot, by one thread.
class HostTerminals {
 public:
  // The terminal with this device number: the same one each time.
  Ref<HostTerminal> Of(uint64_t device);
  // The first that was asked for; null without terminals.
  const std::vector<Ref<HostTerminal>>& all() const { return all_; }
  RefPtr<HostTerminal> first() const { return all_.empty() ? nullptr : RefPtr<HostTerminal>(all_.front()); }

 private:
  std::vector<Ref<HostTerminal>> all_;
};

}  // namespace rampart::fs
