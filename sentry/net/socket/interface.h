// The one network interface of a sandbox: lo, with 127.0.0.1/8 and ::1/128. What ioctl(2) of any socket tells of it (netdevice(7)).
#pragma once

#include "sentry/context/caller.h"
#include "sentry/mm/user_memory.h"

namespace rampart::net {

inline constexpr int32_t kLoopbackIndex = 1, kLoopbackMtu = 65536, kLoopbackQueueLength = 1000;
inline constexpr char kLoopbackName[] = "lo";
// IFF_UP | IFF_LOOPBACK | IFF_RUNNING (| IFF_LOWER_UP, which only netlink tells)
inline constexpr uint32_t kLoopbackFlags = 0x1 | 0x8 | 0x40, kLoopbackLowerUp = 0x10000;
inline constexpr uint16_t kHardwareLoopback = 772;  // ARPHRD_LOOPBACK

// SIOCGIF…: ENODEV (another name), EFAULT; addresses are told by sockets of AF_INET and AF_PACKET only (`family`). Changes: EPERM. Others: ENOTTY.
Result<uint64_t> InterfaceIoctl(int family, mm::UserMemory& memory, uint32_t command, uint64_t argument);

}  // namespace rampart::net
