// Files about the machine: cpuinfo, meminfo, stat, uptime, …
#include <cpuid.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstring>
#include <memory>

#include "base/host.h"
#include "base/safe_math.h"
#include "sentry/fs/proc/internal.h"
#include "sentry/kernel/introspect.h"
#include "sentry/vfs/filesystem_types.h"

namespace rampart::fs::proc {
namespace {

using Text = Result<std::string>;

// The processor's brand string and identity, asked of the processor itself: the Sentry may not open the host's /proc.
struct Cpu {
  std::string vendor = "GenuineIntel";
  std::string brand;
  unsigned family = 6, model = 0, stepping = 0;
  std::string flags;
};

struct FlagBit {
  unsigned leaf, subleaf;
  char reg;  // a b c d
  unsigned bit;
  const char* name;
};
constexpr FlagBit kFlagBits[] = {
    {1, 0, 'd', 0, "fpu"}, {1, 0, 'd', 3, "pse"}, {1, 0, 'd', 4, "tsc"}, {1, 0, 'd', 5, "msr"}, {1, 0, 'd', 6, "pae"}, {1, 0, 'd', 8, "cx8"},
    {1, 0, 'd', 9, "apic"}, {1, 0, 'd', 13, "pge"}, {1, 0, 'd', 15, "cmov"}, {1, 0, 'd', 16, "pat"}, {1, 0, 'd', 19, "clflush"},
    {1, 0, 'd', 23, "mmx"}, {1, 0, 'd', 24, "fxsr"}, {1, 0, 'd', 25, "sse"}, {1, 0, 'd', 26, "sse2"}, {1, 0, 'd', 28, "ht"},
    {0x80000001, 0, 'd', 11, "syscall"}, {0x80000001, 0, 'd', 20, "nx"}, {0x80000001, 0, 'd', 26, "pdpe1gb"}, {0x80000001, 0, 'd', 27, "rdtscp"},
    {0x80000001, 0, 'd', 29, "lm"}, {1, 0, 'c', 0, "pni"}, {1, 0, 'c', 1, "pclmulqdq"}, {1, 0, 'c', 9, "ssse3"}, {1, 0, 'c', 12, "fma"},
    {1, 0, 'c', 13, "cx16"}, {1, 0, 'c', 19, "sse4_1"}, {1, 0, 'c', 20, "sse4_2"}, {1, 0, 'c', 22, "movbe"}, {1, 0, 'c', 23, "popcnt"},
    {1, 0, 'c', 25, "aes"}, {1, 0, 'c', 26, "xsave"}, {1, 0, 'c', 28, "avx"}, {1, 0, 'c', 29, "f16c"}, {1, 0, 'c', 30, "rdrand"},
    {1, 0, 'c', 31, "hypervisor"}, {0x80000001, 0, 'c', 0, "lahf_lm"}, {0x80000001, 0, 'c', 5, "abm"}, {7, 0, 'b', 0, "fsgsbase"},
    {7, 0, 'b', 3, "bmi1"}, {7, 0, 'b', 5, "avx2"}, {7, 0, 'b', 7, "smep"}, {7, 0, 'b', 8, "bmi2"}, {7, 0, 'b', 9, "erms"},
    {7, 0, 'b', 16, "avx512f"}, {7, 0, 'b', 17, "avx512dq"}, {7, 0, 'b', 18, "rdseed"}, {7, 0, 'b', 19, "adx"}, {7, 0, 'b', 20, "smap"},
    {7, 0, 'b', 23, "clflushopt"}, {7, 0, 'b', 24, "clwb"}, {7, 0, 'b', 28, "avx512cd"}, {7, 0, 'b', 29, "sha_ni"}, {7, 0, 'b', 30, "avx512bw"},
    {7, 0, 'b', 31, "avx512vl"}, {7, 0, 'c', 9, "vaes"}, {7, 0, 'c', 10, "vpclmulqdq"}, {7, 0, 'c', 22, "rdpid"},
};

Cpu ReadCpu() {
  Cpu cpu;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0, &a, &b, &c, &d) != 0) {
    char vendor[13] = {};
    std::memcpy(vendor, &b, 4);
    std::memcpy(vendor + 4, &d, 4);
    std::memcpy(vendor + 8, &c, 4);
    cpu.vendor = vendor;
  }
  if (__get_cpuid(1, &a, &b, &c, &d) != 0) {
    cpu.stepping = a & 15;
    cpu.family = ((a >> 8) & 15) + (((a >> 8) & 15) == 15 ? ((a >> 20) & 255) : 0);
    cpu.model = ((a >> 4) & 15) | ((a >> 12) & 0xf0);
  }
  char brand[49] = {};
  for (unsigned leaf = 0; leaf < 3; ++leaf) {
    unsigned words[4] = {};
    if (__get_cpuid(0x80000002 + leaf, &words[0], &words[1], &words[2], &words[3]) == 0) break;
    std::memcpy(brand + leaf * 16, words, 16);
  }
  cpu.brand = brand;
  for (const FlagBit& f : kFlagBits) {
    if (__get_cpuid_count(f.leaf, f.subleaf, &a, &b, &c, &d) == 0) continue;
    const unsigned word = f.reg == 'a' ? a : f.reg == 'b' ? b : f.reg == 'c' ? c : d;
    if (((word >> f.bit) & 1) != 0) (cpu.flags += cpu.flags.empty() ? "" : " ") += f.name;
  }
  return cpu;
}

Text CpuInfo(kernel::Kernel& kernel) {
  static const Cpu cpu = ReadCpu();
  std::string out;
  for (uint32_t i = 0; i < kernel.cpus(); ++i) {
    Append(out, "processor\t: %u\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\nmodel name\t: %s\nstepping\t: %u\n", i, cpu.vendor.c_str(),
           cpu.family, cpu.model, cpu.brand.c_str(), cpu.stepping);
    Append(out, "cpu MHz\t\t: 2000.000\nphysical id\t: 0\nsiblings\t: %u\ncore id\t\t: %u\ncpu cores\t: %u\napicid\t\t: %u\n", kernel.cpus(), i,
           kernel.cpus(), i);
    out += "fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 13\nwp\t\t: yes\nflags\t\t: " + cpu.flags + "\n";
    out += "bogomips\t: 4000.00\nclflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: 46 bits physical, 48 bits virtual\npower management:\n\n";
  }
  return out;
}

struct Memory {
  uint64_t total, used;
};
Memory MemoryOf(kernel::Kernel& kernel) {
  const mm::MemoryFile::Usage usage = kernel.memory_file()->usage();
  uint64_t total = usage.limit_bytes;
  if (total == 0) total = HostMemoryBytes();
  return {total, std::min(usage.used_bytes, total)};
}

Text MemInfo(kernel::Kernel& kernel) {
  const Memory m = MemoryOf(kernel);
  const auto kb = [](uint64_t bytes) { return static_cast<unsigned long long>(bytes / 1024); };
  const uint64_t free = m.total - m.used;
  std::string out;
  const auto line = [&](const char* name, uint64_t bytes) { Append(out, "%-15s %8llu kB\n", name, kb(bytes)); };
  line("MemTotal:", m.total);
  line("MemFree:", free);
  line("MemAvailable:", free);
  line("Buffers:", 0);
  line("Cached:", 0);
  line("SwapCached:", 0);
  line("Active:", m.used);
  line("Inactive:", 0);
  line("Active(anon):", m.used);
  line("Inactive(anon):", 0);
  line("Active(file):", 0);
  line("Inactive(file):", 0);
  line("Unevictable:", 0);
  line("Mlocked:", 0);
  line("SwapTotal:", 0);
  line("SwapFree:", 0);
  line("Dirty:", 0);
  line("Writeback:", 0);
  line("AnonPages:", m.used);
  line("Mapped:", 0);
  line("Shmem:", 0);
  line("Slab:", 0);
  line("SReclaimable:", 0);
  line("SUnreclaim:", 0);
  line("CommitLimit:", m.total);
  line("Committed_AS:", m.used);
  line("VmallocTotal:", uint64_t{34359738367} * 1024);
  line("VmallocUsed:", 0);
  out += "HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n";
  return out;
}

Nanos Uptime(kernel::Kernel& kernel) { return MonotonicNow() - kernel.boot_time(); }

// Of all threads that there are and were.
Nanos BusyTime(kernel::Kernel& kernel, Nanos* system) {
  const kernel::ResourceTotals gone = kernel::UsageOfTheGone(kernel);
  Nanos user = gone.user_time;
  *system = gone.system_time;
  for (const Ref<kernel::ThreadGroup>& group : kernel.Groups()) {
    for (const Ref<kernel::Task>& task : group->Tasks()) {
      user += task->user_time();
      *system += task->system_time();
    }
  }
  return user;
}

// How many processors were busy, averaged over one, five and fifteen minutes with exponential decay, as Linux averages the number of runnable tasks. It is
// brought up to date by whoever reads it: what lies between two readings counts with its mean.
class LoadAverage {
 public:
  std::array<double, 3> At(Nanos now, Nanos busy) {
    absl::MutexLock lock(&mu_);
    const double elapsed = static_cast<double>(now - time_);
    if (elapsed >= static_cast<double>(kNanosPerSecond) / 100) {
      const double mean = static_cast<double>(std::max<Nanos>(0, busy - busy_)) / elapsed;
      for (size_t i = 0; i < averages_.size(); ++i) {
        const double keep = std::exp(-elapsed / (kMinutes[i] * 60 * static_cast<double>(kNanosPerSecond)));
        averages_[i] = averages_[i] * keep + mean * (1 - keep);
      }
      time_ = now, busy_ = busy;
    }
    return averages_;
  }

 private:
  static constexpr double kMinutes[] = {1, 5, 15};
  absl::Mutex mu_;
  Nanos time_ ABSL_GUARDED_BY(mu_) = 0, busy_ ABSL_GUARDED_BY(mu_) = 0;
  std::array<double, 3> averages_ ABSL_GUARDED_BY(mu_){};
};

size_t Running(kernel::Kernel& kernel, size_t* all) {
  size_t running = 0;
  for (const Ref<kernel::ThreadGroup>& group : kernel.Groups()) {
    for (const Ref<kernel::Task>& task : group->Tasks()) {
      ++*all;
      running += !group->exited() && task->StateLetter() == 'R' ? 1 : 0;
    }
  }
  return running;
}

Text StatFile(kernel::Kernel& kernel) {
  constexpr Nanos kTick = kNanosPerSecond / 100;
  Nanos system = 0;
  const Nanos user = BusyTime(kernel, &system);
  const Nanos whole = Uptime(kernel) * kernel.cpus();
  const Nanos idle = std::max<Nanos>(0, whole - user - system);
  std::string out;
  const auto line = [&](const char* name, Nanos share) {
    Append(out, "%s %lld 0 %lld %lld 0 0 0 0 0 0\n", name, static_cast<long long>(user / kTick / share), static_cast<long long>(system / kTick / share),
           static_cast<long long>(idle / kTick / share));
  };
  line("cpu ", 1);
  for (uint32_t i = 0; i < kernel.cpus(); ++i) line(("cpu" + std::to_string(i)).c_str(), kernel.cpus());
  size_t tasks = 0;
  const size_t running = Running(kernel, &tasks);
  Append(out, "intr 0\nctxt 0\nbtime %lld\nprocesses %llu\nprocs_running %zu\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
         static_cast<long long>((RealtimeNow() - Uptime(kernel)) / kNanosPerSecond), static_cast<unsigned long long>(kernel.forks()), running);
  return out;
}

Text LoadAvg(Caller& caller, kernel::Kernel& kernel, LoadAverage& load) {
  size_t tasks = 0;
  const size_t running = Running(kernel, &tasks);
  abi::Pid last = 0;
  for (const Ref<kernel::ThreadGroup>& group : kernel.Groups()) last = std::max(last, kernel::SeenPid(caller, group->pid()));
  Nanos system = 0;
  const Nanos user = BusyTime(kernel, &system);
  const std::array<double, 3> averages = load.At(Uptime(kernel), user + system);
  std::string out;
  Append(out, "%.2f %.2f %.2f %zu/%zu %d\n", averages[0], averages[1], averages[2], running, tasks, last);
  return out;
}

Text UptimeFile(kernel::Kernel& kernel) {
  Nanos system = 0;
  const Nanos busy = BusyTime(kernel, &system) + system;
  const Nanos up = Uptime(kernel);
  const Nanos idle = std::max<Nanos>(0, up * kernel.cpus() - busy);
  std::string out;
  Append(out, "%lld.%02lld %lld.%02lld\n", static_cast<long long>(up / kNanosPerSecond), static_cast<long long>(up / (kNanosPerSecond / 100) % 100),
         static_cast<long long>(idle / kNanosPerSecond), static_cast<long long>(idle / (kNanosPerSecond / 100) % 100));
  return out;
}

}  // namespace

void AddSystemFiles(pseudo::PseudoDirectory& root, Ref<ProcFilesystem> fs) {
  kernel::Kernel& kernel = fs->kernel();
  const auto add = [&](const char* name, Text (*make)(kernel::Kernel&), uint32_t mode = 0444) {
    root.Add(name, MakeRef<pseudo::FunctionFile>(fs, mode, [make, &kernel](Caller&) { return make(kernel); }));
  };
  const auto fixed = [&](const char* name, const char* text, uint32_t mode = 0444) {
    root.Add(name, MakeRef<pseudo::FunctionFile>(fs, mode, [text](Caller&) -> Text { return std::string(text); }));
  };
  add("cpuinfo", CpuInfo);
  add("meminfo", MemInfo);
  add("stat", StatFile);
  auto load = std::make_shared<LoadAverage>();
  root.Add("loadavg", MakeRef<pseudo::FunctionFile>(fs, 0444, [&kernel, load](Caller& caller) { return LoadAvg(caller, kernel, *load); }));
  add("uptime", UptimeFile);
  fixed("version", "Linux version 6.12.0-rampart (rampart@rampart) (c++) #1 SMP PREEMPT_DYNAMIC\n");
  std::string types;
  for (const char* type : vfs::kFilesystemTypes) types += std::string("nodev\t") + type + "\n";
  root.Add("filesystems", MakeRef<pseudo::FunctionFile>(fs, 0444, [types](Caller&) -> Text { return types; }));
  AddKeyFiles(root, fs);
  fixed("cmdline", "\n");
  fixed("devices", "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n");
  fixed("modules", "");
  fixed("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
  fixed("partitions", "major minor  #blocks  name\n\n");
  fixed("diskstats", "");
  fixed("interrupts", "");
  fixed("vmstat", "nr_free_pages 0\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault 0\npgmajfault 0\n");
  fixed("cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
}

}  // namespace rampart::fs::proc
