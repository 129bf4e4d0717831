// /proc/net: the sockets and the one interface, in the formats of Linux (net/ipv4/tcp_ipv4.c, udp.c, raw.c, net/unix/af_unix.c and others).
#include <algorithm>
#include <cstring>

#include "sentry/fs/proc/internal.h"
#include "sentry/fs/proc/net_fixed.h"
#include "sentry/net/socket/socket_list.h"

namespace rampart::fs::proc {
namespace {

using Text = Result<std::string>;
using net::SocketList;
using net::SocketReport;

constexpr size_t kTcpLine = 149, kUdpLine = 127;  // lines of the IPv4 tables are padded

// An end of a connection as the tables show it: words of the address in the processor's order, and the port.
std::string End(const std::string& name, bool v6) {
  uint32_t words[4] = {};
  uint16_t port = 0;
  if (name.size() >= 8) {
    std::memcpy(&port, name.data() + 2, sizeof(port));
    const size_t from = v6 ? 8 : 4, bytes = v6 ? 16 : 4;
    if (name.size() >= from + bytes) std::memcpy(words, name.data() + from, bytes);
  }
  std::string out;
  for (int i = 0; i < (v6 ? 4 : 1); ++i) Append(out, "%08X", words[i]);
  Append(out, ":%04X", __builtin_bswap16(port));
  return out;
}

void Pad(std::string& out, size_t start, size_t width) {
  if (out.size() - start < width) out.resize(start + width, ' ');
  out += '\n';
}

bool IsBound(const SocketReport& r) { return r.local.size() >= 4 && (r.local[2] != 0 || r.local[3] != 0); }

std::string TcpTable(bool v6) {
  std::string out = v6 ? "  sl  local_address                         remote_address                      " : "  sl  local_address rem_address ";
  out += "  st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
  Pad(out, 0, v6 ? 0 : kTcpLine);
  int number = 0;
  for (const SocketReport& r : SocketList::Get().Reports(v6 ? abi::kAfInet6 : abi::kAfInet)) {
    if (r.protocol != abi::kIpprotoTcp || r.type != abi::kSockStream || r.state == SocketReport::kClose) continue;
    const size_t start = out.size();
    const bool listens = r.state == SocketReport::kListen;
    Append(out, "%4d: %s %s %02X %08llX:%08llX 00:00000000 00000000 %5u        0 %llu %d 0000000000000000", number++, End(r.local, v6).c_str(),
           End(r.peer, v6).c_str(), r.state, static_cast<unsigned long long>(listens ? 0 : r.send_queue), static_cast<unsigned long long>(r.receive_queue),
           r.uid, static_cast<unsigned long long>(r.inode), listens ? 1 : 2);
    out += listens ? " 100 0 0 10 0" : " 20 4 30 10 -1";
    Pad(out, start, v6 ? 0 : kTcpLine);
  }
  return out;
}

// UDP, UDP-Lite, ICMP and raw sockets have one format, but for the IPv4 tables' spaces. `wanted`: whether a socket belongs there.
enum class Spaces : uint8_t { kUdp, kPing, kRaw };
std::string DatagramTable(bool v6, bool (*wanted)(const SocketReport&), Spaces spaces = Spaces::kUdp) {
  std::string out = v6 ? "  sl  local_address                         remote_address                      " : "  sl  local_address rem_address ";
  if (!v6 && spaces == Spaces::kUdp) out.insert(0, " ");
  const size_t width = v6 || spaces == Spaces::kRaw ? 0 : kUdpLine;
  out += "  st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
  Pad(out, 0, width);
  for (const SocketReport& r : SocketList::Get().Reports(v6 ? abi::kAfInet6 : abi::kAfInet)) {
    if (!IsBound(r) || !wanted(r)) continue;
    const size_t start = out.size();
    const unsigned port = static_cast<unsigned>(static_cast<uint8_t>(r.local[2]) << 8 | static_cast<uint8_t>(r.local[3]));
    Append(out, "%*u: %s %s %02X %08llX:%08llX 00:00000000 00000000 %5u        0 %llu 2 0000000000000000 0", !v6 && spaces == Spaces::kRaw ? 4 : 5, port, End(r.local, v6).c_str(),
           End(r.peer, v6).c_str(), r.state, static_cast<unsigned long long>(r.send_queue), static_cast<unsigned long long>(r.receive_queue), r.uid,
           static_cast<unsigned long long>(r.inode));
    Pad(out, start, width);
  }
  return out;
}

bool IsUdp(const SocketReport& r) { return r.type == abi::kSockDgram && r.protocol == abi::kIpprotoUdp; }
bool IsUdplite(const SocketReport& r) { return r.type == abi::kSockDgram && r.protocol == abi::kIpprotoUdplite; }
bool IsPing(const SocketReport& r) { return r.type == abi::kSockDgram && (r.protocol == abi::kIpprotoIcmp || r.protocol == abi::kIpprotoIcmpv6); }
bool IsRaw(const SocketReport& r) { return r.type == abi::kSockRaw; }

std::string UnixTable() {
  std::string out = "Num       RefCount Protocol Flags    Type St Inode Path\n";
  for (const SocketReport& r : SocketList::Get().Reports(abi::kAfUnix)) {
    const bool listens = r.state == SocketReport::kListen;
    Append(out, "0000000000000000: 00000002 00000000 %08X %04X %02X %5llu", listens ? 0x10000 : 0, r.type, r.state == SocketReport::kEstablished ? 3 : 1,
           static_cast<unsigned long long>(r.inode));
    if (r.local.size() > 2) {
      std::string name = r.local.substr(2);
      if (name[0] != '\0') name.resize(std::min(name.size(), name.find('\0')));
      std::replace(name.begin(), name.end(), '\0', '@');
      out += " " + name;
    }
    out += '\n';
  }
  return out;
}

std::string NetlinkTable() {
  std::string out = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n";
  for (const SocketReport& r : SocketList::Get().Reports(abi::kAfNetlink)) {
    uint32_t port = 0;
    if (r.local.size() >= 8) std::memcpy(&port, r.local.data() + 4, sizeof(port));
    if (port == 0) continue;  // it is in no table yet
    Append(out, "0000000000000000 %-3d %-10u %08x %-8llu %-8d %-5d %-8d %-8u %-8llu\n", r.protocol, port, r.groups,
           static_cast<unsigned long long>(r.receive_queue), 0, 0, 2, 0u, static_cast<unsigned long long>(r.inode));
  }
  return out;
}

std::string PacketTable() {
  std::string out = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n";
  for (const SocketReport& r : SocketList::Get().Reports(abi::kAfPacket)) {
    uint16_t protocol = 0;
    int32_t index = 0;
    if (r.local.size() >= 8) {
      std::memcpy(&protocol, r.local.data() + 2, sizeof(protocol));
      std::memcpy(&index, r.local.data() + 4, sizeof(index));
    }
    Append(out, "0000000000000000 %-6d %-4d %04x   %-5d %1d %-6u %-6u %-6llu\n", 3, r.type, __builtin_bswap16(protocol), index, 1,
           static_cast<unsigned>(r.receive_queue), r.uid, static_cast<unsigned long long>(r.inode));
  }
  return out;
}

std::string Counts(bool v6) {
  size_t tcp = 0, udp = 0, lite = 0, raw = 0;
  for (const SocketReport& r : SocketList::Get().Reports(v6 ? abi::kAfInet6 : abi::kAfInet)) {
    tcp += r.type == abi::kSockStream && r.state != SocketReport::kClose ? 1 : 0;
    udp += IsUdp(r) && IsBound(r) ? 1 : 0;
    lite += IsUdplite(r) && IsBound(r) ? 1 : 0;
    raw += IsRaw(r) ? 1 : 0;
  }
  std::string out;
  if (v6) {
    Append(out, "TCP6: inuse %zu\nUDP6: inuse %zu\nUDPLITE6: inuse %zu\nRAW6: inuse %zu\nFRAG6: inuse 0 memory 0\n", tcp, udp, lite, raw);
  } else {
    Append(out, "sockets: used %zu\nTCP: inuse %zu orphan 0 tw 0 alloc %zu mem 0\nUDP: inuse %zu mem 0\nUDPLITE: inuse %zu\nRAW: inuse %zu\n"
                "FRAG: inuse 0 memory 0\n", SocketList::Get().All().size(), tcp, tcp, udp, lite, raw);
  }
  return out;
}

// The counters are not kept: nothing is lost on lo, and nobody has asked for more than that the files are there.
constexpr char kSnmp[] =
    "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes "
    "ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits\nIp: 2 64 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    "Icmp: InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos InEchoReps InTimestamps InTimestampReps "
    "InAddrMasks InAddrMaskReps OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs OutRedirects "
    "OutEchos OutEchoReps OutTimestamps OutTimestampReps OutAddrMasks OutAddrMaskReps\n"
    "Icmp: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    "IcmpMsg:\nIcmpMsg:\n"
    "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n"
    "Tcp: 1 200 120000 -1 0 0 0 0 0 0 0 0 0 0 0\n"
    "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\nUdp: 0 0 0 0 0 0 0 0 0\n"
    "UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\nUdpLite: 0 0 0 0 0 0 0 0 0\n";

// Which protocols there are, how large their sockets are in Linux, and what each can do (close, connect, disconnect, …).
std::string ProtocolTable() {
  struct Protocol {
    const char* name;
    int size, family, type, protocol;  // type and protocol 0: any
    const char* rest;                  // max. header, slab, module, abilities
  };
  static constexpr Protocol kAll[] = {
      {"PACKET", 1600, abi::kAfPacket, 0, 0, "      0   no   kernel      n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n"},
      {"PINGv6", 1344, abi::kAfInet6, abi::kSockDgram, abi::kIpprotoIcmpv6, "      0   yes  kernel      y  y  y  n  n  y  n  n  y  y  y  y  y  y  n  y  y  n"},
      {"RAWv6", 1344, abi::kAfInet6, abi::kSockRaw, 0, "      0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  y  y  y  y  n  n"},
      {"UDPLITEv6", 1472, abi::kAfInet6, abi::kSockDgram, abi::kIpprotoUdplite, "      0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  n  n  y  y  y  n"},
      {"UDPv6", 1472, abi::kAfInet6, abi::kSockDgram, abi::kIpprotoUdp, "      0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  n  n  y  y  y  n"},
      {"TCPv6", 2432, abi::kAfInet6, abi::kSockStream, 0, "    192   yes  kernel      y  y  y  y  y  y  y  y  y  y  y  y  n  y  y  y  y  y"},
      {"UNIX-STREAM", 1152, abi::kAfUnix, abi::kSockStream, 0, "      0   yes  kernel      y  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n"},
      {"UNIX", 1152, abi::kAfUnix, -abi::kSockStream, 0, "      0   yes  kernel      y  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n"},
      {"UDP-Lite", 1344, abi::kAfInet, abi::kSockDgram, abi::kIpprotoUdplite, "      0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  n  n  y  y  y  n"},
      {"PING", 1016, abi::kAfInet, abi::kSockDgram, abi::kIpprotoIcmp, "      0   yes  kernel      y  y  y  n  n  y  n  n  y  y  y  y  y  y  n  y  y  n"},
      {"RAW", 1152, abi::kAfInet, abi::kSockRaw, 0, "      0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  y  y  y  y  n  n"},
      {"UDP", 1344, abi::kAfInet, abi::kSockDgram, abi::kIpprotoUdp, "      0   yes  kernel      y  y  y  n  y  y  y  n  y  y  y  y  n  n  y  y  y  n"},
      {"TCP", 2304, abi::kAfInet, abi::kSockStream, 0, "    192   yes  kernel      y  y  y  y  y  y  y  y  y  y  y  y  n  y  y  y  y  y"},
      {"NETLINK", 1096, abi::kAfNetlink, 0, 0, "      0   no   kernel      n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n"},
  };
  std::string out = "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n";
  for (const Protocol& p : kAll) {
    const std::vector<SocketReport> reports = SocketList::Get().Reports(p.family);
    const auto n = std::count_if(reports.begin(), reports.end(), [&](const SocketReport& r) {
      // As sock_prot_inuse_add: those of TCP count once they listen or connect, those of UDP once they are bound.
      const bool inet = p.family == abi::kAfInet || p.family == abi::kAfInet6;
      if (inet && r.type == abi::kSockStream && r.state == SocketReport::kClose) return false;
      if (inet && r.type == abi::kSockDgram && !IsBound(r)) return false;
      const bool type = p.type == 0 || (p.type > 0 ? r.type == p.type : r.type != -p.type);
      return type && (p.protocol == 0 || r.protocol == p.protocol);
    });
    const bool tcp = p.type == abi::kSockStream && p.family != abi::kAfUnix;
    Append(out, "%-9s %4u %6d  %6d   %-3s %s\n", p.name, p.size, static_cast<int>(n), tcp || p.protocol == abi::kIpprotoUdp ? 0 : -1, tcp ? "no" : "NI", p.rest);
  }
  return out;
}

struct Table {
  const char* name;
  uint32_t mode;
  const char* fixed;           // the text, if it is always the same
  std::string (*make)();
};
constexpr Table kTables[] = {
    {"anycast6", 0444, "", nullptr},
    {"arp", 0444, "IP address       HW type     Flags       HW address            Mask     Device\n", nullptr},
    {"dev", 0444,
     "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    "
     "packets errs drop fifo colls carrier compressed\n    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0  "
     "     0          0\n",
     nullptr},
    {"dev_mcast", 0444, "", nullptr},
    {"icmp", 0444, nullptr, [] { return DatagramTable(false, IsPing, Spaces::kPing); }},
    {"icmp6", 0444, nullptr, [] { return DatagramTable(true, IsPing); }},
    {"if_inet6", 0444, "00000000000000000000000000000001 01 80 10 80       lo\n", nullptr},
    {"igmp", 0444, "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n", nullptr},
    {"igmp6", 0444,
     "1    lo              ff020000000000000000000000000001     1 0000000C 0\n1    lo              ff010000000000000000000000000001     1 00000008 0\n", nullptr},
    {"ip6_flowlabel", 0444, "Label S Owner  Users  Linger Expires  Dst                              Opt\n", nullptr},
    {"ipv6_route", 0444,
     "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
     "00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001       lo\n"
     "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n",
     nullptr},
    {"mcfilter", 0444, "Idx Device        MCA        SRC    INC    EXC\n", nullptr},
    {"mcfilter6", 0444, "Idx Device                Multicast Address                   Source Address    INC    EXC\n", nullptr},
    {"netlink", 0444, nullptr, NetlinkTable},
    {"netstat", 0444, kNetstat, nullptr},
    {"packet", 0444, nullptr, PacketTable},
    {"protocols", 0444, nullptr, ProtocolTable},
    {"psched", 0444, "000003e8 00000040 000f4240 3b9aca00\n", nullptr},
    {"ptype", 0444, "Type Device      Function\n0800          ip_rcv\n86dd          ipv6_rcv\n", nullptr},
    {"raw", 0444, nullptr, [] { return DatagramTable(false, IsRaw, Spaces::kRaw); }},
    {"raw6", 0444, nullptr, [] { return DatagramTable(true, IsRaw); }},
    {"route", 0444,
     "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                                                       \n", nullptr},
    {"rt_cache", 0444,
     "Iface\tDestination\tGateway \tFlags\t\tRefCnt\tUse\tMetric\tSource\t\tMTU\tWindow\tIRTT\tTOS\tHHRef\tHHUptod\tSpecDst                          \n",
     nullptr},
    {"snmp", 0444, kSnmp, nullptr},
    {"snmp6", 0444, kSnmp6, nullptr},
    {"sockstat", 0444, nullptr, [] { return Counts(false); }},
    {"sockstat6", 0444, nullptr, [] { return Counts(true); }},
    {"tcp", 0444, nullptr, [] { return TcpTable(false); }},
    {"tcp6", 0444, nullptr, [] { return TcpTable(true); }},
    {"udp", 0444, nullptr, [] { return DatagramTable(false, IsUdp); }},
    {"udp6", 0444, nullptr, [] { return DatagramTable(true, IsUdp); }},
    {"udplite", 0444, nullptr, [] { return DatagramTable(false, IsUdplite); }},
    {"udplite6", 0444, nullptr, [] { return DatagramTable(true, IsUdplite); }},
    {"unix", 0444, nullptr, UnixTable},
};

class TableFile final : public pseudo::PseudoFile {
 public:
  TableFile(Ref<vfs::Filesystem> fs, const Table& table, uint64_t ino) : PseudoFile(std::move(fs), table.mode, ino), table_(table) {}
  Text Generate(Caller& /*caller*/) override { return table_.make == nullptr ? std::string(table_.fixed) : table_.make(); }

 private:
  const Table& table_;
};

// Every process has one, and hardly anybody looks: the files are made when they are.
class NetDirectory final : public pseudo::PseudoDirectory {
 public:
  NetDirectory(Ref<ProcFilesystem> fs, abi::Pid pid, bool thread)
      : PseudoDirectory(fs, 0555, ProcInode(pid, Kind::kNet, thread ? 0x8000 : 0)), fs_(std::move(fs)), pid_(pid), thread_(thread) {}

 protected:
  Result<RefPtr<vfs::Inode>> FindComputed(const Caller& /*caller*/, std::string_view name) override {
    for (const Table& table : kTables) {
      if (name == table.name) return RefPtr<vfs::Inode>(MakeRef<TableFile>(fs_, table, InodeOf(table)));
    }
    return RefPtr<vfs::Inode>(nullptr);
  }
  Result<void> ListComputed(const Caller& /*caller*/, std::vector<pseudo::PseudoEntry>& out) override {
    for (const Table& table : kTables) out.push_back({table.name, vfs::FileType::kRegular, InodeOf(table)});
    return Ok();
  }

 private:
  uint64_t InodeOf(const Table& table) const {
    return ProcInode(pid_, Kind::kNet, static_cast<uint64_t>(&table - kTables + 1) | (thread_ ? 0x8000 : 0));
  }
  const Ref<ProcFilesystem> fs_;
  const abi::Pid pid_;
  const bool thread_;
};

}  // namespace

Ref<vfs::Inode> NewNetDirectory(const Ref<ProcFilesystem>& fs, abi::Pid pid, bool thread) { return MakeRef<NetDirectory>(fs, pid, thread); }

}  // namespace rampart::fs::proc
