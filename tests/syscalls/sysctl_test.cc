// /proc/sys: what it says agrees with what the kernel does.
#include <dirent.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <fstream>
#include <map>
#include <sstream>

#include "inet_support.h"

namespace {

using test::IntOption;
using test::Owned;

std::string Setting(const std::string& name) {
  std::ifstream in("/proc/sys/" + name);
  EXPECT_TRUE(in.is_open()) << name;
  std::string line;
  std::getline(in, line);
  return line;
}
int Number(const std::string& name) { return std::stoi(Setting(name)); }

TEST(Sysctl, OptionsOfTcpBeginWithIt) {
  const Owned s(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(IntOption(s.get(), IPPROTO_TCP, TCP_KEEPINTVL), Number("net/ipv4/tcp_keepalive_intvl"));
  EXPECT_EQ(IntOption(s.get(), IPPROTO_TCP, TCP_KEEPCNT), Number("net/ipv4/tcp_keepalive_probes"));
  EXPECT_EQ(IntOption(s.get(), IPPROTO_TCP, TCP_SYNCNT), Number("net/ipv4/tcp_syn_retries"));
  EXPECT_EQ(IntOption(s.get(), IPPROTO_TCP, TCP_LINGER2), Number("net/ipv4/tcp_fin_timeout"));
  char name[16] = {};
  socklen_t n = sizeof(name);
  ASSERT_EQ(getsockopt(s.get(), IPPROTO_TCP, TCP_CONGESTION, name, &n), 0);
  EXPECT_EQ(name, Setting("net/ipv4/tcp_congestion_control"));
  std::istringstream allowed(Setting("net/ipv4/tcp_allowed_congestion_control"));
  for (std::string one; allowed >> one;) EXPECT_EQ(setsockopt(s.get(), IPPROTO_TCP, TCP_CONGESTION, one.data(), static_cast<socklen_t>(one.size())), 0) << one;
}

TEST(Sysctl, OptionsOfIpBeginWithIt) {
  const Owned v4(socket(AF_INET, SOCK_DGRAM, 0)), v6(socket(AF_INET6, SOCK_DGRAM, 0));
  EXPECT_EQ(IntOption(v4.get(), IPPROTO_IP, IP_TTL), Number("net/ipv4/ip_default_ttl"));
  EXPECT_EQ(IntOption(v4.get(), IPPROTO_IP, IP_MTU_DISCOVER), Number("net/ipv4/ip_no_pmtu_disc") == 0 ? IP_PMTUDISC_WANT : IP_PMTUDISC_DONT);
  EXPECT_EQ(IntOption(v6.get(), IPPROTO_IPV6, IPV6_V6ONLY), Number("net/ipv6/bindv6only"));
  EXPECT_EQ(IntOption(v6.get(), IPPROTO_IPV6, IPV6_UNICAST_HOPS), Number("net/ipv6/conf/default/hop_limit"));
  EXPECT_EQ(IntOption(v6.get(), IPPROTO_IPV6, 70), Number("net/ipv6/auto_flowlabels"));
}

TEST(Sysctl, EachInterfaceHasSettings) {
  const Owned s(socket(AF_INET, SOCK_DGRAM, 0));
  ifreq r{};
  memcpy(r.ifr_name, "lo", 3);
  ASSERT_EQ(ioctl(s.get(), SIOCGIFMTU, &r), 0);
  EXPECT_EQ(r.ifr_mtu, Number("net/ipv6/conf/lo/mtu"));
  for (const std::string name : {"all", "default", "lo"}) {
    EXPECT_EQ(Setting("net/ipv6/conf/" + name + "/disable_ipv6"), "0");
    EXPECT_EQ(Setting("net/ipv4/conf/" + name + "/route_localnet"), "0");
  }
}

TEST(Sysctl, AsManyGroupsAsItSays) {
  const Owned s(socket(AF_INET, SOCK_DGRAM, 0));
  const int most = Number("net/ipv4/igmp_max_memberships");
  ip_mreqn group{};
  group.imr_ifindex = static_cast<int>(if_nametoindex("lo"));
  int joined = 0;
  for (; joined <= most; ++joined) {
    group.imr_multiaddr.s_addr = htonl(0xe0000100u + static_cast<uint32_t>(joined));
    if (setsockopt(s.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)) != 0) break;
  }
  EXPECT_EQ(joined, most);
  EXPECT_EQ(errno, ENOBUFS);
}

TEST(Sysctl, ActionsOfSeccompAreThoseThatThereAre) {
  const std::map<std::string, uint32_t> actions = {{"kill_process", SECCOMP_RET_KILL_PROCESS}, {"kill_thread", SECCOMP_RET_KILL_THREAD},
                                                   {"trap", SECCOMP_RET_TRAP},                 {"errno", SECCOMP_RET_ERRNO},
                                                   {"user_notif", SECCOMP_RET_USER_NOTIF},     {"trace", SECCOMP_RET_TRACE},
                                                   {"log", SECCOMP_RET_LOG},                   {"allow", SECCOMP_RET_ALLOW}};
  const std::string said = " " + Setting("kernel/seccomp/actions_avail") + " ";
  for (const auto& [name, action] : actions) {
    const bool available = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
    EXPECT_EQ(available, said.find(" " + name + " ") != std::string::npos) << name;
  }
}

TEST(Sysctl, IntervalOfRoundRobin) {
  timespec interval{};
  ASSERT_EQ(sched_rr_get_interval(0, &interval), 0);
  EXPECT_EQ(Number("kernel/sched_rr_timeslice_ms"), 100);
  EXPECT_EQ(Setting("kernel/arch"), "x86_64");
  EXPECT_EQ(Setting("fs/dir-notify-enable"), "1");
  EXPECT_EQ(Setting("fs/leases-enable"), "1");
  EXPECT_EQ(Setting("fs/overflowuid"), Setting("kernel/overflowuid"));
}

}  // namespace
