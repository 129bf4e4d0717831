// open(2), fcntl(2), stat(2), *at(2) constants of Linux x86-64.
#pragma once

#include <cstdint>

namespace rampart::abi {

// File types in st_mode.
inline constexpr uint32_t kIfMt = 0170000, kIfSock = 0140000, kIfLnk = 0120000, kIfReg = 0100000, kIfBlk = 0060000, kIfDir = 0040000,
                          kIfChr = 0020000, kIfIfo = 0010000;
inline constexpr uint32_t kIsUid = 04000, kIsGid = 02000, kIsVtx = 01000;

inline constexpr uint32_t kOAccMode = 03, kORdOnly = 0, kOWrOnly = 01, kORdWr = 02, kOCreat = 0100, kOExcl = 0200, kONoctty = 0400,
                          kOTrunc = 01000, kOAppend = 02000, kONonblock = 04000, kODsync = 010000, kOAsync = 020000, kODirect = 040000,
                          kOLargefile = 0100000, kODirectory = 0200000, kONofollow = 0400000, kONoatime = 01000000, kOCloexec = 02000000,
                          kOSync = 04010000, kOPath = 010000000, kOTmpfile = 020200000;

inline constexpr int kAtSymlinkNofollow = 0x100, kAtRemovedir = 0x200, kAtEaccess = 0x200, kAtSymlinkFollow = 0x400, kAtNoAutomount = 0x800,
                     kAtEmptyPath = 0x1000, kAtStatxForceSync = 0x2000, kAtStatxDontSync = 0x4000;

inline constexpr uint32_t kRenameNoreplace = 1, kRenameExchange = 2, kRenameWhiteout = 4;

// Commands of fcntl(2).
inline constexpr uint32_t kFDupFd = 0, kFGetFd = 1, kFSetFd = 2, kFGetFl = 3, kFSetFl = 4, kFGetLk = 5, kFSetLk = 6, kFSetLkw = 7,
                          kFSetOwn = 8, kFGetOwn = 9, kFSetSig = 10, kFGetSig = 11, kFSetOwnEx = 15, kFGetOwnEx = 16, kFOfdGetLk = 36,
                          kFOfdSetLk = 37, kFOfdSetLkw = 38, kFSetLease = 1024, kFGetLease = 1025, kFNotify = 1026, kFCreatedQuery = 1028,
                          kFDupFdCloexec = 1030, kFSetPipeSize = 1031, kFGetPipeSize = 1032, kFAddSeals = 1033, kFGetSeals = 1034;

inline constexpr int kSeekSet = 0, kSeekCur = 1, kSeekEnd = 2, kSeekData = 3, kSeekHole = 4;

// preadv2/pwritev2.
inline constexpr uint32_t kRwfHipri = 1, kRwfDsync = 2, kRwfSync = 4, kRwfNowait = 8, kRwfAppend = 16, kRwfNoappend = 32;
// Whether a write of a description with `flags` goes to the end: O_APPEND, and the flags of pwritev2 that overrule it.
constexpr bool Appends(uint32_t flags, uint32_t rwf) {
  return (rwf & kRwfNoappend) == 0 && ((flags & kOAppend) != 0 || (rwf & kRwfAppend) != 0);
}

constexpr uint64_t MakeDev(uint32_t major, uint32_t minor) {
  return (uint64_t{major & 0xfffff000u} << 32) | (uint64_t{major & 0xfffu} << 8) | (uint64_t{minor & 0xffffff00u} << 12) | (minor & 0xffu);
}
constexpr uint32_t DevMajor(uint64_t dev) { return static_cast<uint32_t>(((dev >> 32) & 0xfffff000u) | ((dev >> 8) & 0xfffu)); }
constexpr uint32_t DevMinor(uint64_t dev) { return static_cast<uint32_t>(((dev >> 12) & 0xffffff00u) | (dev & 0xffu)); }

}  // namespace rampart::abi
