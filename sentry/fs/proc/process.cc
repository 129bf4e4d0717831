// /proc/PID and /proc/PID/task/TID.
#include <charconv>
#include <cstdio>

#include "base/safe_math.h"
#include "sentry/fs/proc/internal.h"
#include "sentry/kernel/exec_file.h"
#include "sentry/kernel/introspect.h"
#include "sentry/kernel/namespace_file.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs::proc {
Result<Ref<mm::MemoryManager>> InspectableMm(Caller& caller, kernel::Task& task) {
  if (!MayInspect(caller, task)) return Errno::kEACCES;
  RefPtr<mm::MemoryManager> mm = task.GetMm();
  if (!mm) return Errno::kESRCH;
  return std::move(mm).ToRef();
}

namespace {

using Text = Result<std::string>;

// Where a task is shown: in a thread's own directory or its process's, and whose numbers the mount has.
struct Shown {
  bool thread;
  const kernel::PidNamespace& ns;
};

// Makes the text of one file for one task.
using Maker = Text (*)(Caller& caller, kernel::Task& task, const Shown& shown);

// A file of a process: owned by its identity, gone (ESRCH) with it.
class ProcessFile final : public pseudo::PseudoFile {
 public:
  using Storer = Result<void> (*)(Caller& caller, kernel::Task& task, std::string_view text);
  ProcessFile(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, bool thread_directory, uint32_t mode, uint64_t ino, Maker make, Storer store)
      : PseudoFile(fs, mode, ino), fs_(std::move(fs)), task_(std::move(task)), thread_directory_(thread_directory), make_(make), store_(store) {}
  Text Generate(Caller& caller) override { return make_(caller, *task_, {thread_directory_, fs_->pid_namespace()}); }
  Result<void> Store(Caller& caller, std::string_view text) override {
    if (store_ == nullptr) return Errno::kEINVAL;
    return store_(caller, *task_, text);
  }

 protected:
  std::pair<abi::Uid, abi::Gid> Owner() const override {
    const Ref<const auth::Credentials> creds = task_->GetCreds();
    return {creds->euid, creds->egid};
  }

 private:
  const Ref<ProcFilesystem> fs_;
  const Ref<kernel::Task> task_;
  const bool thread_directory_;
  const Maker make_;
  const Storer store_;
};

Text ReadArea(Caller& caller, kernel::Task& task, bool environment) {
  const RefPtr<mm::MemoryManager> mm = task.GetMm();
  if (!mm) return std::string();
  if (environment && !MayInspect(caller, task)) return Errno::kEACCES;
  const mm::ImageLayout layout = mm->layout();
  const UserAddr start = environment ? layout.env_start : layout.arg_start;
  const UserAddr end = environment ? layout.env_end : layout.arg_end;
  constexpr uint64_t kMost = uint64_t{4} << 20;
  if (start == 0 || end <= start || end - start > kMost) return std::string();
  std::string text(end - start, '\0');
  const Result<size_t> n = mm->ForceCopyIn(start, std::as_writable_bytes(std::span(text)));
  text.resize(n.ok() ? *n : 0);
  return text;
}

Text Cmdline(Caller& caller, kernel::Task& task, const Shown&) { return ReadArea(caller, task, false); }
Text Environ(Caller& caller, kernel::Task& task, const Shown&) { return ReadArea(caller, task, true); }
Text Comm(Caller&, kernel::Task& task, const Shown&) { return task.name() + "\n"; }
Text Stat(Caller& caller, kernel::Task& task, const Shown& shown) { return StatText(task, shown.ns, !shown.thread, MayInspect(caller, task)); }
Text Status(Caller&, kernel::Task& task, const Shown& shown) { return StatusText(task, shown.ns); }
Text Limits(Caller&, kernel::Task& task, const Shown&) { return LimitsText(task.group()); }
Text Mounts(Caller&, kernel::Task& task, const Shown&) { return MountsText(task, MountTable::kMounts); }
Text MountInfoFile(Caller&, kernel::Task& task, const Shown&) { return MountsText(task, MountTable::kMountInfo); }
Text MountStats(Caller&, kernel::Task& task, const Shown&) { return MountsText(task, MountTable::kMountStats); }

Text Smaps(Caller& caller, kernel::Task& task, const Shown&) {
  const Ref<mm::MemoryManager> mm = TRY(InspectableMm(caller, task));
  return MapsText(*mm, true);
}
Text NumaMaps(Caller& caller, kernel::Task& task, const Shown&) {
  const Ref<mm::MemoryManager> mm = TRY(InspectableMm(caller, task));
  return NumaMapsText(task, *mm);
}
Text SmapsRollup(Caller& caller, kernel::Task& task, const Shown&) {
  const Ref<mm::MemoryManager> mm = TRY(InspectableMm(caller, task));
  return SmapsRollupText(*mm);
}
Text Auxv(Caller& caller, kernel::Task& task, const Shown&) {
  const Ref<mm::MemoryManager> mm = TRY(InspectableMm(caller, task));
  const mm::ImageLayout layout = mm->layout();
  std::string text;
  for (const uint64_t word : layout.auxv) {
    // SAFETY: a word's bytes as they are in memory: what the file holds.
    text.append(reinterpret_cast<const char*>(&word), sizeof(word));
  }
  return text;
}
Text Statm(Caller&, kernel::Task& task, const Shown&) {
  const RefPtr<mm::MemoryManager> mm = task.GetMm();
  const mm::MemoryStats m = mm ? mm->stats() : mm::MemoryStats{};
  std::string out;
  const auto pages = [](uint64_t bytes) { return static_cast<unsigned long long>(bytes / kPageSize); };
  Append(out, "%llu %llu %llu %llu 0 %llu 0\n", pages(m.virtual_bytes), pages(m.resident_bytes), pages(m.shared_bytes), pages(m.exec_bytes),
         pages(m.data_bytes + m.stack_bytes));
  return out;
}
// What goes to and from disks is the host's: 0.
Text Io(Caller& caller, kernel::Task& task, const Shown& shown) {
  if (!MayInspect(caller, task)) return Errno::kEACCES;
  kernel::ResourceTotals totals = shown.thread ? task.Usage() : task.group().Usage();
  if (!shown.thread) totals += task.group().ChildrenUsage();
  std::string out;
  const auto number = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  Append(out, "rchar: %llu\nwchar: %llu\nsyscr: %llu\nsyscw: %llu\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n", number(totals.bytes_read),
         number(totals.bytes_written), number(totals.read_calls), number(totals.write_calls));
  return out;
}
Text Cgroup(Caller&, kernel::Task&, const Shown&) { return std::string("0::/\n"); }
Text Cpuset(Caller&, kernel::Task&, const Shown&) { return std::string("/\n"); }
Text Nothing(Caller&, kernel::Task&, const Shown&) { return std::string(); }
Text Zero(Caller&, kernel::Task&, const Shown&) { return std::string("0\n"); }
Text NoUser(Caller&, kernel::Task&, const Shown&) { return std::string("4294967295"); }
Text Personality(Caller&, kernel::Task& task, const Shown&) {
  char text[16];
  std::snprintf(text, sizeof(text), "%08x\n", task.group().personality.load());
  return std::string(text);
}
Text Wchan(Caller&, kernel::Task&, const Shown&) { return std::string("0"); }
Text IdMap(Caller&, kernel::Task&, const Shown&) { return std::string("         0          0 4294967295\n"); }
Text SetGroups(Caller&, kernel::Task&, const Shown&) { return std::string("allow\n"); }
Text Schedstat(Caller&, kernel::Task& task, const Shown&) {
  std::string out;
  Append(out, "%lld 0 0\n", static_cast<long long>(task.user_time() + task.system_time()));
  return out;
}
Text Children(Caller&, kernel::Task& task, const Shown& shown) {
  std::string out;
  for (const Ref<kernel::ThreadGroup>& group : task.kernel().Groups()) {
    if (group->ParentPid() == task.group().pid()) Append(out, "%d ", group->PidIn(shown.ns));
  }
  return out;
}

Result<void> StoreComm(Caller& caller, kernel::Task& task, std::string_view text) {
  if (caller.task() == nullptr || &caller.task()->group() != &task.group()) return Errno::kEINVAL;
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  task.SetName(std::string(text.substr(0, 15)));
  return Ok();
}
// Linux: __set_oom_adj.
Result<void> SetOomScore(Caller& caller, kernel::Task& task, int value) {
  kernel::ThreadGroup& group = task.group();
  const bool privileged = caller.creds().HasCapability(abi::Capability::kSysResource);
  if (value < group.oom_score_adj_min.load() && !privileged) return Errno::kEACCES;
  group.oom_score_adj = value;
  if (privileged) group.oom_score_adj_min = value;
  return Ok();
}
Result<int> ParseBounded(std::string_view text, int least, int most) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) return Errno::kEINVAL;
  return value;
}
constexpr int kOomScoreMost = 1000, kOomAdjLeast = -17, kOomAdjMost = 15;
Text OomScoreAdj(Caller&, kernel::Task& task, const Shown&) { return std::to_string(task.group().oom_score_adj.load()) + "\n"; }
Result<void> StoreOomScoreAdj(Caller& caller, kernel::Task& task, std::string_view text) {
  return SetOomScore(caller, task, TRY(ParseBounded(text, -kOomScoreMost, kOomScoreMost)));
}
// The older scale of the same.
Text OomAdj(Caller&, kernel::Task& task, const Shown&) {
  const int value = task.group().oom_score_adj.load();
  return std::to_string(value == kOomScoreMost ? kOomAdjMost : value * -kOomAdjLeast / kOomScoreMost) + "\n";
}
Result<void> StoreOomAdj(Caller& caller, kernel::Task& task, std::string_view text) {
  const int value = TRY(ParseBounded(text, kOomAdjLeast, kOomAdjMost));
  return SetOomScore(caller, task, value == kOomAdjMost ? kOomScoreMost : value * kOomScoreMost / -kOomAdjLeast);
}

// Text as a number, in any base that C writes numbers in.
Result<uint64_t> ParseNumber(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  int base = 10;
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    base = 16;
    text.remove_prefix(2);
  } else if (text.size() > 1 && text[0] == '0') {
    base = 8;
  }
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return Errno::kEINVAL;
  return value;
}
constexpr uint32_t kCoreFilterBits = 0x1ff;
Text CoreFilter(Caller&, kernel::Task& task, const Shown&) {
  std::string out;
  Append(out, "%08x\n", task.group().core_filter.load());
  return out;
}
Result<void> StoreCoreFilter(Caller&, kernel::Task& task, std::string_view text) {
  task.group().core_filter = static_cast<uint32_t>(TRY(ParseNumber(text))) & kCoreFilterBits;
  return Ok();
}
// Others need the right to schedule it (Linux: CAP_SYS_NICE).
Result<void> MayTouchSlack(const Caller& caller, const kernel::Task& task) {
  const bool own = const_cast<Caller&>(caller).task() == &task;
  return own || caller.creds().HasCapability(abi::Capability::kSysNice) ? Result<void>(Ok()) : Errno::kEPERM;
}
Text TimerSlack(Caller& caller, kernel::Task& task, const Shown&) {
  TRY(MayTouchSlack(caller, task));
  return std::to_string(task.timer_slack.load()) + "\n";
}
Result<void> StoreTimerSlack(Caller& caller, kernel::Task& task, std::string_view text) {
  const uint64_t value = TRY(ParseNumber(text));
  TRY(MayTouchSlack(caller, task));
  task.timer_slack.store(value == 0 ? task.default_timer_slack.load() : value);
  return Ok();
}

struct FileRow {
  const char* name;
  uint32_t mode;
  Maker make;
  ProcessFile::Storer store = nullptr;
};
constexpr FileRow kFiles[] = {
    {"auxv", 0400, Auxv}, {"cgroup", 0444, Cgroup}, {"cmdline", 0444, Cmdline}, {"comm", 0644, Comm, StoreComm},
    {"arch_status", 0444, Nothing}, {"coredump_filter", 0644, CoreFilter, StoreCoreFilter}, {"cpuset", 0444, Cpuset}, {"environ", 0400, Environ},
    {"gid_map", 0444, IdMap}, {"io", 0400, Io}, {"limits", 0444, Limits}, {"loginuid", 0444, NoUser},
    {"mountinfo", 0444, MountInfoFile}, {"mounts", 0444, Mounts}, {"mountstats", 0400, MountStats}, {"numa_maps", 0444, NumaMaps},
    {"projid_map", 0444, IdMap}, {"oom_adj", 0644, OomAdj, StoreOomAdj},
    {"oom_score", 0444, Zero}, {"oom_score_adj", 0644, OomScoreAdj, StoreOomScoreAdj}, {"personality", 0400, Personality}, {"schedstat", 0444, Schedstat},
    {"sessionid", 0444, NoUser}, {"setgroups", 0644, SetGroups}, {"smaps", 0444, Smaps}, {"smaps_rollup", 0444, SmapsRollup}, {"stat", 0444, Stat},
    {"statm", 0444, Statm}, {"status", 0444, Status}, {"timerslack_ns", 0666, TimerSlack, StoreTimerSlack}, {"uid_map", 0444, IdMap}, {"wchan", 0444, Wchan},
};

// cwd, root, exe: lead straight to what they name.
class MagicLink final : public pseudo::PseudoInode {
 public:
  enum class What { kCwd, kRoot, kExe };
  MagicLink(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, What what, uint64_t ino)
      : PseudoInode(std::move(fs), vfs::FileType::kSymlink, 0777, ino), task_(std::move(task)), what_(what) {}
  bool IsMagicLink() const override { return true; }
  Result<vfs::Path> FollowMagic(Caller& caller) override {
    if (!MayInspect(caller, *task_)) return Errno::kEACCES;
    return Target();
  }
  Text ReadLink(const Caller& caller) override {
    if (!MayInspect(caller, *task_)) return Errno::kEACCES;
    const vfs::Path target = TRY(Target());
    const RefPtr<vfs::FsContext> viewer = const_cast<Caller&>(caller).task() != nullptr ? const_cast<Caller&>(caller).task()->GetFs() : task_->GetFs();
    if (!viewer) return Errno::kENOENT;
    return LinkText(*viewer, target);
  }

 private:
  Result<vfs::Path> Target() {
    if (what_ == What::kExe) {
      const RefPtr<mm::MemoryManager> mm = task_->GetMm();
      const RefPtr<mm::MappingIdentity> identity = mm ? mm->executable() : nullptr;
      const auto* program = dynamic_cast<const kernel::Program*>(identity.get());
      if (program == nullptr) return Errno::kENOENT;
      return program->file().path();
    }
    const RefPtr<vfs::FsContext> fs = task_->GetFs();
    if (!fs) return Errno::kENOENT;
    return what_ == What::kCwd ? fs->cwd() : fs->root();
  }
  const Ref<kernel::Task> task_;
  const What what_;
};

// mem: the process's memory at its addresses.
class MemDescription final : public AddressSpaceDescription {
 public:
  using AddressSpaceDescription::AddressSpaceDescription;
  Result<size_t> PRead(Caller&, mm::IoDst& dst, uint64_t offset, uint32_t) override {
    std::vector<std::byte> buffer(std::min<size_t>(dst.remaining(), size_t{1} << 20));
    if (buffer.empty()) return size_t{0};
    const Result<size_t> n = mm().ForceCopyIn(offset, buffer);
    if (!n.ok()) return Errno::kEIO;
    return dst.Write(std::span(buffer).first(*n));
  }
  Result<size_t> PWrite(Caller&, mm::IoSrc& src, uint64_t offset, uint32_t, uint64_t* end) override {
    std::vector<std::byte> buffer(std::min<size_t>(src.remaining(), size_t{1} << 20));
    if (buffer.empty()) return size_t{0};
    buffer.resize(TRY(src.Read(buffer)));
    const Result<size_t> n = mm().ForceCopyOut(offset, buffer);
    if (!n.ok()) return Errno::kEIO;
    if (end != nullptr) *end = offset + *n;
    return *n;
  }
};

// task/: the process's threads.
class TasksDirectory final : public pseudo::PseudoDirectory {
 public:
  TasksDirectory(Ref<ProcFilesystem> fs, Ref<kernel::Task> task)
      : PseudoDirectory(fs, 0555, ProcInode(task->group().pid(), Kind::kTasks)), proc_(std::move(fs)), task_(std::move(task)) {}
  vfs::CachePolicy cache_policy() const override { return vfs::CachePolicy::kRevalidate; }
  Result<bool> Revalidate(const Caller& caller, std::string_view name, vfs::Inode* child) override {
    if (child == nullptr) return false;
    const RefPtr<kernel::Task> task = Find(name);
    (void)caller;
    return task && child->ino() == ProcInode(task->tid(), Kind::kTaskDirectory);
  }

 protected:
  Result<RefPtr<vfs::Inode>> FindComputed(const Caller&, std::string_view name) override {
    RefPtr<kernel::Task> task = Find(name);
    if (!task) return RefPtr<vfs::Inode>(nullptr);
    return RefPtr<vfs::Inode>(NewProcessDirectory(proc_, std::move(task).ToRef(), true));
  }
  Result<void> ListComputed(const Caller&, std::vector<pseudo::PseudoEntry>& out) override {
    for (const Ref<kernel::Task>& task : task_->group().Tasks()) {
      const abi::Pid tid = task->TidIn(proc_->pid_namespace());
      out.push_back({std::to_string(tid), vfs::FileType::kDirectory, ProcInode(task->tid(), Kind::kTaskDirectory)});
    }
    return Ok();
  }
  uint64_t LinkCount() const override { return 2 + task_->group().Tasks().size(); }

 private:
  RefPtr<kernel::Task> Find(std::string_view name) const {
    for (const Ref<kernel::Task>& task : task_->group().Tasks()) {
      if (std::to_string(task->TidIn(proc_->pid_namespace())) == name) return task;
    }
    return nullptr;
  }
  const Ref<ProcFilesystem> proc_;
  const Ref<kernel::Task> task_;
};

class ProcessDirectory : public pseudo::PseudoDirectory {
 public:
  ProcessDirectory(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, uint64_t ino) : PseudoDirectory(std::move(fs), 0555, ino), task_(std::move(task)) {}

 protected:
  std::pair<abi::Uid, abi::Gid> Owner() const override {
    const Ref<const auth::Credentials> creds = task_->GetCreds();
    return {creds->euid, creds->egid};
  }

 protected:
  const Ref<kernel::Task> task_;
};

// /proc/PID, which stands for the process where a pidfd would; /proc/PID/task/TID does not.
class WholeProcessDirectory final : public ProcessDirectory, public kernel::ProcessInode {
 public:
  using ProcessDirectory::ProcessDirectory;
  Ref<kernel::ThreadGroup> process() const override { return Ref<kernel::ThreadGroup>::Share(&task_->group()); }
};

// ns/mnt and its like: links to the files that mean namespaces.
class NamespaceLink final : public pseudo::PseudoInode {
 public:
  using Find = Result<vfs::Path> (*)(const kernel::Task& task, kernel::NamespaceKind kind);
  NamespaceLink(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, kernel::NamespaceKind kind, Find find)
      : PseudoInode(std::move(fs), vfs::FileType::kSymlink, 0777), task_(std::move(task)), kind_(kind), find_(find) {}
  bool IsMagicLink() const override { return true; }
  Result<vfs::Path> FollowMagic(Caller& caller) override {
    if (!MayInspect(caller, *task_)) return Errno::kEACCES;
    return find_(*task_, kind_);
  }
  Text ReadLink(const Caller& caller) override {
    if (!MayInspect(caller, *task_)) return Errno::kEACCES;
    return TRY(find_(*task_, kind_)).dentry->name();
  }

 private:
  const Ref<kernel::Task> task_;
  const kernel::NamespaceKind kind_;
  const Find find_;
};

Ref<vfs::Inode> NewNamespaceDirectory(const Ref<ProcFilesystem>& fs, const Ref<kernel::Task>& task) {
  using kernel::NamespaceKind;
  auto directory = MakeRef<pseudo::PseudoDirectory>(fs, 0511, ProcInode(task->tid(), Kind::kNs));
  static constexpr std::pair<const char*, NamespaceKind> kLinks[] = {
      {"cgroup", NamespaceKind::kCgroup}, {"ipc", NamespaceKind::kIpc},   {"mnt", NamespaceKind::kMnt},
      {"net", NamespaceKind::kNet},       {"pid", NamespaceKind::kPid},
      {"time", NamespaceKind::kTime},     {"time_for_children", NamespaceKind::kTime},
      {"user", NamespaceKind::kUser},     {"uts", NamespaceKind::kUts}};
  for (const auto& [name, kind] : kLinks) directory->Add(name, MakeRef<NamespaceLink>(fs, task, kind, kernel::NamespaceFile));
  const auto for_children = [](const kernel::Task& of, NamespaceKind) { return kernel::ChildrenNamespaceFile(of); };
  directory->Add("pid_for_children", MakeRef<NamespaceLink>(fs, task, NamespaceKind::kPid, for_children));
  return directory;
}

}  // namespace

Ref<vfs::Inode> NewProcessDirectory(Ref<ProcFilesystem> fs, Ref<kernel::Task> task, bool thread_directory) {
  const abi::Pid id = thread_directory ? task->tid() : task->group().pid();
  const uint64_t ino = thread_directory ? ProcInode(id, Kind::kTaskDirectory)
                                        : ProcInode(id, Kind::kProcessDirectory, static_cast<uint64_t>(task->group().start_time()));
  const Ref<ProcessDirectory> directory =
      thread_directory ? MakeRef<ProcessDirectory>(fs, task, ino) : Ref<ProcessDirectory>(MakeRef<WholeProcessDirectory>(fs, task, ino));
  uint64_t number = static_cast<uint64_t>(Kind::kFirstFile);
  const auto next = [&] { return ProcInode(id, static_cast<Kind>(number++), thread_directory ? 1 : 0); };
  for (const FileRow& row : kFiles) {
    directory->Add(row.name, MakeRef<ProcessFile>(fs, task, thread_directory, row.mode, next(), row.make, row.store));
  }
  directory->Add("maps", NewMapsFile(fs, task, next()));
  directory->Add("pagemap", NewPageMapFile(fs, task, next()));
  directory->Add("cwd", MakeRef<MagicLink>(fs, task, MagicLink::What::kCwd, next()));
  directory->Add("root", MakeRef<MagicLink>(fs, task, MagicLink::What::kRoot, next()));
  directory->Add("exe", MakeRef<MagicLink>(fs, task, MagicLink::What::kExe, next()));
  directory->Add("mem", MakeRef<AddressSpaceFile<MemDescription>>(fs, task, next(), 0600));
  directory->Add("fd", NewFdDirectory(fs, task, false));
  directory->Add("fdinfo", NewFdDirectory(fs, task, true));
  directory->Add("ns", NewNamespaceDirectory(fs, task));
  directory->Add("net", NewNetDirectory(fs, id, thread_directory));
  if (thread_directory) {
    directory->Add("children", MakeRef<ProcessFile>(fs, task, true, 0444, next(), Children, nullptr));
  } else {
    directory->Add("task", MakeRef<TasksDirectory>(fs, task));
  }
  return directory;
}

}  // namespace rampart::fs::proc
