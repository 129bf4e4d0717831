// mmap(2), madvise(2), mremap(2), msync(2), mlock(2), membarrier(2): flags of Linux x86-64.
#pragma once

#include <cstdint>

namespace rampart::abi {

inline constexpr int kProtRead = 1, kProtWrite = 2, kProtExec = 4, kProtSem = 8;
inline constexpr int kProtGrowsDown = 0x01000000, kProtGrowsUp = 0x02000000;

inline constexpr int kMapShared = 0x01, kMapPrivate = 0x02, kMapSharedValidate = 0x03, kMapType = 0x0f;
inline constexpr int kMapFixed = 0x10, kMapAnonymous = 0x20, kMap32Bit = 0x40, kMapGrowsDown = 0x100, kMapDenyWrite = 0x800;
inline constexpr int kMapExecutable = 0x1000, kMapLocked = 0x2000, kMapNoReserve = 0x4000, kMapPopulate = 0x8000;
inline constexpr int kMapNonBlock = 0x10000, kMapStack = 0x20000, kMapHugeTlb = 0x40000, kMapSync = 0x80000;
inline constexpr int kMapFixedNoReplace = 0x100000;

inline constexpr uint32_t kMremapMayMove = 1, kMremapFixed = 2, kMremapDontUnmap = 4;
inline constexpr uint32_t kMsAsync = 1, kMsInvalidate = 2, kMsSync = 4;
inline constexpr uint32_t kMclCurrent = 1, kMclFuture = 2, kMclOnFault = 4;
inline constexpr uint32_t kMlockOnFault = 1;

inline constexpr int kMadvNormal = 0, kMadvRandom = 1, kMadvSequential = 2, kMadvWillNeed = 3, kMadvDontNeed = 4, kMadvFree = 8;
inline constexpr int kMadvRemove = 9, kMadvDontFork = 10, kMadvDoFork = 11, kMadvMergeable = 12, kMadvUnmergeable = 13;
inline constexpr int kMadvHugePage = 14, kMadvNoHugePage = 15, kMadvDontDump = 16, kMadvDoDump = 17, kMadvWipeOnFork = 18;
inline constexpr int kMadvKeepOnFork = 19, kMadvCold = 20, kMadvPageOut = 21, kMadvPopulateRead = 22, kMadvPopulateWrite = 23;
inline constexpr int kMadvDontNeedLocked = 24, kMadvCollapse = 25;

}  // namespace rampart::abi
