// System V IPC and POSIX message queues of Linux x86-64 (ipc(5), mq_overview(7)): commands, flags, layouts. No padding holes.
#pragma once

#include <cstdint>

#include "abi/types.h"

namespace rampart::abi {

inline constexpr int32_t kIpcPrivate = 0;
inline constexpr uint32_t kIpcCreat = 01000, kIpcExcl = 02000, kIpcNowait = 04000;
inline constexpr int32_t kIpcRmid = 0, kIpcSet = 1, kIpcStat = 2, kIpcInfo = 3;

struct IpcPerm {  // ipc64_perm
  int32_t key;
  Uid uid;
  Gid gid;
  Uid cuid;
  Gid cgid;
  uint32_t mode;
  uint16_t seq;
  uint16_t pad2;
  uint32_t pad3;
  uint64_t unused[2];
};
static_assert(sizeof(IpcPerm) == 48);

// --- shared memory
inline constexpr uint32_t kShmHugetlb = 04000, kShmNoreserve = 010000, kShmHugeShift = 26, kShmHugeMask = 0x3f;
inline constexpr uint32_t kShmRdonly = 010000, kShmRnd = 020000, kShmRemap = 040000, kShmExec = 0100000;
inline constexpr int32_t kShmLock = 11, kShmUnlock = 12, kShmStat = 13, kShmInfo = 14, kShmStatAny = 15;
inline constexpr uint32_t kShmDest = 01000, kShmLocked = 02000;  // in shm_perm.mode

struct ShmidDs {  // shmid64_ds
  IpcPerm perm;
  uint64_t segsz;
  int64_t atime, dtime, ctime;
  int32_t cpid, lpid;
  uint64_t nattch;
  uint64_t unused[2];
};
static_assert(sizeof(ShmidDs) == 112);

struct ShmInfo64 {  // shminfo64: IPC_INFO
  uint64_t shmmax, shmmin, shmmni, shmseg, shmall;
  uint64_t unused[4];
};
struct ShmUsage {  // shm_info: SHM_INFO
  int32_t used_ids;
  int32_t pad;
  uint64_t tot, rss, swp, swap_attempts, swap_successes;
};

// --- semaphores
inline constexpr uint16_t kSemUndo = 0x1000;
inline constexpr int32_t kSemGetpid = 11, kSemGetval = 12, kSemGetall = 13, kSemGetncnt = 14, kSemGetzcnt = 15, kSemSetval = 16, kSemSetall = 17,
                         kSemStat = 18, kSemInfo = 19, kSemStatAny = 20;
inline constexpr int32_t kSemValueMax = 32767;

struct SemBuf {
  uint16_t num;
  int16_t op;
  uint16_t flags;
};
static_assert(sizeof(SemBuf) == 6);

struct SemidDs {  // semid64_ds
  IpcPerm perm;
  int64_t otime;
  uint64_t unused1;
  int64_t ctime;
  uint64_t unused2;
  uint64_t nsems;
  uint64_t unused3[2];
};
static_assert(sizeof(SemidDs) == 104);

struct SemUsage {  // seminfo
  int32_t semmap, semmni, semmns, semmnu, semmsl, semopm, semume, semusz, semvmx, semaem;
};

// --- message queues
inline constexpr uint32_t kMsgNoerror = 010000, kMsgExcept = 020000, kMsgCopy = 040000;
inline constexpr int32_t kMsgStat = 11, kMsgInfo = 12, kMsgStatAny = 13;

struct MsqidDs {  // msqid64_ds
  IpcPerm perm;
  int64_t stime, rtime, ctime;
  uint64_t cbytes, qnum, qbytes;
  int32_t lspid, lrpid;
  uint64_t unused[2];
};
static_assert(sizeof(MsqidDs) == 120);

struct MsgUsage {  // msginfo
  int32_t msgpool, msgmap, msgmax, msgmnb, msgmni, msgssz, msgtql;
  uint16_t msgseg;
  uint16_t pad;
};
static_assert(sizeof(MsgUsage) == 32);

// --- POSIX message queues
inline constexpr uint32_t kMqPriorities = 32768;
inline constexpr int32_t kMqCookieBytes = 32, kMqNotifyWokenup = 1, kMqNotifyRemoved = 2;
struct MqAttr {
  int64_t flags, maxmsg, msgsize, curmsgs;
  int64_t reserved[4];
};
static_assert(sizeof(MqAttr) == 64);

}  // namespace rampart::abi
