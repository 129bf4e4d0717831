// /proc/sys: settings that never change here, as data. A value is what the Sentry works by, or what Linux has at first where nothing in the sandbox would
// make a difference (there is no wire, no swap, no disk that pages are written to).
#include <span>
#include <string>
#include <string_view>

#include "sentry/fs/proc/internal.h"

namespace rampart::fs::proc {
namespace {

struct Setting {
  std::string_view name, value;
};

constexpr Setting kFs[] = {
    {"dir-notify-enable", "1"}, {"leases-enable", "1"}, {"mount-max", "100000"}, {"overflowuid", "65534"}, {"overflowgid", "65534"},
    {"protected_fifos", "0"}, {"protected_regular", "0"}, {"suid_dumpable", "0"},
};
constexpr Setting kFanotify[] = {
    {"max_queued_events", "16384"}, {"max_user_groups", "128"}, {"watchdog_timeout", "0"},
};
constexpr Setting kKernel[] = {
    {"arch", "x86_64"}, {"core_pipe_limit", "0"}, {"ctrl-alt-del", "0"}, {"io_uring_disabled", "2"}, {"io_uring_group", "-1"},
    {"kexec_load_disabled", "1"}, {"modules_disabled", "1"}, {"numa_balancing", "0"}, {"panic", "0"}, {"panic_on_oops", "0"},
    {"print-fatal-signals", "0"}, {"sched_autogroup_enabled", "0"}, {"sched_deadline_period_max_us", "4194304"},
    {"sched_deadline_period_min_us", "100"}, {"sched_rr_timeslice_ms", "100"}, {"sysctl_writes_strict", "1"},
    {"unprivileged_bpf_disabled", "2"},
};
constexpr Setting kRandom[] = {
    {"urandom_min_reseed_secs", "60"}, {"write_wakeup_threshold", "256"},
};
constexpr Setting kSeccomp[] = {
    {"actions_avail", "kill_process kill_thread trap errno trace log allow"},
    {"actions_logged", "kill_process kill_thread trap errno trace log"},
};
constexpr Setting kCore[] = {
    {"optmem_max", "131072"}, {"tstamp_allow_data", "1"}, {"txrehash", "1"},
};
constexpr Setting kIpv4[] = {
    {"icmp_echo_ignore_all", "0"}, {"icmp_echo_ignore_broadcasts", "1"}, {"igmp_max_memberships", "20"}, {"igmp_max_msf", "10"},
    {"igmp_qrv", "2"}, {"ip_autobind_reuse", "0"}, {"ip_dynaddr", "0"}, {"ip_early_demux", "1"}, {"ip_local_reserved_ports", ""},
    {"ip_no_pmtu_disc", "0"}, {"ip_nonlocal_bind", "0"}, {"tcp_abort_on_overflow", "0"}, {"tcp_allowed_congestion_control", "reno cubic"},
    {"tcp_autocorking", "1"}, {"tcp_dsack", "1"}, {"tcp_ecn", "2"}, {"tcp_fastopen", "1"}, {"tcp_keepalive_intvl", "75"},
    {"tcp_keepalive_probes", "9"}, {"tcp_max_syn_backlog", "4096"}, {"tcp_moderate_rcvbuf", "1"}, {"tcp_mtu_probing", "0"},
    {"tcp_no_metrics_save", "0"}, {"tcp_notsent_lowat", "4294967295"}, {"tcp_orphan_retries", "0"}, {"tcp_reordering", "3"},
    {"tcp_retries1", "3"}, {"tcp_retries2", "15"}, {"tcp_rfc1337", "0"}, {"tcp_sack", "1"}, {"tcp_slow_start_after_idle", "1"},
    {"tcp_stdurg", "0"}, {"tcp_syn_retries", "6"}, {"tcp_synack_retries", "5"}, {"tcp_syncookies", "1"}, {"tcp_timestamps", "1"},
    {"tcp_tw_reuse", "2"}, {"tcp_window_scaling", "1"}, {"udp_early_demux", "1"}, {"udp_rmem_min", "4096"}, {"udp_wmem_min", "4096"},
};
constexpr Setting kIpv6[] = {
    {"auto_flowlabels", "1"}, {"bindv6only", "0"}, {"flowlabel_consistency", "1"}, {"idgen_delay", "1"}, {"idgen_retries", "3"},
    {"ip_nonlocal_bind", "0"},
};
constexpr Setting kVm[] = {
    {"admin_reserve_kbytes", "8192"}, {"dirty_background_bytes", "0"}, {"dirty_background_ratio", "10"}, {"dirty_bytes", "0"},
    {"dirty_expire_centisecs", "3000"}, {"dirty_ratio", "20"}, {"dirty_writeback_centisecs", "500"}, {"hugetlb_shm_group", "0"},
    {"legacy_va_layout", "0"}, {"memfd_noexec", "0"}, {"mmap_rnd_bits", "28"}, {"nr_overcommit_hugepages", "0"}, {"oom_dump_tasks", "0"},
    {"oom_kill_allocating_task", "0"}, {"overcommit_kbytes", "0"}, {"page-cluster", "3"}, {"panic_on_oom", "0"}, {"stat_interval", "1"},
    {"unprivileged_userfaultfd", "0"}, {"user_reserve_kbytes", "131072"}, {"vfs_cache_pressure", "100"}, {"zone_reclaim_mode", "0"},
};
// Of lo, and of interfaces in general (all, default).
constexpr Setting kIpv4Interface[] = {
    {"accept_local", "0"}, {"accept_redirects", "1"}, {"accept_source_route", "1"}, {"arp_accept", "0"}, {"arp_announce", "0"},
    {"arp_filter", "0"}, {"arp_ignore", "0"}, {"arp_notify", "0"}, {"log_martians", "0"}, {"mc_forwarding", "0"},
    {"promote_secondaries", "0"}, {"proxy_arp", "0"}, {"route_localnet", "0"}, {"rp_filter", "0"}, {"secure_redirects", "1"},
    {"send_redirects", "1"}, {"shared_media", "1"}, {"src_valid_mark", "0"}, {"tag", "0"},
};
constexpr Setting kIpv6Interface[] = {
    {"accept_ra", "1"}, {"accept_redirects", "1"}, {"accept_source_route", "0"}, {"addr_gen_mode", "0"}, {"autoconf", "1"},
    {"dad_transmits", "1"}, {"disable_ipv6", "0"}, {"disable_policy", "0"}, {"forwarding", "0"}, {"hop_limit", "64"},
    {"keep_addr_on_down", "0"}, {"max_addresses", "16"}, {"mc_forwarding", "0"}, {"optimistic_dad", "0"}, {"proxy_ndp", "0"},
    {"use_oif_addrs_only", "0"},
};

void AddTo(pseudo::PseudoDirectory& directory, const Ref<ProcFilesystem>& fs, std::span<const Setting> settings) {
  for (const Setting& s : settings) {
    directory.Add(std::string(s.name), MakeRef<pseudo::FunctionFile>(fs, 0444, [value = s.value](Caller&) -> Result<std::string> {
                    return std::string(value) + "\n";
                  }));
  }
}

Ref<vfs::Inode> Interfaces(const Ref<ProcFilesystem>& fs, std::span<const Setting> settings, std::string_view mtu) {
  auto conf = MakeRef<pseudo::PseudoDirectory>(fs);
  for (const char* const name : {"all", "default", "lo"}) {
    auto one = MakeRef<pseudo::PseudoDirectory>(fs);
    AddTo(*one, fs, settings);
    const Setting own[] = {{"mtu", std::string_view(name) == "lo" ? mtu : "1280"}};
    if (!mtu.empty()) AddTo(*one, fs, own);
    conf->Add(name, one);
  }
  return conf;
}

}  // namespace

void AddFixedSettings(pseudo::PseudoDirectory& directory, const Ref<ProcFilesystem>& fs, std::string_view path) {
  const std::pair<std::string_view, std::span<const Setting>> all[] = {
      {"fs", kFs},         {"fs/fanotify", kFanotify}, {"kernel", kKernel}, {"kernel/random", kRandom}, {"kernel/seccomp", kSeccomp},
      {"net/core", kCore}, {"net/ipv4", kIpv4},        {"net/ipv6", kIpv6}, {"vm", kVm}};
  for (const auto& [where, settings] : all) {
    if (where == path) AddTo(directory, fs, settings);
  }
  if (path == "net/ipv4") directory.Add("conf", Interfaces(fs, kIpv4Interface, ""));
  if (path == "net/ipv6") directory.Add("conf", Interfaces(fs, kIpv6Interface, "65536"));
}

}  // namespace rampart::fs::proc
