#include "sentry/fs/sys/sys.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "sentry/fs/pseudo/pseudo.h"

namespace rampart::fs::sys {
namespace {

using Text = Result<std::string>;
using Count = std::function<uint32_t()>;
using pseudo::PseudoDirectory;

class SysFilesystem final : public vfs::Filesystem {
 public:
  SysFilesystem(Count cpus, Ref<mm::MemoryFile> memory) : Filesystem("sysfs"), cpus_(std::move(cpus)), memory_(std::move(memory)) {}
  Ref<vfs::Inode> root() override;
  Result<vfs::FsStats> StatFs(const Caller& /*caller*/) override {
    vfs::FsStats stats;
    stats.magic = 0x62656572;
    return stats;
  }

 private:
  const Count cpus_;
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

std::string RangeOf(uint32_t cpus) { return cpus == 1 ? "0\n" : "0-" + std::to_string(cpus - 1) + "\n"; }

std::string MaskOf(uint32_t cpus) {
  char text[32];
  std::snprintf(text, sizeof(text), "%llx\n", cpus >= 64 ? ~0ULL : (1ULL << cpus) - 1);
  return text;
}

Ref<PseudoDirectory> Cpu(const Builder& b, uint32_t index, const Count& cpus) {
  const auto range = [cpus] { return RangeOf(cpus()); };
  const auto mask = [cpus] { return MaskOf(cpus()); };
  auto cpu = b.Directory();
  auto topology = b.Directory();
  char own[32];
  std::snprintf(own, sizeof(own), "%llx", 1ULL << (index % 64));
  b.File(*topology, "core_id", std::to_string(index));
  b.File(*topology, "physical_package_id", "0");
  b.File(*topology, "core_siblings", mask);
  b.File(*topology, "core_siblings_list", range);
  b.File(*topology, "thread_siblings", own);
  b.File(*topology, "thread_siblings_list", std::to_string(index));
  b.File(*topology, "package_cpus_list", range);
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
    if (level.level[0] == '3') {
      b.File(*entry, "shared_cpu_list", range);
      b.File(*entry, "shared_cpu_map", mask);
    } else {
      b.File(*entry, "shared_cpu_list", std::to_string(index));
      b.File(*entry, "shared_cpu_map", own);
    }
    cache->Add("index" + std::to_string(number++), entry);
  }
  cpu->Add("cache", cache);
  if (index != 0) b.File(*cpu, "online", "1");
  return cpu;
}

// /sys/devices/system/cpu: a directory for each processor that there is now.
class Processors final : public PseudoDirectory {
 public:
  Processors(Ref<vfs::Filesystem> fs, Count cpus) : PseudoDirectory(fs), builder_(std::move(fs)), cpus_(std::move(cpus)) {}
  vfs::CachePolicy cache_policy() const override { return vfs::CachePolicy::kRevalidate; }
  Result<bool> Revalidate(const Caller&, std::string_view name, vfs::Inode* child) override {
    const std::optional<uint32_t> index = IndexOf(name);
    return !index || (*index < cpus_()) == (child != nullptr);
  }

 protected:
  Result<RefPtr<vfs::Inode>> FindComputed(const Caller&, std::string_view name) override {
    const std::optional<uint32_t> index = IndexOf(name);
    if (!index || *index >= cpus_()) return RefPtr<vfs::Inode>(nullptr);
    return RefPtr<vfs::Inode>(Get(*index));
  }
  Result<void> ListComputed(const Caller&, std::vector<pseudo::PseudoEntry>& out) override {
    const uint32_t cpus = cpus_();
    for (uint32_t i = 0; i < cpus; ++i) out.push_back({"cpu" + std::to_string(i), vfs::FileType::kDirectory, Get(i)->ino()});
    return Ok();
  }

 private:
  static std::optional<uint32_t> IndexOf(std::string_view name) {
    uint32_t index = 0;
    if (!name.starts_with("cpu")) return std::nullopt;
    const std::string_view digits = name.substr(3);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (error != std::errc() || end != digits.data() + digits.size() || (digits[0] == '0' && digits.size() > 1)) return std::nullopt;
    return index;
  }
  Ref<vfs::Inode> Get(uint32_t index) {
    absl::MutexLock lock(&mu_);
    while (made_.size() <= index) made_.push_back(Cpu(builder_, static_cast<uint32_t>(made_.size()), cpus_));
    return made_[index];
  }

  const Builder builder_;
  const Count cpus_;
  absl::Mutex mu_;
  std::vector<Ref<vfs::Inode>> made_ ABSL_GUARDED_BY(mu_);  // those that were ever asked for
};

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

Ref<PseudoDirectory> Devices(const Builder& b, const Ref<vfs::Filesystem>& fs, const Count& cpus, const Ref<mm::MemoryFile>& memory) {
  auto devices = b.Directory();
  auto system = b.Directory();
  auto cpu = MakeRef<Processors>(fs, cpus);
  const auto range = [cpus] { return RangeOf(cpus()); };
  b.File(*cpu, "online", range);
  b.File(*cpu, "possible", range);
  b.File(*cpu, "present", range);
  b.File(*cpu, "offline", "");
  b.File(*cpu, "isolated", "");
  b.File(*cpu, "kernel_max", "8191");
  system->Add("cpu", cpu);
  auto node = b.Directory();
  b.File(*node, "online", "0");
  b.File(*node, "possible", "0");
  b.File(*node, "has_cpu", "0");
  b.File(*node, "has_memory", "0");
  b.File(*node, "has_normal_memory", "0");
  auto node0 = b.Directory();
  b.File(*node0, "cpulist", range);
  b.File(*node0, "cpumap", [cpus] { return MaskOf(cpus()); });
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
  root->Add("devices", Devices(b, ShareRef<vfs::Filesystem>(this), cpus_, memory_));
  root->Add("firmware", b.Directory());
  auto fs = b.Directory();
  fs->Add("cgroup", b.Directory());
  root->Add("fs", fs);
  root->Add("kernel", KernelDirectory(b));
  root->Add("module", b.Directory());
  return root;
}

Ref<vfs::Filesystem> NewSys(std::function<uint32_t()> cpus, Ref<mm::MemoryFile> memory) {
  return MakeRef<SysFilesystem>(std::move(cpus), std::move(memory));
}

}  // namespace rampart::fs::sys
