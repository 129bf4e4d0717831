// System V objects and POSIX message queues, under keys of this program's own.
#include <fcntl.h>
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "tests/differential/operations.h"

namespace differential {
namespace {

// Ids of objects differ from run to run, so that they are named by their key's number.
int g_queue[2] = {-1, -1}, g_semaphores[2] = {-1, -1}, g_shared[2] = {-1, -1};

int Flags(Rng& r) { return r.Pick({IPC_CREAT | 0600, IPC_CREAT | 0600, IPC_CREAT | 0644, IPC_CREAT | IPC_EXCL | 0600, 0, 0400}); }

struct Message {
  long type;
  char text[256];
};

void Queue(World& w, Rng& r) {
  const auto which = r.Below(2);
  int& id = g_queue[which];
  Message message{static_cast<long>(r.Below(5)), {}};
  switch (r.Below(6)) {
    case 0: {
      const int flags = Flags(r), got = msgget(w.keys + static_cast<int>(which), flags);
      if (got >= 0) id = got;
      return w.Say(got >= 0 ? 0 : -1, "msgget(%lu, %#o)", which, static_cast<unsigned>(flags));
    }
    case 1:
    case 2: {
      const size_t size = r.Below(257);
      memset(message.text, static_cast<int>(r.Below(256)), sizeof(message.text));
      return w.Say(msgsnd(id, &message, size, IPC_NOWAIT), "msgsnd(%lu, %ld, %zu)", which, message.type, size);
    }
    case 3:
    case 4: {
      const long type = static_cast<long>(r.Below(7)) - 3;
      const int flags = IPC_NOWAIT | (r.OneIn(3) ? MSG_NOERROR : 0) | (r.OneIn(4) ? MSG_EXCEPT : 0) | (r.OneIn(8) ? 040000 : 0);
      const size_t size = r.Pick<size_t>({256, 256, 10, 0});
      const ssize_t n = msgrcv(id, &message, size, type, flags);
      w.Say(n, "msgrcv(%lu, %zu, %ld, %#o)", which, size, type, static_cast<unsigned>(flags));
      if (n >= 0) w.Note("type %ld", message.type);
      return w.NoteBytes(message.text, n);
    }
    default: {
      msqid_ds state{};
      if (r.OneIn(6)) return w.Say(msgctl(id, IPC_RMID, nullptr), "msgctl(%lu, IPC_RMID)", which);
      const int result = msgctl(id, IPC_STAT, &state);
      w.Say(result, "msgctl(%lu, IPC_STAT)", which);
      if (result == 0)
        w.Note("%lu messages %lu bytes of %lu mode %o last %s %s", state.msg_qnum, state.__msg_cbytes, state.msg_qbytes, state.msg_perm.mode,
               w.PidName(state.msg_lspid).c_str(), w.PidName(state.msg_lrpid).c_str());
    }
  }
}

void SemaphoreControl(World& w, Rng& r, size_t which, int id) {
  const int command = r.Pick({GETVAL, SETVAL, GETALL, SETALL, GETNCNT, GETPID, IPC_STAT, IPC_RMID, GETZCNT, 99});
  if (command == IPC_RMID && !r.OneIn(4)) return;
  unsigned short values[8] = {};
  semid_ds state{};
  const int number = static_cast<int>(r.Below(6));
  union {
    int value;
    void* at;
  } argument{};
  argument.at = command == IPC_STAT ? static_cast<void*>(&state) : values;
  if (command == SETVAL) argument.value = r.Pick({0, 1, 5, 40000});
  if (command == SETALL)
    for (unsigned short& value : values) value = static_cast<unsigned short>(r.Below(6));
  const int result = semctl(id, number, command, argument);
  w.Say(command == GETPID && result > 0 ? 1 : result, "semctl(%zu, %d, %d)", which, number, command);
  if (command == GETPID && result > 0) w.Note("%s", w.PidName(result).c_str());
  if (command == GETALL && result == 0) w.Note("%u %u %u", values[0], values[1], values[2]);
  if (command == IPC_STAT && result == 0) w.Note("%lu mode %o", state.sem_nsems, state.sem_perm.mode);
}

void Semaphores(World& w, Rng& r) {
  const auto which = r.Below(2);
  int& id = g_semaphores[which];
  switch (r.Below(4)) {
    case 0: {
      const int flags = Flags(r), count = r.Pick({3, 3, 3, 0, 5}), got = semget(w.keys + static_cast<int>(which), count, flags);
      if (got >= 0) id = got;
      return w.Say(got >= 0 ? 0 : -1, "semget(%lu, %d, %#o)", which, count, static_cast<unsigned>(flags));
    }
    case 1:
    case 2: {
      sembuf operations[3];
      const size_t count = r.Below(4);
      std::string shown;
      for (sembuf& one : operations) {
        one.sem_num = static_cast<unsigned short>(r.Below(4));
        one.sem_op = static_cast<short>(static_cast<int>(r.Below(5)) - 2);
        one.sem_flg = static_cast<short>(IPC_NOWAIT | (r.OneIn(3) ? SEM_UNDO : 0));
        shown += " " + std::to_string(one.sem_num) + ":" + std::to_string(one.sem_op) + ":" + std::to_string(one.sem_flg);
      }
      return w.Say(semop(id, operations, count), "semop(%lu,%s, %zu)", which, shown.c_str(), count);
    }
    default: return SemaphoreControl(w, r, which, id);
  }
}

void SharedMemory(World& w, Rng& r) {
  const auto which = r.Below(2);
  int& id = g_shared[which];
  switch (r.Below(4)) {
    case 0: {
      const int flags = Flags(r);
      const size_t size = r.Pick<size_t>({10000, 10000, 8192, 0, 20000});
      const int got = shmget(w.keys + static_cast<int>(which), size, flags);
      if (got >= 0) id = got;
      return w.Say(got >= 0 ? 0 : -1, "shmget(%lu, %zu, %#o)", which, size, static_cast<unsigned>(flags));
    }
    case 1: {
      const int flags = r.Pick({SHM_REMAP, SHM_REMAP | SHM_RDONLY, 0, SHM_RND});
      uint8_t* const wanted = w.Area(r.Below(40)) + (r.OneIn(20) ? 8 : 0);
      void* at = shmat(id, wanted, flags);
      w.Say(at == reinterpret_cast<void*>(-1) ? -1 : 0, "shmat(%lu, %s, %#o)", which, w.AreaName(wanted).c_str(), static_cast<unsigned>(flags));
      return;
    }
    case 2: {
      uint8_t* const at = w.Area(r.Below(40));
      return w.Say(shmdt(at), "shmdt(%s)", w.AreaName(at).c_str());
    }
    default: {
      shmid_ds state{};
      if (r.OneIn(5)) return w.Say(shmctl(id, IPC_RMID, nullptr), "shmctl(%lu, IPC_RMID)", which);
      const int result = shmctl(id, IPC_STAT, &state);
      w.Say(result, "shmctl(%lu, IPC_STAT)", which);
      if (result == 0) w.Note("%zu attached %lu mode %o", state.shm_segsz, state.shm_nattch, state.shm_perm.mode);
    }
  }
}

std::string QueueName(const World& w, uint64_t which) { return "/differential." + std::to_string(w.keys) + "." + std::to_string(which); }

void QueueOpen(World& w, Rng& r) {
  w.MakeRoom(r);
  const auto which = r.Below(2);
  if (r.OneIn(5)) return w.Say(mq_unlink(QueueName(w, which).c_str()), "mq_unlink(%lu)", which);
  mq_attr attributes{};
  attributes.mq_maxmsg = r.Pick({3, 10, 3, 0});
  attributes.mq_msgsize = r.Pick({100, 100, 8, -1});
  const int flags = O_NONBLOCK | r.Pick({O_RDWR, O_RDWR, O_RDONLY, O_WRONLY}) | (r.OneIn(4) ? 0 : O_CREAT) | (r.OneIn(8) ? O_EXCL : 0);
  const auto fd = static_cast<int>(syscall(SYS_mq_open, QueueName(w, which).c_str() + 1, flags, 0600, &attributes));
  w.Say(fd, "mq_open(%lu, %#x, %ld, %ld)", which, static_cast<unsigned>(flags), attributes.mq_maxmsg, attributes.mq_msgsize);
  w.Keep(fd);
}

void QueueUse(World& w, Rng& r) {
  const int fd = w.Fd(r, kMessages);
  if ((w.KindOf(fd) & kMessages) == 0) return QueueOpen(w, r);
  char text[200] = {};
  unsigned priority = static_cast<unsigned>(r.Below(4));
  switch (r.Below(5)) {
    case 0:
    case 1: {
      const size_t size = r.Pick<size_t>({0, 5, 100, 101});
      memset(text, static_cast<int>(r.Below(256)), sizeof(text));
      if (r.OneIn(30)) priority = 40000;
      return w.Say(mq_send(fd, text, size, priority), "mq_send(%d, %zu, %u)", fd, size, priority);
    }
    case 2: {
      const size_t size = r.Pick<size_t>({200, 100, 50});
      const ssize_t n = mq_receive(fd, text, size, &priority);
      w.Say(n, "mq_receive(%d, %zu)", fd, size);
      if (n >= 0) w.Note("priority %u", priority);
      return w.NoteBytes(text, n);
    }
    case 3: {
      sigevent event{};
      event.sigev_notify = r.Pick({SIGEV_SIGNAL, SIGEV_NONE});
      event.sigev_signo = SIGUSR2;
      event.sigev_value.sival_int = 77;
      const bool remove = r.OneIn(3);
      return w.Say(static_cast<long>(syscall(SYS_mq_notify, fd, remove ? nullptr : &event)), "mq_notify(%d, %d)", fd, remove ? -1 : event.sigev_notify);
    }
    default: {
      mq_attr set{}, old{};
      set.mq_flags = O_NONBLOCK | (r.OneIn(10) ? 1 : 0);
      const long result = syscall(SYS_mq_getsetattr, fd, r.OneIn(2) ? &set : nullptr, &old);
      w.Say(result, "mq_getsetattr(%d)", fd);
      if (result == 0) w.Note("%#lx %ld %ld %ld", old.mq_flags, old.mq_maxmsg, old.mq_msgsize, old.mq_curmsgs);
    }
  }
}

constexpr Operation kOperations[] = {
    {"msg", 10, Queue}, {"sem", 10, Semaphores}, {"shm", 8, SharedMemory}, {"mq_open", 3, QueueOpen}, {"mq_use", 8, QueueUse},
};

}  // namespace

std::span<const Operation> IpcOperations() { return kOperations; }

}  // namespace differential
