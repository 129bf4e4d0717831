#include "sentry/kernel/core_dump.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

#include "absl/strings/match.h"
#include "abi/fcntl.h"
#include "base/log.h"
#include "sentry/kernel/core_elf.h"
#include "sentry/kernel/kernel_state.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/mm/io.h"
#include "sentry/vfs/operations.h"

namespace rampart::kernel {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kMaxSegments = 65000;      // program headers are counted in 16 bits
constexpr size_t kPiece = 64 * 1024;
constexpr size_t kSoftwareOffset = 464;     // of an XSAVE area: where debuggers look for the machine's features
constexpr size_t kArgumentBytes = 80;
constexpr Nanos kLook = 20'000'000;

bool IsSpecial(const mm::VmaInfo& vma) { return vma.name == "[vdso]" || vma.name == "[vvar]"; }

// Linux: vma_dump_size. `filter`: core(5)'s coredump_filter.
uint64_t BytesToDump(mm::MemoryManager& mm, const mm::VmaInfo& vma, uint32_t filter) {
  constexpr uint32_t kAnonymousPrivate = 1, kAnonymousShared = 2, kFilePrivate = 4, kFileShared = 8, kElfHeaders = 16;
  if (IsSpecial(vma)) return vma.range.length();
  if (vma.dont_dump) return 0;
  const bool of_file = vma.inode != 0 || (!vma.name.empty() && vma.name[0] == '/');
  if (vma.shared) {
    const bool nameless = !of_file || absl::EndsWith(vma.name, " (deleted)");
    return (filter & (nameless ? kAnonymousShared : kFileShared)) != 0 ? vma.range.length() : 0;
  }
  if ((!of_file || vma.anon_bytes != 0) && (filter & kAnonymousPrivate) != 0) return vma.range.length();
  if (!of_file) return 0;
  if ((filter & kFilePrivate) != 0) return vma.range.length();
  if ((filter & kElfHeaders) == 0) return 0;
  if (vma.offset != 0 || !platform::Any(vma.prot & platform::Prot::kRead)) return 0;
  std::array<std::byte, 4> magic{};
  constexpr std::array<std::byte, 4> kElf = {std::byte{0x7f}, std::byte{'E'}, std::byte{'L'}, std::byte{'F'}};
  const Result<size_t> got = mm.ForceCopyIn(vma.range.start, magic);
  return got.ok() && *got == magic.size() && magic == kElf ? kPage : 0;
}

// Writes at offsets, within a limit.
class Writer {
 public:
  Writer(Task& task, vfs::FileDescription& file, uint64_t limit) : task_(task), file_(file), limit_(limit) {}
  bool At(uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      if (offset >= limit_) return false;
      mm::BufferSrc src(bytes.first(std::min<uint64_t>(bytes.size(), limit_ - offset)));
      const Result<size_t> done = file_.PWrite(task_, src, offset, 0, nullptr);
      if (!done.ok() || *done == 0) return false;
      offset += *done;
      bytes = bytes.subspan(*done);
    }
    return true;
  }

 private:
  Task& task_;
  vfs::FileDescription& file_;
  const uint64_t limit_;
};

// A segment's pages that are there; the rest are holes. False: the limit, an error, or `stop`.
bool WriteSegment(Writer& writer, mm::MemoryManager& mm, const CoreSegment& segment, uint64_t offset, absl::FunctionRef<bool()> stop) {
  const bool anonymous = segment.vma.inode == 0 && !IsSpecial(segment.vma);
  if (anonymous && segment.vma.rss_bytes == 0) return true;
  std::vector<std::byte> buffer(kPiece);
  for (uint64_t done = 0; done < segment.dumped; done += kPiece) {
    if (stop()) return false;
    const uint64_t length = std::min<uint64_t>(kPiece, segment.dumped - done);
    const UserAddr from = segment.vma.range.start + done;
    std::vector<uint8_t> resident;
    if (anonymous && !mm.MIncore(from, length, resident).ok()) resident.clear();
    for (uint64_t page = 0; page < length; page += kPage) {
      if (anonymous && !resident.empty() && (resident[page / kPage] & 1) == 0) continue;
      const auto bytes = std::span(buffer).first(kPage);
      const Result<size_t> got = mm.ForceCopyIn(from + page, bytes);
      if (!got.ok()) continue;  // beyond a file's end
      if (!writer.At(offset + done + page, bytes.first(*got))) return false;
    }
  }
  return true;
}

}  // namespace

CoreThread CoreDump::Describe(Task& task) {
  CoreThread thread;
  thread.tid = task.own_tid();
  if (task.context_ != nullptr) {
    thread.regs = task.context_->regs();
    thread.xstate.resize(task.kernel_.platform().xstate_size());
    if (!task.context_->GetExtendedState(thread.xstate).ok()) thread.xstate.clear();
    const uint64_t features = task.kernel_.platform().xstate_features();
    if (thread.xstate.size() >= kSoftwareOffset + sizeof(features)) std::memcpy(thread.xstate.data() + kSoftwareOffset, &features, sizeof(features));
  }
  thread.pending = task.OwnPendingSet();
  thread.blocked = task.signal_mask();
  thread.user_time = task.user_time();
  thread.system_time = task.system_time();
  return thread;
}

void CoreDump::Join(Task& task) {
  ThreadGroup& group = *task.group_;
  const auto take_part = [&] {
    absl::MutexLock lock(&group.signal_mu_);
    if (group.core_ == nullptr || &group.core_->dumper_ == &task) {
      task.past_core_dump_ = true;
      return false;
    }
    return true;
  };
  if (!take_part()) return;
  CoreThread thread = Describe(task);
  while (true) {
    {
      absl::MutexLock lock(&group.signal_mu_);
      if (group.core_ == nullptr) break;
      if (!std::exchange(task.past_core_dump_, true)) {
        group.core_->threads_.push_back(std::move(thread));
        group.core_->dumper_.sleeper_.Wake();
      }
    }
    (void)task.sleeper_.SleepUninterruptible(Deadline::Never());
  }
  absl::MutexLock lock(&group.signal_mu_);
  task.past_core_dump_ = true;
}

bool CoreDump::Wanted(Task& task) {
  return task.context_ != nullptr && task.mm_ && task.fs_ && task.group_->dumpable.load() == 1 && task.limit(abi::Resource::kCore) >= kPage;
}

// Begins the end of the process, and waits for everybody's registers. False: it is ending already.
bool CoreDump::Gather(Task& task, const abi::SigInfo& info, CoreDump& dump) {
  ThreadGroup& group = *task.group_;
  dump.threads_.push_back(Describe(task));
  {
    absl::MutexLock lock(&group.signal_mu_);
    if (group.exiting_ || group.exec_task_ != nullptr || task.killed_ || task.kernel_.state().dying.load()) return false;
    group.core_ = &dump;
    group.BeginExitLocked(abi::KilledStatus(info.signo, false), &task);
  }
  while (true) {
    {
      absl::MutexLock lock(&group.signal_mu_);
      const bool all = std::all_of(group.tasks_.begin(), group.tasks_.end(), [&](const Task* t) {
        return t == &task || t->past_core_dump_ || t->exiting_.load(std::memory_order_relaxed);
      });
      if (all) return true;
    }
    (void)task.sleeper_.SleepUninterruptible(Deadline::After(kLook));
  }
}

void CoreDump::Finish(Task& task, bool written) {
  ThreadGroup& group = *task.group_;
  absl::MutexLock lock(&group.signal_mu_);
  group.core_ = nullptr;
  if (written) group.exit_status_ |= abi::KilledStatus(0, true);
  for (Task* other : group.tasks_) {
    if (other != &task) other->sleeper_.Wake();
  }
}

bool CoreDump::Killed(Task& task) {
  absl::MutexLock lock(&task.group_->signal_mu_);
  return task.killed_;
}

bool CoreDump::Write(Task& task, const abi::SigInfo& info) {
  if (!Wanted(task)) return false;
  CoreDump dump(task);
  if (!Gather(task, info, dump)) return false;
  const bool written = dump.WriteFile(info);
  Finish(task, written);
  return written;
}

bool CoreDump::WriteFile(const abi::SigInfo& info) {
  Task& task = dumper_;
  ThreadGroup& group = *task.group_;
  const Ref<vfs::MountNamespace> mounts = task.fs_->mounts();
  const vfs::Walk walk{.caller = task, .mounts = *mounts, .root = task.fs_->root(), .start = task.fs_->cwd()};
  (void)vfs::Unlink(walk, "core");  // an old one; what else is wrong shows when it is made
  const Result<Ref<vfs::FileDescription>> file =
      vfs::Open(walk, "core", abi::kOCreat | abi::kOExcl | abi::kOWrOnly | abi::kONofollow | abi::kOLargefile, 0600);
  if (!file.ok()) return false;
  const Result<vfs::Attr> attr = vfs::GetAttr(task, (*file)->path());
  if (!attr.ok() || attr->type != vfs::FileType::kRegular || attr->nlink != 1 || attr->uid != task.creds().fsuid) return false;

  mm::MemoryManager& mm = *task.mm_;
  const mm::ImageLayout layout = mm.layout();
  const PidNamespace& ns = group.pid_namespace();
  CoreProcess process{.pid = group.own_pid(), .parent = group.ParentPidIn(ns), .group = group.ProcessGroupIdIn(ns), .session = group.SessionIdIn(ns),
                      .uid = task.creds().ruid, .gid = task.creds().rgid, .nice = task.nice(), .name = task.name(), .arguments = {}, .auxv = layout.auxv};
  std::string arguments(std::min<uint64_t>(layout.arg_end - layout.arg_start, kArgumentBytes), '\0');
  if (mm.ForceCopyIn(layout.arg_start, std::as_writable_bytes(std::span(arguments))).ok()) {
    std::replace(arguments.begin(), arguments.end(), '\0', ' ');
    process.arguments = std::move(arguments);
  }
  std::vector<CoreSegment> segments;
  for (mm::VmaInfo& vma : mm.Vmas()) {
    if (segments.size() == kMaxSegments) break;
    const uint64_t bytes = BytesToDump(mm, vma, group.core_filter.load());
    segments.push_back({std::move(vma), bytes});
  }
  const std::vector<std::byte> notes = CoreNotes(process, threads_, segments, info);
  uint64_t offset = 0;
  std::vector<std::byte> head = CoreHeaders(segments, notes.size(), offset);
  head.insert(head.end(), notes.begin(), notes.end());
  Writer writer(task, **file, std::min(task.limit(abi::Resource::kCore), task.limit(abi::Resource::kFsize)));
  bool more = writer.At(0, head);
  for (size_t i = 0; i < segments.size() && more; ++i) {
    more = WriteSegment(writer, mm, segments[i], offset, [&] { return Killed(task); });
    offset += segments[i].dumped;
  }
  if (more) (void)(*file)->Truncate(task, offset);  // a hole at the end
  Log(LogLevel::kInfo, "kernel: process %d (%s): core dumped after signal %d", group.pid(), task.name().c_str(), info.signo);
  return true;
}

}  // namespace rampart::kernel
