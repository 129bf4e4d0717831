// The texts of a process's files: stat, status, maps, limits, mounts.
#include <algorithm>
#include <array>

#include "base/safe_math.h"
#include "sentry/fs/proc/internal.h"
#include "sentry/kernel/introspect.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/seccomp/filter.h"
#include "sentry/vfs/operations.h"

namespace rampart::fs::proc {
namespace {

constexpr Nanos kTick = kNanosPerSecond / 100;  // sysconf(_SC_CLK_TCK) is 100
using LL = long long;
using ULL = unsigned long long;

const char* StateName(char state) {
  switch (state) {
    case 'R': return "R (running)";
    case 'S': return "S (sleeping)";
    case 'D': return "D (disk sleep)";
    case 'T': return "T (stopped)";
    case 't': return "t (tracing stop)";
    case 'Z': return "Z (zombie)";
    default: return "X (dead)";
  }
}

// Octal escapes of blanks, tabs, newlines and backslashes, as in /proc/mounts.
std::string Mangle(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\\') {
      Append(out, "\\%03o", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      out += c;
    }
  }
  return out;
}

void AppendVmaHead(std::string& out, const mm::VmaInfo& vma) {
  std::string line;
  Append(line, "%llx-%llx %c%c%c%c %08llx %02x:%02x %llu ", static_cast<ULL>(vma.range.start), static_cast<ULL>(vma.range.end),
         platform::Allows(vma.prot, platform::Prot::kRead) ? 'r' : '-', platform::Allows(vma.prot, platform::Prot::kWrite) ? 'w' : '-',
         platform::Allows(vma.prot, platform::Prot::kExec) ? 'x' : '-', vma.shared ? 's' : 'p', static_cast<ULL>(vma.offset),
         abi::DevMajor(vma.device), abi::DevMinor(vma.device), static_cast<ULL>(vma.inode));
  if (!vma.name.empty()) {
    if (line.size() < 73) line.append(73 - line.size(), ' ');
    for (const char c : vma.name) {
      if (c == '\n') {
        line += "\\012";
      } else {
        line += c;
      }
    }
  }
  out += line + "\n";
}

struct SmapsSums {
  uint64_t size = 0, rss = 0, anon = 0, shared = 0, locked = 0;
  void Add(const mm::VmaInfo& v) {
    size += v.range.length();
    rss += v.rss_bytes;
    anon += v.anon_bytes;
    locked += v.locked_bytes;
    shared += v.rss_bytes - std::min(v.rss_bytes, v.anon_bytes);
  }
};

void AppendSmapsBody(std::string& out, const SmapsSums& s, bool with_size) {
  const auto line = [&](const char* name, uint64_t bytes) { Append(out, "%-16s%8llu kB\n", name, static_cast<ULL>(bytes / 1024)); };
  if (with_size) {
    line("Size:", s.size);
    line("KernelPageSize:", kPageSize);
    line("MMUPageSize:", kPageSize);
  }
  line("Rss:", s.rss);
  line("Pss:", s.rss);
  line("Shared_Clean:", s.shared);
  line("Shared_Dirty:", 0);
  line("Private_Clean:", 0);
  line("Private_Dirty:", s.anon);
  line("Referenced:", s.rss);
  line("Anonymous:", s.anon);
  line("LazyFree:", 0);
  line("AnonHugePages:", 0);
  line("ShmemPmdMapped:", 0);
  line("FilePmdMapped:", 0);
  line("Shared_Hugetlb:", 0);
  line("Private_Hugetlb:", 0);
  line("Swap:", 0);
  line("SwapPss:", 0);
  line("Locked:", s.locked);
}

// Cpus_allowed as hexadecimal words of 32 bits from the highest, and as ranges.
std::string AllowedProcessors(const std::vector<uint64_t>& allowed, uint32_t cpus) {
  const auto has = [&](uint32_t cpu) { return cpu / 64 < allowed.size() && (allowed[cpu / 64] >> (cpu % 64) & 1) != 0; };
  std::string out = "Cpus_allowed:\t";
  for (uint32_t word = (cpus + 31) / 32; word-- > 0;) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < 32; ++i) bits |= has(word * 32 + i) && word * 32 + i < cpus ? uint32_t{1} << i : 0;
    const bool first = out.back() == '\t';
    Append(out, first ? "%x" : ",%08x", bits);
  }
  out += "\nCpus_allowed_list:\t";
  for (uint32_t cpu = 0; cpu < cpus; ++cpu) {
    if (!has(cpu)) continue;
    uint32_t last = cpu;
    while (last + 1 < cpus && has(last + 1)) ++last;
    if (out.back() != '\t') out += ',';
    Append(out, last > cpu ? "%u-%u" : "%u", cpu, last);
    cpu = last;
  }
  return out;
}

}  // namespace

std::string MapsText(mm::MemoryManager& mm, bool smaps) {
  std::string out;
  for (const mm::VmaInfo& vma : mm.Vmas()) {
    AppendVmaHead(out, vma);
    if (!smaps) continue;
    SmapsSums sums;
    sums.Add(vma);
    AppendSmapsBody(out, sums, true);
    Append(out, "THPeligible:    0\nVmFlags:%s%s%s%s mr mw me%s%s\n", platform::Allows(vma.prot, platform::Prot::kRead) ? " rd" : "",
           platform::Allows(vma.prot, platform::Prot::kWrite) ? " wr" : "", platform::Allows(vma.prot, platform::Prot::kExec) ? " ex" : "",
           vma.shared ? " sh" : "", vma.grows_down ? " gd" : "", vma.dont_dump ? " dd" : "");
  }
  return out;
}

std::string SmapsRollupText(mm::MemoryManager& mm) {
  SmapsSums sums;
  uint64_t first = 0, last = 0;
  for (const mm::VmaInfo& vma : mm.Vmas()) {
    sums.Add(vma);
    if (first == 0) first = vma.range.start;
    last = vma.range.end;
  }
  std::string out;
  Append(out, "%llx-%llx ---p 00000000 00:00 0                          [rollup]\n", static_cast<ULL>(first), static_cast<ULL>(last));
  AppendSmapsBody(out, sums, false);
  return out;
}

std::string StatText(kernel::Task& task, const kernel::PidNamespace& ns, bool whole_process, bool may_inspect) {
  kernel::ThreadGroup& group = task.group();
  const kernel::TaskView v = kernel::ViewOf(task);
  const RefPtr<mm::MemoryManager> mm = task.GetMm();
  const mm::MemoryStats m = mm ? mm->stats() : mm::MemoryStats{};
  const mm::ImageLayout layout = mm && may_inspect ? mm->layout() : mm::ImageLayout{};
  const Nanos user = whole_process ? v.group_user_time : v.user_time;
  const Nanos system = whole_process ? v.group_system_time : v.system_time;
  std::string out;
  const abi::Pid foreground = v.tty_foreground > 0 ? task.kernel().NumberIn(ns, v.tty_foreground) : v.tty_foreground;
  Append(out, "%d (%s) %c %d %d %d %llu %d %u", whole_process ? group.PidIn(ns) : task.TidIn(ns), task.name().c_str(), v.state, group.ParentPidIn(ns),
         group.ProcessGroupIdIn(ns), group.SessionIdIn(ns), static_cast<ULL>(v.tty_device), foreground, 0x400000u);
  Append(out, " 0 0 0 0 %lld %lld %lld %lld", static_cast<LL>(user / kTick), static_cast<LL>(system / kTick),
         static_cast<LL>(v.children_user_time / kTick), static_cast<LL>(v.children_system_time / kTick));
  Append(out, " %d %d %d 0 %lld %llu %llu %llu", 20 + v.nice, v.nice, v.threads, static_cast<LL>((v.start_time - task.kernel().boot_time()) / kTick),
         static_cast<ULL>(m.virtual_bytes), static_cast<ULL>(m.resident_bytes / kPageSize), static_cast<ULL>(group.limit(abi::Resource::kRss)));
  Append(out, " %llu %llu %llu 0 0", static_cast<ULL>(layout.start_code), static_cast<ULL>(layout.end_code), static_cast<ULL>(layout.start_stack));
  Append(out, " %llu %llu %llu %llu 0 0 0 %d 0 %u %u 0 0 0", static_cast<ULL>(v.pending & 0x7fffffff), static_cast<ULL>(v.blocked & 0x7fffffff),
         static_cast<ULL>(v.ignored & 0x7fffffff), static_cast<ULL>(v.caught & 0x7fffffff), v.exit_signal, v.rt_priority, v.scheduling_policy);
  Append(out, " %llu %llu %llu %llu %llu %llu %llu 0\n", static_cast<ULL>(layout.start_data), static_cast<ULL>(layout.end_data),
         static_cast<ULL>(layout.start_brk), static_cast<ULL>(layout.arg_start), static_cast<ULL>(layout.arg_end),
         static_cast<ULL>(layout.env_start), static_cast<ULL>(layout.env_end));
  return out;
}

namespace {

// NStgid and its like: the numbers in the mount's namespace and in each further one down to the task's own.
std::string NestedNumbers(kernel::Task& task, const kernel::PidNamespace& ns) {
  std::vector<const kernel::PidNamespace*> inwards;
  for (const kernel::PidNamespace* at = &task.pid_namespace(); at != nullptr && at->level() >= ns.level(); at = at->parent().get()) inwards.push_back(at);
  std::reverse(inwards.begin(), inwards.end());
  const kernel::ThreadGroup& group = task.group();
  std::string out = "\nNStgid:";
  for (const kernel::PidNamespace* at : inwards) Append(out, "\t%d", group.PidIn(*at));
  out += "\nNSpid:";
  for (const kernel::PidNamespace* at : inwards) Append(out, "\t%d", task.TidIn(*at));
  out += "\nNSpgid:";
  for (const kernel::PidNamespace* at : inwards) Append(out, "\t%d", group.ProcessGroupIdIn(*at));
  out += "\nNSsid:";
  for (const kernel::PidNamespace* at : inwards) Append(out, "\t%d", group.SessionIdIn(*at));
  return out;
}

}  // namespace

std::string StatusText(kernel::Task& task, const kernel::PidNamespace& ns) {
  kernel::ThreadGroup& group = task.group();
  const kernel::TaskView v = kernel::ViewOf(task);
  const Ref<const auth::Credentials> creds = task.GetCreds();
  std::string out;
  out += "Name:\t" + task.name() + "\n";
  const RefPtr<vfs::FsContext> fs = task.GetFs();
  Append(out, "Umask:\t%04o\nState:\t%s\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t%d\n", fs ? fs->umask() : 022, StateName(v.state),
         group.PidIn(ns), task.TidIn(ns), group.ParentPidIn(ns), kernel::Tracing::TracerTidIn(task, ns));
  Append(out, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", creds->ruid, creds->euid, creds->suid, creds->fsuid, creds->rgid, creds->egid, creds->sgid,
         creds->fsgid);
  const RefPtr<vfs::FdTable> fds = task.GetFds();
  size_t fd_size = 64;
  if (fds) {
    const std::vector<Fd> list = fds->List();
    while (!list.empty() && static_cast<size_t>(list.back()) >= fd_size) fd_size *= 2;
  }
  Append(out, "FDSize:\t%zu\nGroups:\t", fds ? fd_size : 0);
  for (const abi::Gid gid : creds->groups) Append(out, "%u ", gid);
  out += NestedNumbers(task, ns) + "\nKthread:\t0\n";
  if (const RefPtr<mm::MemoryManager> mm = task.GetMm()) {
    const mm::MemoryStats m = mm->stats();
    const auto line = [&](const char* name, uint64_t bytes) { Append(out, "%s:\t%8llu kB\n", name, static_cast<ULL>(bytes / 1024)); };
    line("VmPeak", m.peak_virtual_bytes);
    line("VmSize", m.virtual_bytes);
    line("VmLck", m.locked_bytes);
    line("VmPin", 0);
    line("VmHWM", m.peak_resident_bytes);
    line("VmRSS", m.resident_bytes);
    line("RssAnon", m.anon_bytes);
    line("RssFile", m.resident_bytes - std::min(m.resident_bytes, m.anon_bytes + m.shared_bytes));
    line("RssShmem", m.shared_bytes);
    line("VmData", m.data_bytes);
    line("VmStk", m.stack_bytes);
    line("VmExe", m.exec_bytes);
    line("VmLib", 0);
    line("VmPTE", 0);
    line("VmSwap", 0);
    out += "HugetlbPages:\t       0 kB\nCoreDumping:\t0\nTHP_enabled:\t1\n";
  }
  Append(out, "Threads:\t%d\nSigQ:\t%llu/%llu\n", v.threads, static_cast<ULL>(v.signal_queue_size), static_cast<ULL>(group.limit(abi::Resource::kSigpending)));
  Append(out, "SigPnd:\t%016llx\nShdPnd:\t%016llx\nSigBlk:\t%016llx\nSigIgn:\t%016llx\nSigCgt:\t%016llx\n", static_cast<ULL>(v.pending),
         static_cast<ULL>(v.shared_pending), static_cast<ULL>(v.blocked), static_cast<ULL>(v.ignored), static_cast<ULL>(v.caught));
  Append(out, "CapInh:\t%016llx\nCapPrm:\t%016llx\nCapEff:\t%016llx\nCapBnd:\t%016llx\nCapAmb:\t%016llx\n", static_cast<ULL>(creds->inheritable),
         static_cast<ULL>(creds->permitted), static_cast<ULL>(creds->effective), static_cast<ULL>(creds->bounding), static_cast<ULL>(creds->ambient));
  const RefPtr<const appfilter::Filter> filter = task.seccomp_filter();
  Append(out, "NoNewPrivs:\t%d\nSeccomp:\t%u\nSeccomp_filters:\t%u\n", creds->no_new_privs ? 1 : 0, task.seccomp_mode(), filter ? filter->count() : 0);
  out += AllowedProcessors(task.AllowedProcessors(), task.kernel().cpus());
  out += "\nMems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n";
  return out;
}

std::string LimitsText(kernel::ThreadGroup& group) {
  struct Row {
    const char* name;
    abi::Resource resource;
    const char* unit;
  };
  static constexpr Row kRows[] = {
      {"Max cpu time", abi::Resource::kCpu, "seconds"}, {"Max file size", abi::Resource::kFsize, "bytes"},
      {"Max data size", abi::Resource::kData, "bytes"}, {"Max stack size", abi::Resource::kStack, "bytes"},
      {"Max core file size", abi::Resource::kCore, "bytes"}, {"Max resident set", abi::Resource::kRss, "bytes"},
      {"Max processes", abi::Resource::kNproc, "processes"}, {"Max open files", abi::Resource::kNofile, "files"},
      {"Max locked memory", abi::Resource::kMemlock, "bytes"}, {"Max address space", abi::Resource::kAs, "bytes"},
      {"Max file locks", abi::Resource::kLocks, "locks"}, {"Max pending signals", abi::Resource::kSigpending, "signals"},
      {"Max msgqueue size", abi::Resource::kMsgqueue, "bytes"}, {"Max nice priority", abi::Resource::kNice, ""},
      {"Max realtime priority", abi::Resource::kRtprio, ""}, {"Max realtime timeout", abi::Resource::kRttime, "us"},
  };
  const auto value = [](uint64_t v) { return v == abi::kRlimInfinity ? std::string("unlimited") : std::to_string(v); };
  std::string out;
  Append(out, "%-26s%-21s%-21s%-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
  for (const Row& row : kRows) {
    const abi::Rlimit limit = group.Limit(row.resource);
    Append(out, "%-26s%-21s%-21s%-10s\n", row.name, value(limit.cur).c_str(), value(limit.max).c_str(), row.unit);
  }
  return out;
}

namespace {

// "shared:2 master:1 propagate_from:4", as mountinfo has it, each with a space behind.
std::string PropagationText(const vfs::MountInfo& info) {
  std::string text;
  if (info.shared != 0) text += "shared:" + std::to_string(info.shared) + " ";
  if (info.master != 0) text += "master:" + std::to_string(info.master) + " ";
  if (info.propagate_from != 0) text += "propagate_from:" + std::to_string(info.propagate_from) + " ";
  if (info.unbindable) text += "unbindable ";
  return text;
}

std::string SuperFlags(const vfs::Filesystem& fs) {
  std::string text;
  if ((fs.flags() & vfs::Filesystem::kSbSynchronous) != 0) text += ",sync";
  if ((fs.flags() & vfs::Filesystem::kSbDirSync) != 0) text += ",dirsync";
  if ((fs.flags() & vfs::Filesystem::kSbMandatoryLocks) != 0) text += ",mand";
  if ((fs.flags() & vfs::Filesystem::kSbLazyTime) != 0) text += ",lazytime";
  return text;
}

}  // namespace

std::string MountsText(kernel::Task& task, MountTable format) {
  const RefPtr<vfs::FsContext> fs = task.GetFs();
  if (!fs) return "";
  std::string out;
  for (const vfs::MountInfo& info : fs->mounts()->List(fs->root())) {
    const vfs::Mount& mount = *info.mount;
    const std::string source = Mangle(mount.source().empty() ? "none" : mount.source());
    const std::string where = Mangle(info.mountpoint);
    const char* const type = mount.fs().type();
    const std::string super = SuperFlags(mount.fs());
    std::string own = mount.fs().Options();
    if (!own.empty()) own.insert(0, ",");
    if (format == MountTable::kMounts) {
      // One list for both: read-only if either is.
      out += source + " " + where + " " + type + " " + (mount.read_only() ? "ro" : "rw") + super + mount.flags().Text().substr(2) + own + " 0 0\n";
    } else if (format == MountTable::kMountStats) {
      out += "device " + source + " mounted on " + where + " with fstype " + type + "\n";
    } else {
      Append(out, "%llu %llu %u:%u ", static_cast<ULL>(mount.id()), static_cast<ULL>(info.parent_id), abi::DevMajor(mount.fs().device()),
             abi::DevMinor(mount.fs().device()));
      out += Mangle(info.root) + " " + where + " " + mount.flags().Text() + " " + PropagationText(info) + "- " + type + " " + source + " " +
             (mount.fs().read_only() ? "ro" : "rw") + super + own + "\n";
    }
  }
  return out;
}

}  // namespace rampart::fs::proc
