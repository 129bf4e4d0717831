#include "sentry/syscalls/async_io.h"

#include <deque>
#include <memory>

#include "sentry/kernel/kernel.h"
#include "sentry/time/timer_queue.h"
#include "sentry/vfs/inode_extras.h"
#include "sentry/vfs/watches.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;
using vfs::FileDescription;
using vfs::LastCloseObserver;
using Owner = FileDescription::AsyncOwner;

constexpr int16_t kFRdLck = 0, kFWrLck = 1, kFUnLck = 2;
constexpr size_t kMaxNotes = 4096;  // further signals would merge with the pending ones

// A signal to be sent.
struct Note {
  Owner owner;
  Fd fd;
  wait::EventMask events;
  Ref<const auth::Credentials> sender;
  bool urgent = false;  // SIGURG, whatever F_SETSIG has said
};

// si_code and si_band of an event (Linux: band_table).
struct Band {
  int code;
  int64_t band;
};
Band BandOf(wait::EventMask events) {
  if ((events & abi::kPollErr) != 0) return {4, abi::kPollErr};
  if ((events & abi::kPollHup) != 0) return {6, abi::kPollHup | abi::kPollErr};
  if ((events & abi::kPollPri) != 0) return {5, abi::kPollPri | abi::kPollRdBand};
  if ((events & abi::kPollIn) != 0) return {1, abi::kPollIn | abi::kPollRdNorm};
  return {2, abi::kPollOut | abi::kPollWrNorm | abi::kPollWrBand};
}
constexpr wait::EventMask kMessage = 0;  // POLL_MSG: {3, POLLIN | POLLRDNORM | POLLMSG}

// Linux: sigio_perm.
bool MaySignal(const auth::Credentials& sender, const Task& target) {
  const Ref<const auth::Credentials> to = target.GetCreds();
  return sender.euid == 0 || sender.euid == to->suid || sender.euid == to->ruid || sender.ruid == to->suid || sender.ruid == to->ruid;
}

class Notifier {
 public:
  explicit Notifier(kernel::Kernel& kernel) : kernel_(kernel), timer_(kernel.timers(), [this] { SendAll(); }) {}
  // One per sandbox, for as long as it lives.
  static Notifier& Of(kernel::Kernel& kernel) {
    static Notifier* const notifier = new Notifier(kernel);
    return *notifier;
  }

  void Post(Note note) {
    if (note.owner.type == Owner::kNone) return;
    t_left_notes = true;
    {
      absl::MutexLock lock(&mu_);
      if (notes_.size() >= kMaxNotes) return;
      notes_.push_back(std::move(note));
      if (notes_.size() > 1) return;  // the timer is on its way
    }
    timer_.Arm(Deadline::After(0));
  }

  // What was posted before has been sent when this returns.
  void SendAll() {
    absl::MutexLock sending(&send_mu_);
    std::deque<Note> notes;
    {
      absl::MutexLock lock(&mu_);
      notes.swap(notes_);
    }
    for (const Note& note : notes) Send(note);
  }

 private:
  void Send(const Note& note) {
    abi::SigInfo info;
    if (note.urgent || note.owner.signal == 0) {
      info.signo = note.urgent ? abi::kSigUrg : abi::kSigIo;
      info.code = abi::kSiKernel;
    } else {
      const Band band = note.events == kMessage ? Band{3, abi::kPollIn | abi::kPollRdNorm | abi::kPollMsg} : BandOf(note.events);
      info.signo = note.owner.signal;
      info.code = band.code;
      info.SetPoll(band.band, static_cast<int32_t>(note.fd));
    }
    switch (note.owner.type) {
      case Owner::kNone:
        return;
      case Owner::kThread:
        if (const RefPtr<Task> task = kernel_.FindTask(note.owner.pid); task && MaySignal(*note.sender, *task)) (void)task->SendSignal(info);
        return;
      case Owner::kProcess:
        if (const RefPtr<kernel::ThreadGroup> group = kernel_.FindGroup(note.owner.pid)) SendTo(note, *group, info);
        return;
      case Owner::kGroup:
        for (const Ref<kernel::ThreadGroup>& group : kernel_.Groups()) {
          if (group->ProcessGroupId() == note.owner.pid) SendTo(note, *group, info);
        }
        return;
    }
  }

  static void SendTo(const Note& note, kernel::ThreadGroup& group, const abi::SigInfo& info) {
    const RefPtr<Task> leader = group.leader();
    if (leader && MaySignal(*note.sender, *leader)) (void)group.SendSignal(info);
  }

  kernel::Kernel& kernel_;
  time::Timer timer_;  // for what other threads than tasks post, and for tasks that sleep before their call ends
  absl::Mutex send_mu_ ABSL_ACQUIRED_BEFORE(mu_);  // held while notes are being sent
  absl::Mutex mu_;
  std::deque<Note> notes_ ABSL_GUARDED_BY(mu_);
};

// Hangs on one description's queue until the description ends, or End. Owns itself.
class QueueEntry : public wait::WaitEntry, public LastCloseObserver {
 public:
  void OnLastClose(FileDescription&) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(LastCloseMutex()) { End(); }
  void Begin(wait::EventMask mask) ABSL_EXCLUSIVE_LOCKS_REQUIRED(LastCloseMutex()) {
    file_.AddObserverLocked(*this);
    file_.EventRegister(*this, mask);
  }
  void End() ABSL_EXCLUSIVE_LOCKS_REQUIRED(LastCloseMutex()) {
    file_.RemoveObserverLocked(*this);
    file_.EventUnregister(*this);
    delete this;
  }

 protected:
  QueueEntry(Notifier& notifier, FileDescription& file, Ref<const auth::Credentials> sender) : notifier_(notifier), file_(file), sender_(std::move(sender)) {}
  ~QueueEntry() override = default;
  void Post(Fd fd, wait::EventMask events, bool urgent) { notifier_.Post({file_.async_owner(), fd, events, sender_, urgent}); }

 private:
  Notifier& notifier_;
  FileDescription& file_;  // outlives this
  const Ref<const auth::Credentials> sender_;
};

// O_ASYNC.
class AsyncEntry final : public QueueEntry {
 public:
  AsyncEntry(Notifier& notifier, FileDescription& file, Fd fd, Ref<const auth::Credentials> sender) : QueueEntry(notifier, file, std::move(sender)), fd_(fd) {}
  void OnEvent(wait::EventMask events) override { Post(fd_, events, false); }
  static wait::EventMask MaskFor(const FileDescription& file) {
    wait::EventMask mask = abi::kPollPri;
    if (file.readable()) mask |= abi::kPollIn | abi::kPollRdNorm;
    if (file.writable()) mask |= abi::kPollOut | abi::kPollWrNorm;
    return mask;
  }

 private:
  const Fd fd_;
};

// An owner of a socket's description: urgent data is told to him whether or not O_ASYNC is set.
class UrgentEntry final : public QueueEntry {
 public:
  UrgentEntry(Notifier& notifier, FileDescription& file, Ref<const auth::Credentials> sender) : QueueEntry(notifier, file, std::move(sender)) {}
  void OnEvent(wait::EventMask events) override {
    if ((events & abi::kPollPri) != 0) Post(Fd{}, events, true);
  }
};

// Whom a lease's break is told. Stays with the description, also after the lease.
class LeaseHolder final : public LastCloseObserver {
 public:
  LeaseHolder(Notifier& notifier, FileDescription& file, Fd fd, Ref<const auth::Credentials> sender)
      : notifier_(notifier), file_(file), fd_(fd), sender_(std::move(sender)) {}
  static void OnBreak(void* holder) {
    auto* self = static_cast<LeaseHolder*>(holder);
    self->notifier_.Post({self->file_.async_owner(), self->fd_, kMessage, self->sender_, false});
  }
  void OnLastClose(FileDescription& file) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(LastCloseMutex()) {
    file.path().dentry->inode()->extras().leases.ReleaseAll(&file);
    file.RemoveObserverLocked(*this);
    delete this;
  }

 private:
  Notifier& notifier_;
  FileDescription& file_;
  const Fd fd_;
  const Ref<const auth::Credentials> sender_;
};

// What a directory's watch list holds for F_NOTIFY. The description takes it out of there before it goes.
class DirectoryWatch final : public vfs::Watch {
 public:
  DirectoryWatch(Notifier& notifier, FileDescription& file, Fd fd, Ref<const auth::Credentials> sender)
      : notifier_(notifier), file_(file), fd_(fd), sender_(std::move(sender)) {}
  void Want(uint32_t events) { events_.fetch_or(events, std::memory_order_acq_rel); }
  void OnEvent(uint32_t mask, uint32_t cookie, std::string_view, bool) override {
    // DN_RENAME is for what stays in the directory: both halves of the move come here.
    if ((mask & vfs::kInMovedFrom) != 0) moved_from_.store(cookie, std::memory_order_relaxed);
    if ((mask & vfs::kInMovedTo) != 0 && moved_from_.load(std::memory_order_relaxed) == cookie) mask |= kRenamedWithin;
    uint32_t wanted = events_.load(std::memory_order_acquire);
    do {
      if ((mask & wanted & ~kMultishot) == 0) return;
    } while ((wanted & kMultishot) == 0 && !events_.compare_exchange_weak(wanted, 0, std::memory_order_acq_rel));
    notifier_.Post({file_.async_owner(), fd_, kMessage, sender_, false});
  }
  static constexpr uint32_t kMultishot = 0x80000000, kRenamedWithin = 0x01000000;

 private:
  Notifier& notifier_;
  FileDescription& file_;
  const Fd fd_;
  const Ref<const auth::Credentials> sender_;
  std::atomic<uint32_t> events_{0};      // inotify's bits, kMultishot and kRenamedWithin
  std::atomic<uint32_t> moved_from_{0};  // the last such event's cookie; written under the list's lock
};

// F_NOTIFY on one description. Owns itself.
class DirectoryNotify final : public LastCloseObserver {
 public:
  explicit DirectoryNotify(Ref<DirectoryWatch> watch) : watch_(std::move(watch)) {}
  void OnLastClose(FileDescription& file) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(LastCloseMutex()) { End(file); }
  void End(FileDescription& file) ABSL_EXCLUSIVE_LOCKS_REQUIRED(LastCloseMutex()) {
    file.RemoveObserverLocked(*this);
    file.path().dentry->inode()->extras().watches.Remove(watch_.get());
    delete this;
  }
  DirectoryWatch& watch() { return *watch_; }

 private:
  const Ref<DirectoryWatch> watch_;
};

// fcntl(2)'s DN_… bits as inotify's.
uint32_t WatchedEvents(uint32_t bits) {
  constexpr uint32_t kAccess = 1, kModify = 2, kCreate = 4, kDelete = 8, kRename = 16, kAttrib = 32;
  uint32_t events = bits & DirectoryWatch::kMultishot;
  if ((bits & kAccess) != 0) events |= vfs::kInAccess;
  if ((bits & kModify) != 0) events |= vfs::kInModify;
  if ((bits & kCreate) != 0) events |= vfs::kInCreate | vfs::kInMovedTo;
  if ((bits & kDelete) != 0) events |= vfs::kInDelete | vfs::kInMovedFrom;
  if ((bits & kRename) != 0) events |= DirectoryWatch::kRenamedWithin;
  if ((bits & kAttrib) != 0) events |= vfs::kInAttrib;
  return events;
}

// As Linux: whoever asks to be told is told, unless another owner was named.
void OwnIfNobodyDoes(Task& task, FileDescription& file) {
  Owner owner = file.async_owner();
  if (owner.type != Owner::kNone) return;
  owner.type = Owner::kProcess;
  owner.pid = task.group().pid();
  file.set_async_owner(owner);
}

template <class T>
T* FindObserver(FileDescription& file) ABSL_EXCLUSIVE_LOCKS_REQUIRED(LastCloseObserver::LastCloseMutex()) {
  for (LastCloseObserver* at = file.FirstObserver(); at != nullptr; at = at->NextObserver()) {
    if (T* found = dynamic_cast<T*>(at)) return found;
  }
  return nullptr;
}

Result<void> CheckLease(Task& task, FileDescription& file, uint64_t kind) {
  vfs::Inode& inode = *file.path().dentry->inode();
  const vfs::Attr attr = TRY(inode.GetAttr(task));
  if (attr.uid != task.creds().fsuid && !task.creds().HasCapability(abi::Capability::kLease)) return Errno::kEACCES;
  if (inode.type() != vfs::FileType::kRegular) return Errno::kEINVAL;
  if (kind == kFRdLck && inode.writers() > 0) return Errno::kEAGAIN;
  if (kind == kFWrLck) {
    const int own_writer = file.writable() ? 1 : 0, own_reader = file.readable() && !file.writable() ? 1 : 0;
    if (inode.writers() != own_writer || inode.readers() != own_reader) return Errno::kEAGAIN;
  }
  return Ok();
}

}  // namespace

constinit thread_local bool t_left_notes = false;

void SendLeftNotes(Task& task) {
  t_left_notes = false;
  Notifier::Of(task.kernel()).SendAll();
}

void FollowOwner(Task& task, FileDescription& file) {
  if (!file.pollable() || file.inode()->type() != vfs::FileType::kSocket) return;
  Notifier& notifier = Notifier::Of(task.kernel());
  absl::MutexLock lock(&LastCloseObserver::LastCloseMutex());
  if (UrgentEntry* entry = FindObserver<UrgentEntry>(file)) entry->End();
  if (file.async_owner().type != Owner::kNone) (new UrgentEntry(notifier, file, task.CredsRef()))->Begin(abi::kPollPri);
}

void FollowAsyncFlag(Task& task, FileDescription& file, Fd fd) {
  if (!file.pollable()) return;
  Notifier& notifier = Notifier::Of(task.kernel());
  absl::MutexLock lock(&LastCloseObserver::LastCloseMutex());
  AsyncEntry* entry = FindObserver<AsyncEntry>(file);
  const bool on = (file.flags() & abi::kOAsync) != 0;
  if (entry != nullptr) entry->End();  // begun anew, also to name another descriptor
  if (on) (new AsyncEntry(notifier, file, fd, task.CredsRef()))->Begin(AsyncEntry::MaskFor(file));
}

Result<Word> SetLease(Task& task, FileDescription& file, Fd fd, uint64_t kind) {
  using Kind = vfs::LeaseTable::Kind;
  if (kind != kFRdLck && kind != kFWrLck && kind != kFUnLck) return Errno::kEINVAL;
  vfs::LeaseTable& leases = file.path().dentry->inode()->extras().leases;
  TRY(CheckLease(task, file, kind));
  if (kind == kFUnLck) {
    if (!leases.Holds(&file)) return Errno::kEAGAIN;
    leases.ReleaseAll(&file);
    return Word{0};
  }
  LeaseHolder* holder = nullptr;
  {
    absl::MutexLock lock(&LastCloseObserver::LastCloseMutex());
    holder = FindObserver<LeaseHolder>(file);
    if (holder == nullptr) {
      holder = new LeaseHolder(Notifier::Of(task.kernel()), file, fd, task.CredsRef());
      file.AddObserverLocked(*holder);
    }
  }
  TRY(leases.Set(&file, kind == kFRdLck ? Kind::kRead : Kind::kWrite, &LeaseHolder::OnBreak, holder));
  OwnIfNobodyDoes(task, file);
  return Word{0};
}

void EndDirectoryNotify(FileDescription& file) {
  absl::MutexLock lock(&LastCloseObserver::LastCloseMutex());
  if (DirectoryNotify* notify = FindObserver<DirectoryNotify>(file)) notify->End(file);
}

Result<Word> SetDirectoryNotify(Task& task, FileDescription& file, Fd fd, uint32_t events) {
  if ((events & ~DirectoryWatch::kMultishot) == 0) {
    EndDirectoryNotify(file);
    return Word{0};
  }
  const Ref<vfs::Inode> inode = file.inode();
  if (!inode->IsDirectory()) return Errno::kENOTDIR;
  OwnIfNobodyDoes(task, file);
  absl::MutexLock lock(&LastCloseObserver::LastCloseMutex());
  DirectoryNotify* notify = FindObserver<DirectoryNotify>(file);
  if (notify == nullptr) {
    notify = new DirectoryNotify(MakeRef<DirectoryWatch>(Notifier::Of(task.kernel()), file, fd, task.CredsRef()));
    file.AddObserverLocked(*notify);
    inode->extras().watches.Add(Ref<vfs::Watch>(ShareRef(&notify->watch())));
  }
  notify->watch().Want(WatchedEvents(events));
  return Word{0};
}

Result<Word> GetLease(FileDescription& file) {
  using Kind = vfs::LeaseTable::Kind;
  vfs::InodeExtras* extras = file.path().dentry->inode()->extras_if_any();
  const Kind kind = extras == nullptr ? Kind::kNone : extras->leases.Get(&file);
  return static_cast<Word>(kind == Kind::kNone ? kFUnLck : kind == Kind::kRead ? kFRdLck : kFWrLck);
}

Result<void> WaitForLease(Task& task, const PathArg& path, bool follow, bool for_write, absl::FunctionRef<Result<void>()> attempt) {
  const vfs::Path found = TRY(path.Find(follow));
  vfs::InodeExtras* extras = found.dentry->inode()->extras_if_any();
  if (extras == nullptr || !extras->leases.any()) return attempt();
  const Deadline deadline = Deadline::After(vfs::LeaseTable::kBreakTime);
  wait::SleeperEntry entry(task.sleeper());
  wait::WaitQueue& queue = extras->leases.queue();
  queue.Register(entry, abi::kPollIn);
  Result<void> result = Errno::kEAGAIN;
  while (true) {
    result = attempt();
    if (result.ok() || result.error() != Errno::kEAGAIN) break;
    const Result<void> slept = task.Sleep(deadline);
    if (slept.ok()) continue;
    result = slept.error();
    if (slept.error() == Errno::kETIMEDOUT) {
      extras->leases.Expire(for_write);
      result = attempt();
    }
    break;
  }
  queue.Unregister(entry);
  return result;
}

}  // namespace rampart::syscalls
