// /proc/sys: what programs read of the kernel's settings. Fixed values are those that the Sentry really works by.
#include "sentry/fs/proc/internal.h"
#include "sentry/kernel/namespaces.h"

#include <atomic>
#include <charconv>
#include <cstdio>
#include <random>

#include "sentry/kernel/version.h"

namespace rampart::fs::proc {
namespace {

using Text = Result<std::string>;

Ref<pseudo::PseudoDirectory> Directory(const Ref<ProcFilesystem>& fs) { return MakeRef<pseudo::PseudoDirectory>(fs); }

Ref<vfs::Inode> Fixed(const Ref<ProcFilesystem>& fs, std::string text) {
  return MakeRef<pseudo::FunctionFile>(fs, 0444, [text = std::move(text)](Caller&) -> Text { return text + "\n"; });
}

std::string Uuid() {
  std::random_device random;
  char text[40];
  std::snprintf(text, sizeof(text), "%08x-%04x-4%03x-%04x-%08x%04x", random(), random() & 0xffff, random() & 0xfff, 0x8000 | (random() & 0x3fff),
                random(), random() & 0xffff);
  return text;
}

// Each file shows the reader's namespace.
kernel::UtsNamespace& Uts(const ProcFilesystem& fs, Caller& caller) {
  return caller.task() != nullptr ? *caller.task()->namespaces().uts : *fs.kernel().namespaces().uts;
}

Ref<vfs::Inode> UtsFile(const Ref<ProcFilesystem>& fs, std::string (kernel::UtsNamespace::*get)() const, void (kernel::UtsNamespace::*set)(std::string)) {
  return MakeRef<pseudo::FunctionFile>(
      fs, 0644, [fs, get](Caller& caller) -> Text { return (Uts(*fs, caller).*get)() + "\n"; },
      [fs, set](Caller& caller, std::string_view text) -> Result<void> {
        if (!caller.creds().HasCapability(abi::Capability::kSysAdmin)) return Errno::kEPERM;
        while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
        if (text.size() > 64) return Errno::kEINVAL;
        (Uts(*fs, caller).*set)(std::string(text));
        return Ok();
      });
}

Ref<vfs::Inode> Kernel(const Ref<ProcFilesystem>& fs) {
  auto d = Directory(fs);
  d->Add("ostype", Fixed(fs, "Linux"));
  d->Add("osrelease", Fixed(fs, kernel::kUnameRelease));
  d->Add("version", Fixed(fs, kernel::kUnameVersion));
  d->Add("tainted", Fixed(fs, "0"));
  d->Add("hostname", UtsFile(fs, &kernel::UtsNamespace::hostname, &kernel::UtsNamespace::SetHostname));
  d->Add("domainname", UtsFile(fs, &kernel::UtsNamespace::domainname, &kernel::UtsNamespace::SetDomainname));
  d->Add("pid_max", Fixed(fs, "32768"));  // kernel::PidTable::kMaxPid
  d->Add("threads-max", Fixed(fs, "127519"));
  d->Add("cap_last_cap", Fixed(fs, "40"));
  d->Add("ngroups_max", Fixed(fs, "65536"));
  d->Add("randomize_va_space", Fixed(fs, "2"));
  d->Add("overflowuid", Fixed(fs, "65534"));
  d->Add("overflowgid", Fixed(fs, "65534"));
  d->Add("core_pattern", Fixed(fs, "core"));
  d->Add("core_uses_pid", Fixed(fs, "0"));
  d->Add("dmesg_restrict", Fixed(fs, "1"));
  d->Add("kptr_restrict", Fixed(fs, "1"));
  d->Add("perf_event_paranoid", Fixed(fs, "3"));
  d->Add("printk", Fixed(fs, "4\t4\t1\t7"));
  AddIpcSettings(*d, fs);
  AddFixedSettings(*d, fs, "kernel");
  auto seccomp = Directory(fs);
  AddFixedSettings(*seccomp, fs, "kernel/seccomp");
  d->Add("seccomp", seccomp);
  d->Add("keys", NewKeySettings(fs));
  auto random = Directory(fs);
  random->Add("boot_id", Fixed(fs, Uuid()));
  random->Add("uuid", MakeRef<pseudo::FunctionFile>(fs, 0444, [](Caller&) -> Text { return Uuid() + "\n"; }));
  random->Add("entropy_avail", Fixed(fs, "256"));
  random->Add("poolsize", Fixed(fs, "256"));
  AddFixedSettings(*random, fs, "kernel/random");
  d->Add("random", random);
  auto yama = Directory(fs);
  yama->Add("ptrace_scope", Fixed(fs, "0"));
  d->Add("yama", yama);
  return d;
}

Ref<vfs::Inode> Fs(const Ref<ProcFilesystem>& fs) {
  auto d = Directory(fs);
  d->Add("file-max", Fixed(fs, "9223372036854775807"));
  d->Add("file-nr", Fixed(fs, "0\t0\t9223372036854775807"));
  d->Add("nr_open", Fixed(fs, "1048576"));
  d->Add("pipe-max-size", Fixed(fs, "1048576"));
  d->Add("lease-break-time", Fixed(fs, "45"));
  d->Add("protected_hardlinks", Fixed(fs, "0"));
  d->Add("protected_symlinks", Fixed(fs, "0"));
  AddFixedSettings(*d, fs, "fs");
  auto fanotify = Directory(fs);
  AddFixedSettings(*fanotify, fs, "fs/fanotify");
  d->Add("fanotify", fanotify);
  kernel::Kernel::AioLimits& aio = fs->kernel().aio_limits();
  d->Add("aio-nr", MakeRef<pseudo::FunctionFile>(fs, 0444, [&aio](Caller&) -> Text { return std::to_string(aio.used.load()) + "\n"; }));
  d->Add("aio-max-nr", MakeRef<pseudo::FunctionFile>(
                           fs, 0644, [&aio](Caller&) -> Text { return std::to_string(aio.most.load()) + "\n"; },
                           [&aio](Caller&, std::string_view text) -> Result<void> {
                             while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
                             uint64_t number = 0;
                             const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
                             if (error != std::errc() || end != text.data() + text.size()) return Errno::kEINVAL;
                             aio.most.store(number);
                             return Ok();
                           }));
  auto inotify = Directory(fs);
  inotify->Add("max_queued_events", Fixed(fs, "16384"));
  inotify->Add("max_user_instances", Fixed(fs, "128"));
  inotify->Add("max_user_watches", Fixed(fs, "65536"));
  d->Add("inotify", inotify);
  d->Add("mqueue", NewMqueueSettings(fs));
  return d;
}

Ref<vfs::Inode> Vm(const Ref<ProcFilesystem>& fs) {
  auto d = Directory(fs);
  d->Add("overcommit_memory", Fixed(fs, "0"));
  d->Add("overcommit_ratio", Fixed(fs, "50"));
  d->Add("max_map_count", Fixed(fs, "65530"));
  d->Add("mmap_min_addr", Fixed(fs, "65536"));
  d->Add("swappiness", Fixed(fs, "60"));
  d->Add("nr_hugepages", Fixed(fs, "0"));
  AddFixedSettings(*d, fs, "vm");
  return d;
}

// Whether packets go from one interface to another: there is one, so it changes nothing; but it keeps what it was told, as on a host with one.
Ref<vfs::Inode> ForwardingFile(const Ref<ProcFilesystem>& fs) {
  static std::atomic<int32_t> forwards{0};  // of the sandbox's one network
  return MakeRef<pseudo::FunctionFile>(
      fs, 0644, [](Caller&) -> Text { return std::to_string(forwards.load()) + "\n"; },
      [](Caller&, std::string_view text) -> Result<void> {
        while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
        int32_t number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (error != std::errc() || end != text.data() + text.size()) return Errno::kEINVAL;
        forwards.store(number);
        return Ok();
      });
}

Ref<vfs::Inode> Net(const Ref<ProcFilesystem>& fs) {
  auto d = Directory(fs);
  auto core = Directory(fs);
  core->Add("somaxconn", Fixed(fs, "4096"));
  core->Add("rmem_default", Fixed(fs, "212992"));
  core->Add("rmem_max", Fixed(fs, "212992"));
  core->Add("wmem_default", Fixed(fs, "212992"));
  core->Add("wmem_max", Fixed(fs, "212992"));
  AddFixedSettings(*core, fs, "net/core");
  d->Add("core", core);
  auto ipv4 = Directory(fs);
  ipv4->Add("ip_local_port_range", Fixed(fs, "32768\t60999"));
  ipv4->Add("ping_group_range", Fixed(fs, "0\t2147483647"));
  ipv4->Add("ip_default_ttl", Fixed(fs, "64"));
  ipv4->Add("ip_unprivileged_port_start", Fixed(fs, "1024"));
  ipv4->Add("tcp_congestion_control", Fixed(fs, "cubic"));
  ipv4->Add("tcp_available_congestion_control", Fixed(fs, "reno cubic"));
  ipv4->Add("tcp_rmem", Fixed(fs, "4096\t131072\t6291456"));
  ipv4->Add("tcp_wmem", Fixed(fs, "4096\t16384\t4194304"));
  ipv4->Add("tcp_keepalive_time", Fixed(fs, "7200"));
  ipv4->Add("tcp_fin_timeout", Fixed(fs, "60"));
  ipv4->Add("ip_forward", ForwardingFile(fs));
  AddFixedSettings(*ipv4, fs, "net/ipv4");
  d->Add("ipv4", ipv4);
  auto ipv6 = Directory(fs);
  AddFixedSettings(*ipv6, fs, "net/ipv6");
  d->Add("ipv6", ipv6);
  auto unix_directory = Directory(fs);
  unix_directory->Add("max_dgram_qlen", Fixed(fs, "512"));
  d->Add("unix", unix_directory);
  return d;
}

}  // namespace

Ref<vfs::Inode> NewSysctlTree(Ref<ProcFilesystem> fs) {
  auto d = Directory(fs);
  d->Add("kernel", Kernel(fs));
  d->Add("fs", Fs(fs));
  d->Add("vm", Vm(fs));
  d->Add("net", Net(fs));
  return d;
}

}  // namespace rampart::fs::proc
