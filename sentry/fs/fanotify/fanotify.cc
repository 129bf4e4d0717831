// Linux: fs/notify/fanotify.
#include "sentry/fs/fanotify/fanotify.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "abi/ioctl.h"
#include "abi/poll.h"
#include "sentry/ipc/object.h"
#include "sentry/kernel/task.h"
#include "sentry/vfs/fs_context.h"
#include "sentry/vfs/operations.h"
#include "sentry/vfs/watches.h"

namespace rampart::fs {
namespace {

constexpr size_t kMaxEvents = 16384, kMaxMarks = 8192;
constexpr size_t kMergeWindow = 128;  // how far back an equal event is looked for

// struct fanotify_event_metadata.
struct Metadata {
  uint32_t length;
  uint8_t version, reserved;
  uint16_t metadata_length;
  uint64_t mask;
  int32_t fd, pid;
};
static_assert(sizeof(Metadata) == 24);
constexpr uint8_t kVersion = 3;

const void* ObjectOf(const vfs::Path& path, uint32_t kind) {
  if (kind == kFanMarkMount) return path.mount.get();
  if (kind == kFanMarkFilesystem) return &path.mount->fs();
  return path.dentry->inode().get();
}

}  // namespace

Ref<Fanotify> Fanotify::Create(uint32_t flags, uint32_t event_flags) {
  Ref<vfs::Inode> inode = vfs::NewAnonymousInode(vfs::FileType{0}, 0600, 0, 0);
  const uint32_t open_flags = abi::kORdWr | ((flags & kFanNonblock) != 0 ? abi::kONonblock : 0);
  return MakeRef<Fanotify>(vfs::NewAnonymousPath(inode, "anon_inode:[fanotify]"), open_flags, flags, event_flags);
}

Fanotify::Fanotify(vfs::Path path, uint32_t flags, uint32_t init_flags, uint32_t event_flags)
    : FileDescription(std::move(path), flags), init_flags_(init_flags), event_flags_(event_flags) {}

Fanotify::~Fanotify() {
  if (observes_.load()) PathObserver::Remove(*this);
}

std::vector<Fanotify::MarkEntry>::iterator Fanotify::FindLocked(uint32_t kind, const void* object) {
  return std::find_if(marks_.begin(), marks_.end(), [&](const MarkEntry& m) { return m.kind == kind && m.object == object; });
}

Result<void> Fanotify::Mark(const vfs::Path& path, uint32_t kind, uint32_t flags, uint32_t mask) {
  const bool ignored = (flags & kFanMarkIgnoredMask) != 0, survives = (flags & kFanMarkIgnoredSurvModify) != 0;
  // What is being written to would forget it at once.
  if (kind == 0 && ignored && !survives && path.dentry->inode()->writers() > 0) return Ok();
  {
    absl::MutexLock lock(&mu_);
    const void* const object = ObjectOf(path, kind);
    auto mark = FindLocked(kind, object);
    if (mark == marks_.end()) {
      if (marks_.size() >= kMaxMarks && (init_flags_ & kFanUnlimitedMarks) == 0) return Errno::kENOSPC;
      marks_.push_back(MarkEntry{.kind = kind, .object = object, .path = path});
      mark = std::prev(marks_.end());
    }
    (ignored ? mark->ignored : mark->mask) |= mask;
    if (ignored && survives) mark->survives_modify = true;
  }
  absl::MutexLock lock(&observe_mu_);
  if (!observes_.exchange(true)) PathObserver::Add(*this);
  return Ok();
}

Result<void> Fanotify::Unmark(const vfs::Path& path, uint32_t kind, uint32_t flags, uint32_t mask) {
  std::optional<MarkEntry> gone;  // after the lock
  absl::MutexLock lock(&mu_);
  const auto mark = FindLocked(kind, ObjectOf(path, kind));
  if (mark == marks_.end()) return Errno::kENOENT;
  ((flags & kFanMarkIgnoredMask) != 0 ? mark->ignored : mark->mask) &= ~mask;
  if ((mark->mask & kFanEvents) != 0 || (mark->ignored & kFanEvents) != 0) return Ok();
  gone = std::move(*mark);
  marks_.erase(mark);
  return Ok();
}

void Fanotify::Flush(uint32_t kind) {
  std::vector<MarkEntry> gone;  // after the lock
  absl::MutexLock lock(&mu_);
  for (const MarkEntry& mark : marks_) {
    if (mark.kind == kind) gone.push_back(mark);
  }
  std::erase_if(marks_, [&](const MarkEntry& mark) { return mark.kind == kind; });
}

// fanotify_group_event_mask: of the object's own marks, and of its directory's that asks for its children.
uint32_t Fanotify::WantedLocked(const vfs::Path& path, uint32_t mask) {
  const RefPtr<vfs::Dentry> parent = path.dentry->parent();
  const void* const directory = parent ? parent->inode().get() : nullptr;
  const bool is_directory = (mask & vfs::kInIsDir) != 0;
  uint32_t wanted = 0, ignored = 0;
  for (MarkEntry& mark : marks_) {
    const bool own = mark.object == ObjectOf(path, mark.kind);
    const bool as_child = mark.kind == 0 && directory != nullptr && mark.object == directory && (mark.mask & kFanEventOnChild) != 0;
    if (!own && !as_child) continue;
    if ((mask & kFanModify) != 0 && !mark.survives_modify) mark.ignored = 0;
    ignored |= mark.ignored;
    if (!is_directory || (mark.mask & kFanOnDir) != 0) wanted |= mark.mask;
  }
  return mask & wanted & ~ignored & kFanEvents;
}

void Fanotify::OnPathEvent(const vfs::Path& path, uint32_t mask) {
  {
    absl::MutexLock lock(&mu_);
    const uint32_t wanted = WantedLocked(path, mask);
    if (wanted == 0) return;
    const abi::Pid pid = ipc::CurrentProcess();
    const size_t window = std::min(events_.size(), kMergeWindow);
    for (auto e = events_.rbegin(); e != events_.rbegin() + static_cast<std::ptrdiff_t>(window); ++e) {
      if (!e->path || e->pid != pid || !(e->path->dentry == path.dentry) || !(e->path->mount == path.mount)) continue;
      e->mask |= wanted;
      return;
    }
    if (events_.size() < kMaxEvents || (init_flags_ & kFanUnlimitedQueue) != 0) {
      events_.push_back(Event{path, wanted, pid});
    } else if (events_.back().path) {
      events_.push_back(Event{std::nullopt, kFanQOverflow, 0});
    } else {
      return;
    }
  }
  queue_.Notify(abi::kPollIn | abi::kPollRdNorm);
}

Result<size_t> Fanotify::ReadOne(Caller& caller, mm::IoDst& dst, const Event& event) {
  kernel::Task* const task = caller.task();
  if (task == nullptr) return Errno::kEINVAL;
  Metadata out{sizeof(Metadata), kVersion, 0, sizeof(Metadata), event.mask, -1, task->ToOwn(event.pid)};
  if (event.path) {
    const uint32_t flags = (event_flags_ & ~abi::kOCloexec) | vfs::kONonotify;
    Ref<vfs::FileDescription> file = TRY(vfs::OpenPath(caller, *event.path, flags));
    const Fd fd = TRY(task->fds().Install(std::move(file), (event_flags_ & abi::kOCloexec) != 0, caller.limit(abi::Resource::kNofile)));
    out.fd = static_cast<int32_t>(fd);
  }
  const Result<size_t> written = dst.Write(std::as_bytes(std::span(&out, 1)));
  if (written.ok() && *written == sizeof(out)) return written;
  if (out.fd >= 0) {
    if (const Result<Ref<vfs::FileDescription>> file = task->fds().Remove(static_cast<Fd>(out.fd)); file.ok()) {
      (void)vfs::CloseDescriptor(caller, task->fds(), *file);
    }
  }
  return Errno::kEFAULT;
}

Result<size_t> Fanotify::Read(Caller& caller, mm::IoDst& dst, uint32_t) {
  size_t done = 0;
  while (true) {
    std::optional<Event> event;
    {
      absl::MutexLock lock(&mu_);
      if (events_.empty()) break;
      if (dst.remaining() < sizeof(Metadata)) {
        if (done == 0) return Errno::kEINVAL;
        break;
      }
      event = std::move(events_.front());
      events_.pop_front();
    }
    const Result<size_t> n = ReadOne(caller, dst, *event);
    if (!n.ok()) {
      if (done == 0) return n.error();
      break;
    }
    done += *n;
  }
  if (done == 0) return Errno::kEAGAIN;
  return done;
}

wait::EventMask Fanotify::Readiness(wait::EventMask mask) {
  absl::MutexLock lock(&mu_);
  return events_.empty() ? 0 : mask & (abi::kPollIn | abi::kPollRdNorm);
}

Result<uint64_t> Fanotify::Ioctl(Caller& caller, mm::UserMemory& memory, uint32_t command, uint64_t argument) {
  if (command != abi::kFionread) return FileDescription::Ioctl(caller, memory, command, argument);
  int32_t bytes = 0;
  {
    absl::MutexLock lock(&mu_);
    bytes = static_cast<int32_t>(events_.size() * sizeof(Metadata));
  }
  TRY(memory.CopyOut(UserOut<int32_t>(argument), bytes));
  return uint64_t{0};
}

std::string Fanotify::FdInfo() const {
  char line[160];
  std::snprintf(line, sizeof(line), "fanotify flags:%x event-flags:%x\n", init_flags_, event_flags_);
  std::string out = line;
  absl::MutexLock lock(&mu_);
  for (const MarkEntry& mark : marks_) {
    const vfs::Inode& inode = *mark.path.dentry->inode();
    const uint32_t flags = mark.survives_modify ? kFanMarkIgnoredSurvModify : 0;
    if (mark.kind == 0) {
      std::snprintf(line, sizeof(line), "fanotify ino:%" PRIx64 " sdev:%" PRIx64 " mflags:%x mask:%x ignored_mask:%x\n", inode.ino(), inode.device(),
                    flags, mark.mask, mark.ignored);
    } else if (mark.kind == kFanMarkMount) {
      std::snprintf(line, sizeof(line), "fanotify mnt_id:%" PRIx64 " mflags:%x mask:%x ignored_mask:%x\n", mark.path.mount->id(), flags, mark.mask,
                    mark.ignored);
    } else {
      std::snprintf(line, sizeof(line), "fanotify sdev:%" PRIx64 " mflags:%x mask:%x ignored_mask:%x\n", mark.path.mount->fs().device(), flags, mark.mask,
                    mark.ignored);
    }
    out += line;
  }
  return out;
}

}  // namespace rampart::fs
