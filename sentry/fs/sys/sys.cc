#include "sentry/fs/sys/sys.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>

#include "sentry/fs/pseudo/pseudo.h"

namespace rampart::fs::sys {
namespace {

using Text = Result<std::string>;
using pseudo::PseudoDirectory;

class SysFilesystem final : public vfs::Filesystem {
 public:
  SysFilesystem(uint32_t cpus, Ref<mm::MemoryFile> memory) : Filesystem("sysfs"), cpus_(cpus), memory_(std::move(memory)) {}
  Ref<vfs::Inode> root() override;
  Result<vfs::FsStats> StatFs(const Caller& /*caller*/) override {
    vfs::FsStats stats;
    stats.magic = 0x62656572;
    return stats;
  }

 private:
  const uint32_t cpus_;
  const Ref<mm::MemoryFile> memory_;
};

// Builds a tree: directories and one-line files.
class Builder {
 public:
  explicit Builder(Ref<vfs::Filesystem> fs) : fs_(std::move(fs)) {}
  Ref<PseudoDirectory> Directory() const { return MakeRef<PseudoDirectory>(fs_); }
  void File(PseudoDirectory& in, const char* name, std::string text) const {
    in.Add(name, MakeRef<pseudo::FunctionFile>(fs_, 0444, [text = std::move(text)](Caller&) -> Text { return text + "\n"; }));
  }
  void File(PseudoDirectory& in, const char* name, std::function<std::string()> make) const {
    in.Add(name, MakeRef<pseudo::FunctionFile>(fs_, 0444, [make = std::move(make)](Caller&) -> Text { return make(); }));
  }
  void Symlink(PseudoDirectory& in, const char* name, std::string target) const {
    in.Add(name, MakeRef<pseudo::PseudoSymlink>(fs_, [target = std::move(target)](const Caller&) -> Text { return target; }));
  }

 private:
  const Ref<vfs::Filesystem> fs_;
};

std::string RangeOf(uint32_t cpus) { return cpus == 1 ? "0" : "0-" + std::to_string(cpus - 1); }

std::string MaskOf(uint32_t cpus) {
  char text[32];
  std::snprintf(text, sizeof(text), "%llx", cpus >= 64 ? ~0ULL : (1ULL << cpus) - 1);
  return text;
}

Ref<PseudoDirectory> Cpu(const Builder& b, uint32_t index, uint32_t cpus) {
  auto cpu = b.Directory();
  auto topology = b.Directory();
  char own[32];
  std::snprintf(own, sizeof(own), "%llx", 1ULL << (index % 64));
  b.File(*topology, "core_id", std::to_string(index));
  b.File(*topology, "physical_package_id", "0");
  b.File(*topology, "core_siblings", MaskOf(cpus));
  b.File(*topology, "core_siblings_list", RangeOf(cpus));
  b.File(*topology, "thread_siblings", own);
  b.File(*topology, "thread_siblings_list", std::to_string(index));
  b.File(*topology, "package_cpus_list", RangeOf(cpus));
  cpu->Add("topology", topology);
  auto cache = b.Directory();
  struct Level {
    const char *level, *type, *size;
  };
  static constexpr Level kLevels[] = {{"1", "Data", "32K"}, {"1", "Instruction", "32K"}, {"2", "Unified", "1024K"}, {"3", "Unified", "32768K"}};
  int number = 0;
  for (const Level& level : kLevels) {
    auto entry = b.Directory();
    b.File(*entry, "level", level.level);
    b.File(*entry, "type", level.type);
    b.File(*entry, "size", level.size);
    b.File(*entry, "coherency_line_size", "64");
    b.File(*entry, "shared_cpu_list", level.level[0] == '3' ? RangeOf(cpus) : std::to_string(index));
    b.File(*entry, "shared_cpu_map", level.level[0] == '3' ? MaskOf(cpus) : std::string(own));
    cache->Add("index" + std::to_string(number++), entry);
  }
  cpu->Add("cache", cache);
  if (index != 0) b.File(*cpu, "online", "1");
  return cpu;
}

std::string NodeMemory(const mm::MemoryFile& memory) {
  const uint64_t total = memory.total_bytes(), used = std::min(total, memory.usage().used_bytes);
  std::string out;
  const auto line = [&](const char* name, uint64_t bytes) {
    char text[64];
    std::snprintf(text, sizeof(text), "Node 0 %-15s %8llu kB\n", name, static_cast<unsigned long long>(bytes / 1024));
    out += text;
  };
  line("MemTotal:", total);
  line("MemFree:", total - used);
  line("MemUsed:", used);
  return out;
}

Ref<PseudoDirectory> Devices(const Builder& b, uint32_t cpus, const Ref<mm::MemoryFile>& memory) {
  auto devices = b.Directory();
  auto system = b.Directory();
  auto cpu = b.Directory();
  b.File(*cpu, "online", RangeOf(cpus));
  b.File(*cpu, "possible", RangeOf(cpus));
  b.File(*cpu, "present", RangeOf(cpus));
  b.File(*cpu, "offline", "");
  b.File(*cpu, "isolated", "");
  b.File(*cpu, "kernel_max", "8191");
  for (uint32_t i = 0; i < cpus; ++i) cpu->Add("cpu" + std::to_string(i), Cpu(b, i, cpus));
  system->Add("cpu", cpu);
  auto node = b.Directory();
  b.File(*node, "online", "0");
  b.File(*node, "possible", "0");
  b.File(*node, "has_cpu", "0");
  b.File(*node, "has_memory", "0");
  b.File(*node, "has_normal_memory", "0");
  auto node0 = b.Directory();
  b.File(*node0, "cpulist", RangeOf(cpus));
  b.File(*node0, "cpumap", MaskOf(cpus));
  b.File(*node0, "distance", "10");
  b.File(*node0, "meminfo", [memory] { return NodeMemory(*memory); });
  node->Add("node0", node0);
  system->Add("node", node);
  devices->Add("system", system);
  auto virtual_devices = b.Directory();
  auto net = b.Directory();
  auto lo = b.Directory();
  b.File(*lo, "address", "00:00:00:00:00:00");
  b.File(*lo, "mtu", "65536");
  b.File(*lo, "type", "772");
  b.File(*lo, "ifindex", "1");
  b.File(*lo, "flags", "0x9");
  b.File(*lo, "operstate", "unknown");
  b.File(*lo, "carrier", "1");
  net->Add("lo", lo);
  virtual_devices->Add("net", net);
  devices->Add("virtual", virtual_devices);
  return devices;
}

Ref<PseudoDirectory> KernelDirectory(const Builder& b) {
  auto kernel = b.Directory();
  auto mm = b.Directory();
  auto thp = b.Directory();
  b.File(*thp, "enabled", "always [madvise] never");
  b.File(*thp, "defrag", "always defer defer+madvise [madvise] never");
  b.File(*thp, "shmem_enabled", "always within_size advise [never] deny force");
  b.File(*thp, "hpage_pmd_size", "2097152");
  mm->Add("transparent_hugepage", thp);
  mm->Add("hugepages", b.Directory());
  kernel->Add("mm", mm);
  kernel->Add("debug", b.Directory());
  auto security = b.Directory();
  b.File(*security, "lsm", "capability");  // as lsm_list_modules(2)
  kernel->Add("security", security);
  return kernel;
}

}  // namespace

Ref<vfs::Inode> SysFilesystem::root() {
  const Builder b(ShareRef(this));
  auto root = b.Directory();
  root->Add("block", b.Directory());
  auto bus = b.Directory();
  auto cpu_bus = b.Directory();
  cpu_bus->Add("devices", b.Directory());
  bus->Add("cpu", cpu_bus);
  root->Add("bus", bus);
  auto classes = b.Directory();
  auto net = b.Directory();
  b.Symlink(*net, "lo", "../../devices/virtual/net/lo");
  classes->Add("net", net);
  for (const char* name : {"block", "tty", "mem", "misc", "power_supply", "thermal"}) classes->Add(name, b.Directory());
  root->Add("class", classes);
  auto dev = b.Directory();
  for (const char* name : {"block", "char"}) dev->Add(name, b.Directory());
  root->Add("dev", dev);
  root->Add("devices", Devices(b, cpus_, memory_));
  root->Add("firmware", b.Directory());
  auto fs = b.Directory();
  fs->Add("cgroup", b.Directory());
  root->Add("fs", fs);
  root->Add("kernel", KernelDirectory(b));
  root->Add("module", b.Directory());
  return root;
}

Ref<vfs::Filesystem> NewSys(uint32_t cpus, Ref<mm::MemoryFile> memory) {
  return MakeRef<SysFilesystem>(cpus == 0 ? 1 : cpus, std::move(memory));
}

}  // namespace rampart::fs::sys
