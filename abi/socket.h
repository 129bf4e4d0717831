// socket(7) of Linux x86-64: families, types, flags, options, structures.
#pragma once

#include <cstdint>

namespace rampart::abi {

inline constexpr int kAfUnspec = 0, kAfUnix = 1, kAfInet = 2, kAfInet6 = 10, kAfNetlink = 16, kAfPacket = 17;
inline constexpr int kSockStream = 1, kSockDgram = 2, kSockRaw = 3, kSockSeqpacket = 5;
inline constexpr uint32_t kSockNonblock = 04000, kSockCloexec = 02000000, kSockTypeMask = 0xf;
inline constexpr uint32_t kMsgOob = 1, kMsgPeek = 2, kMsgCtrunc = 8, kMsgTrunc = 0x20, kMsgDontwait = 0x40, kMsgEor = 0x80, kMsgWaitall = 0x100,
                          kMsgErrqueue = 0x2000,
                          kMsgNosignal = 0x4000, kMsgWaitforone = 0x10000, kMsgCmsgCloexec = 0x40000000;
inline constexpr int kSolSocket = 1, kIpprotoIp = 0, kIpprotoIcmp = 1, kIpprotoTcp = 6, kIpprotoUdp = 17, kIpprotoIpv6 = 41, kIpprotoIcmpv6 = 58, kIpprotoRaw = 255, kIpprotoLargest = 262, kIpprotoUdplite = 136;
inline constexpr int kSoReuseaddr = 2, kSoType = 3, kSoError = 4, kSoBroadcast = 6, kSoSndbuf = 7, kSoRcvbuf = 8, kSoKeepalive = 9, kSoLinger = 13,
                     kSoReuseport = 15, kSoPasscred = 16, kSoPeercred = 17, kSoRcvtimeo = 20, kSoSndtimeo = 21, kSoAcceptconn = 30,
                     kSoProtocol = 38, kSoDomain = 39, kSoOobinline = 10, kSoSndlowat = 19, kSoBindtodevice = 25, kSoSndbufforce = 32,
                     kSoRcvbufforce = 33, kSoCookie = 57, kSoRcvtimeoNew = 66, kSoSndtimeoNew = 67;
inline constexpr int kScmRights = 1, kScmCredentials = 2;
inline constexpr int kTcpNodelay = 1, kIpv6V6only = 26;
inline constexpr int kShutRd = 0, kShutWr = 1, kShutRdwr = 2;
inline constexpr uint32_t kMaxScmFds = 253;

struct Ucred {
  int32_t pid;
  uint32_t uid;
  uint32_t gid;
};
struct Msghdr {
  uint64_t name;
  uint32_t name_length;
  uint32_t pad0;
  uint64_t iov;
  uint64_t iov_count;
  uint64_t control;
  uint64_t control_length;
  uint32_t flags;
  uint32_t pad1;
};
static_assert(sizeof(Msghdr) == 56);
struct Mmsghdr {
  Msghdr header;
  uint32_t length;
  uint32_t pad;
};
struct Cmsghdr {
  uint64_t length;
  int32_t level;
  int32_t type;
};

}  // namespace rampart::abi
