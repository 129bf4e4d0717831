// Capability numbers of capabilities(7), and sets of them.
#pragma once

#include <cstdint>

namespace rampart::abi {

enum class Capability : int {
  kChown = 0, kDacOverride = 1, kDacReadSearch = 2, kFowner = 3, kFsetid = 4, kKill = 5, kSetgid = 6, kSetuid = 7, kSetpcap = 8,
  kLinuxImmutable = 9, kNetBindService = 10, kNetBroadcast = 11, kNetAdmin = 12, kNetRaw = 13, kIpcLock = 14, kIpcOwner = 15,
  kSysModule = 16, kSysRawio = 17, kSysChroot = 18, kSysPtrace = 19, kSysPacct = 20, kSysAdmin = 21, kSysBoot = 22, kSysNice = 23,
  kSysResource = 24, kSysTime = 25, kSysTtyConfig = 26, kMknod = 27, kLease = 28, kAuditWrite = 29, kAuditControl = 30, kSetfcap = 31,
  kMacOverride = 32, kMacAdmin = 33, kSyslog = 34, kWakeAlarm = 35, kBlockSuspend = 36, kAuditRead = 37, kPerfmon = 38, kBpf = 39,
  kCheckpointRestore = 40,
};
inline constexpr int kLastCapability = 40;
using CapabilitySet = uint64_t;  // bit N is capability N
inline constexpr CapabilitySet kAllCapabilities = (uint64_t{1} << (kLastCapability + 1)) - 1;
constexpr CapabilitySet CapabilityBit(Capability c) { return uint64_t{1} << static_cast<int>(c); }

}  // namespace rampart::abi
