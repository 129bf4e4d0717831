// msgget(2), msgsnd(2), msgrcv(2), msgctl(2).
#include <climits>

#include "ipc_support.h"

namespace {

using test::AsUser;
using test::Becomes;
using test::Handled;
using test::InChild;
using test::NewKey;
using test::Passes;
using test::Spawn;
using test::StatusOf;

constexpr int kMsgCopy = 040000, kMsgExcept = 020000, kMsgStatAny = 13;

class Queue {
 public:
  explicit Queue(int flags = 0600, key_t key = IPC_PRIVATE) : id_(msgget(key, IPC_CREAT | flags)) {}
  ~Queue() { Remove(); }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  void Remove() {
    if (id_ >= 0) msgctl(std::exchange(id_, -1), IPC_RMID, nullptr);
  }
  int id() const { return id_; }
  int Send(long type, std::string_view text, int flags = 0) const {
    std::vector<char> buffer(sizeof(long) + text.size());
    memcpy(buffer.data(), &type, sizeof(type));
    memcpy(buffer.data() + sizeof(long), text.data(), text.size());
    return msgsnd(id_, buffer.data(), text.size(), flags);
  }
  // "TYPE:TEXT", or "errno N".
  std::string Receive(long type = 0, int flags = IPC_NOWAIT, size_t room = 100) const {
    std::vector<char> buffer(sizeof(long) + room + 1);
    const ssize_t n = msgrcv(id_, buffer.data(), room, type, flags);
    if (n < 0) return "errno " + std::to_string(errno);
    long got = 0;
    memcpy(&got, buffer.data(), sizeof(got));
    return std::to_string(got) + ":" + std::string(buffer.data() + sizeof(long), static_cast<size_t>(n));
  }
  msqid_ds Stat() const {
    msqid_ds ds{};
    EXPECT_EQ(msgctl(id_, IPC_STAT, &ds), 0);
    return ds;
  }
  void Limit(unsigned long bytes) const {
    msqid_ds ds = Stat();
    ds.msg_qbytes = bytes;
    ASSERT_EQ(msgctl(id_, IPC_SET, &ds), 0);
  }
  bool Sleeps(pid_t child) const {
    return Becomes([child] {
      const std::string stat = test::ReadAll("/proc/" + std::to_string(child) + "/stat");
      const size_t at = stat.rfind(") ");
      return at != std::string::npos && stat[at + 2] == 'S';
    });
  }

 private:
  int id_;
};
const std::string kNone = "errno " + std::to_string(ENOMSG);

TEST(Msgget, MakesAndFinds) {
  const key_t key = NewKey();
  EXPECT_FAILS(msgget(key, 0600), ENOENT);
  const Queue q(0640, key);
  ASSERT_GE(q.id(), 0);
  EXPECT_EQ(msgget(key, 0), q.id());
  EXPECT_EQ(msgget(key, IPC_CREAT | 0600), q.id());
  EXPECT_FAILS(msgget(key, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
  const msqid_ds ds = q.Stat();
  EXPECT_EQ(ds.msg_perm.mode, 0640);
  EXPECT_EQ(ds.msg_perm.__key, key);
  EXPECT_EQ(ds.msg_qnum, 0u);
  EXPECT_EQ(std::to_string(ds.msg_qbytes) + "\n", test::ReadAll("/proc/sys/kernel/msgmnb"));
  EXPECT_EQ(ds.msg_lspid, 0);
  EXPECT_EQ(ds.msg_stime, 0);
  EXPECT_LE(std::abs(ds.msg_ctime - time(nullptr)), 5);
}

TEST(Msg, FirstInFirstOut) {
  const Queue q;
  EXPECT_EQ(q.Send(3, "three"), 0);
  EXPECT_EQ(q.Send(1, "one"), 0);
  EXPECT_EQ(q.Send(2, ""), 0);
  msqid_ds ds = q.Stat();
  EXPECT_EQ(ds.msg_qnum, 3u);
  EXPECT_EQ(ds.__msg_cbytes, 8u);
  EXPECT_EQ(ds.msg_lspid, getpid());
  EXPECT_LE(std::abs(ds.msg_stime - time(nullptr)), 5);
  EXPECT_EQ(q.Receive(), "3:three");
  EXPECT_EQ(q.Receive(), "1:one");
  EXPECT_EQ(q.Receive(), "2:");
  EXPECT_EQ(q.Receive(), kNone);
  ds = q.Stat();
  EXPECT_EQ(ds.msg_lrpid, getpid());
  EXPECT_LE(std::abs(ds.msg_rtime - time(nullptr)), 5);
  EXPECT_EQ(ds.__msg_cbytes, 0u);
}

TEST(Msg, Types) {
  const Queue q;
  for (const long type : {5, 3, 9, 3, 1}) q.Send(type, std::to_string(type));
  EXPECT_EQ(q.Receive(3), "3:3");
  EXPECT_EQ(q.Receive(5, IPC_NOWAIT | kMsgExcept), "9:9");
  EXPECT_EQ(q.Receive(7), kNone);
  EXPECT_EQ(q.Receive(-4), "1:1");
  EXPECT_EQ(q.Receive(-4), "3:3");
  EXPECT_EQ(q.Receive(-4), kNone);
  EXPECT_EQ(q.Receive(LONG_MIN), "5:5");
  EXPECT_EQ(q.Receive(LONG_MIN), kNone);
  q.Send(2, "a");
  q.Send(2, "b");
  EXPECT_EQ(q.Receive(-9), "2:a");
}

TEST(Msg, Lengths) {
  const Queue q;
  q.Send(1, "0123456789");
  EXPECT_EQ(q.Receive(0, IPC_NOWAIT, 4), "errno " + std::to_string(E2BIG));
  EXPECT_EQ(q.Receive(0, IPC_NOWAIT | MSG_NOERROR, 4), "1:0123");
  EXPECT_EQ(q.Receive(), kNone);
  EXPECT_EQ(q.Send(1, std::string(8192, 'x')), 0);
  EXPECT_EQ(q.Receive(0, 0, 8192).size(), 8194u);
  EXPECT_FAILS(q.Send(1, std::string(8193, 'x')), EINVAL);
}

TEST(Msg, Copy) {
  const Queue q;
  q.Send(4, "first");
  q.Send(5, "second");
  EXPECT_EQ(q.Receive(1, IPC_NOWAIT | kMsgCopy), "5:second");
  EXPECT_EQ(q.Receive(0, IPC_NOWAIT | kMsgCopy), "4:first");
  EXPECT_EQ(q.Receive(2, IPC_NOWAIT | kMsgCopy), kNone);
  EXPECT_EQ(q.Receive(-1, IPC_NOWAIT | kMsgCopy), kNone);
  EXPECT_EQ(q.Receive(0, IPC_NOWAIT | kMsgCopy, 2), "errno " + std::to_string(E2BIG));
  EXPECT_EQ(q.Receive(0, kMsgCopy), "errno " + std::to_string(EINVAL));
  EXPECT_EQ(q.Receive(0, IPC_NOWAIT | kMsgCopy | kMsgExcept), "errno " + std::to_string(EINVAL));
  EXPECT_EQ(q.Stat().msg_qnum, 2u);
  EXPECT_EQ(q.Stat().msg_lrpid, 0);
}

TEST(Msg, Errors) {
  const Queue q;
  EXPECT_FAILS(q.Send(0, "x"), EINVAL);
  EXPECT_FAILS(q.Send(-1, "x"), EINVAL);
  struct {
    long type = 1;
    char text[8] = {};
  } message;
  EXPECT_FAILS(msgsnd(-1, &message, 1, 0), EINVAL);
  EXPECT_FAILS(msgsnd(0x7ffffff, &message, 1, 0), EINVAL);
  EXPECT_FAILS(msgsnd(q.id(), &message, test::Opaque(~size_t{0}), 0), EINVAL);
  EXPECT_FAILS(msgsnd(q.id(), test::BadAddress(), 1, 0), EFAULT);
  EXPECT_FAILS(msgrcv(-1, &message, 1, 0, IPC_NOWAIT), EINVAL);
  EXPECT_FAILS(msgrcv(0x7ffffff, &message, 1, 0, IPC_NOWAIT), EINVAL);
  EXPECT_FAILS(msgrcv(q.id(), &message, test::Opaque(~size_t{0}), 0, IPC_NOWAIT), EINVAL);
  q.Send(1, "x");
  EXPECT_FAILS(msgrcv(q.id(), test::BadAddress(), 1, 0, IPC_NOWAIT), EFAULT);
  EXPECT_EQ(q.Receive(), kNone);  // it is lost
  msqid_ds ds{};
  EXPECT_FAILS(msgctl(q.id(), 99, &ds), EINVAL);
  EXPECT_FAILS(msgctl(-1, IPC_STAT, &ds), EINVAL);
  EXPECT_FAILS(msgctl(q.id(), IPC_STAT, reinterpret_cast<msqid_ds*>(test::BadAddress())), EFAULT);
  EXPECT_FAILS(msgctl(q.id(), IPC_SET, reinterpret_cast<msqid_ds*>(test::BadAddress())), EFAULT);
}

TEST(Msg, ReceiverWaits) {
  const Queue q;
  const pid_t child = Spawn([&] {
    IN_CHILD(q.Receive(7, 0) == "7:for you");
    return 0;
  });
  EXPECT_TRUE(q.Sleeps(child));
  q.Send(6, "not for you");
  q.Send(7, "for you");
  Passes(StatusOf(child));
  EXPECT_EQ(q.Stat().msg_lrpid, child);
  EXPECT_EQ(q.Receive(), "6:not for you");
}

TEST(Msg, ATooSmallReceiverIsToldAndPassedOver) {
  const Queue q;
  const pid_t small = Spawn([&] {
    IN_CHILD(q.Receive(0, 0, 2) == "errno " + std::to_string(E2BIG));
    return 0;
  });
  EXPECT_TRUE(q.Sleeps(small));
  q.Send(1, "long");
  Passes(StatusOf(small));
  EXPECT_EQ(q.Receive(), "1:long");
  const pid_t cutting = Spawn([&] {
    IN_CHILD(q.Receive(0, MSG_NOERROR, 2) == "1:lo");
    return 0;
  });
  EXPECT_TRUE(q.Sleeps(cutting));
  q.Send(1, "long");
  Passes(StatusOf(cutting));
}

TEST(Msg, SenderWaits) {
  const Queue q;
  q.Limit(10);
  EXPECT_EQ(q.Send(1, "12345678"), 0);
  EXPECT_FAILS(q.Send(1, "123", IPC_NOWAIT), EAGAIN);
  const pid_t child = Spawn([&] { return q.Send(2, "123"); });
  EXPECT_TRUE(q.Sleeps(child));
  EXPECT_EQ(q.Send(3, "12"), 0);  // that much fits
  EXPECT_EQ(q.Receive(3), "3:12");
  EXPECT_EQ(q.Receive(1), "1:12345678");
  Passes(StatusOf(child));
  EXPECT_EQ(q.Receive(), "2:123");
}

TEST(Msg, MessagesWithoutBytesAreBoundedToo) {
  const Queue q;
  q.Limit(3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(q.Send(1, "", IPC_NOWAIT), 0);
  EXPECT_FAILS(q.Send(1, "", IPC_NOWAIT), EAGAIN);
}

TEST(Msg, ALargerQueueWakesSenders) {
  const Queue q;
  q.Limit(4);
  q.Send(1, "1234");
  const pid_t child = Spawn([&] { return q.Send(2, "5678"); });
  EXPECT_TRUE(q.Sleeps(child));
  q.Limit(8);
  Passes(StatusOf(child));
}

TEST(Msg, LostRightsWakeReceivers) {
  const Queue q(0666);
  const pid_t child = Spawn([&] {
    IN_CHILD(setresuid(4711, 4711, 4711) == 0);
    IN_CHILD(q.Receive(0, 0) == "errno " + std::to_string(EACCES));
    return 0;
  });
  EXPECT_TRUE(q.Sleeps(child));
  test::SleepMs(30);
  msqid_ds ds = q.Stat();
  ds.msg_perm.mode = 0600;
  EXPECT_EQ(msgctl(q.id(), IPC_SET, &ds), 0);
  Passes(StatusOf(child));
}

TEST(Msg, RemovalWakesBothSides) {
  Queue q, full;
  full.Limit(1);
  full.Send(1, "x");
  const pid_t receiver = Spawn([&] {
    IN_CHILD(q.Receive(0, 0) == "errno " + std::to_string(EIDRM));
    return 0;
  });
  const pid_t sender = Spawn([&] {
    IN_CHILD_FAILS(full.Send(1, "y"), EIDRM);
    return 0;
  });
  EXPECT_TRUE(q.Sleeps(receiver));
  EXPECT_TRUE(q.Sleeps(sender));
  q.Remove();
  full.Remove();
  Passes(StatusOf(receiver));
  Passes(StatusOf(sender));
}

TEST(Msg, SignalsInterrupt) {
  const Queue q;
  const Handled handled(SIGUSR1, SA_RESTART);
  const pthread_t self = pthread_self();
  {
    const test::Later later(50, [self] { pthread_kill(self, SIGUSR1); });
    EXPECT_EQ(q.Receive(0, 0), "errno " + std::to_string(EINTR));
  }
  q.Limit(1);
  q.Send(1, "x");
  const test::Later later(50, [self] { pthread_kill(self, SIGUSR1); });
  EXPECT_FAILS(q.Send(1, "x"), EINTR);
  EXPECT_EQ(q.Stat().msg_qnum, 1u);
}

TEST(Msg, StopAndContinueDoNotInterrupt) {
  const Queue q;
  const pid_t child = Spawn([&] {
    IN_CHILD(q.Receive(0, 0) == "1:x");
    return 0;
  });
  EXPECT_TRUE(q.Sleeps(child));
  kill(child, SIGSTOP);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, WUNTRACED), child);
  kill(child, SIGCONT);
  test::SleepMs(30);
  q.Send(1, "x");
  Passes(StatusOf(child));
}

TEST(Msgctl, SetAndRights) {
  const Queue q(0600), readable(0644);
  const int a = q.id(), b = readable.id();
  Passes(AsUser(4711, [=] {
    msqid_ds ds{};
    char buffer[64] = {1};
    IN_CHILD_FAILS(msgctl(a, IPC_STAT, &ds), EACCES);
    IN_CHILD(msgctl(b, IPC_STAT, &ds) == 0);
    IN_CHILD_FAILS(msgsnd(b, buffer, 1, 0), EACCES);
    IN_CHILD_FAILS(msgrcv(a, buffer, 1, 0, IPC_NOWAIT), EACCES);
    IN_CHILD_FAILS(msgrcv(b, buffer, 1, 0, IPC_NOWAIT), ENOMSG);
    IN_CHILD_FAILS(msgctl(b, IPC_SET, &ds), EPERM);
    IN_CHILD_FAILS(msgctl(b, IPC_RMID, nullptr), EPERM);
    const Queue mine;
    ds = mine.Stat();
    ds.msg_qbytes = 16385;
    IN_CHILD_FAILS(msgctl(mine.id(), IPC_SET, &ds), EPERM);
    ds.msg_qbytes = 100;
    IN_CHILD(msgctl(mine.id(), IPC_SET, &ds) == 0);
    return 0;
  }));
  msqid_ds ds = q.Stat();
  ds.msg_qbytes = 70000;
  if (test::HasCapability(24 /* CAP_SYS_RESOURCE */)) {
    EXPECT_EQ(msgctl(q.id(), IPC_SET, &ds), 0);
    EXPECT_EQ(q.Stat().msg_qbytes, 70000u);
  } else {
    EXPECT_FAILS(msgctl(q.id(), IPC_SET, &ds), EPERM);
  }
}

TEST(Msgctl, InfoAndIndexes) {
  const Queue q(0600);
  q.Send(1, "12345");
  msginfo limits{}, usage{};
  const int highest = msgctl(0, IPC_INFO, reinterpret_cast<msqid_ds*>(&limits));
  ASSERT_GE(highest, 0);
  EXPECT_EQ(test::ReadAll("/proc/sys/kernel/msgmax"), std::to_string(limits.msgmax) + "\n");
  EXPECT_EQ(test::ReadAll("/proc/sys/kernel/msgmnb"), std::to_string(limits.msgmnb) + "\n");
  EXPECT_EQ(test::ReadAll("/proc/sys/kernel/msgmni"), std::to_string(limits.msgmni) + "\n");
  EXPECT_EQ(limits.msgpool, 512000);
  EXPECT_EQ(limits.msgmap, 16384);
  EXPECT_EQ(limits.msgtql, 16384);
  EXPECT_EQ(limits.msgssz, 16);
  EXPECT_EQ(limits.msgseg, 0xffff);
  EXPECT_EQ(msgctl(0, MSG_INFO, reinterpret_cast<msqid_ds*>(&usage)), highest);
  EXPECT_GE(usage.msgpool, 1);
  EXPECT_GE(usage.msgmap, 1);
  EXPECT_GE(usage.msgtql, 5);
  const int index = q.id() & 0x7fff;
  msqid_ds ds{};
  EXPECT_EQ(msgctl(index, MSG_STAT, &ds), q.id());
  EXPECT_EQ(ds.msg_qnum, 1u);
  Passes(AsUser(4711, [=] {
    msqid_ds other{};
    IN_CHILD_FAILS(msgctl(index, MSG_STAT, &other), EACCES);
    IN_CHILD(msgctl(index, kMsgStatAny, &other) >= 0);
    return 0;
  }));
  const std::vector<std::string> line = test::ProcLine("msg", q.id());
  ASSERT_EQ(line.size(), 14u);
  EXPECT_EQ(line[3], "5");
  EXPECT_EQ(line[4], "1");
  EXPECT_EQ(line[5], std::to_string(getpid()));
}

// Many senders, many receivers, a queue that is often full: every message arrives once.
TEST(Msg, ManyProcesses) {
  const Queue work, results;
  work.Limit(64);
  constexpr int kSenders = 5, kReceivers = 4, kMessages = 100;
  std::vector<pid_t> senders, receivers;
  for (int r = 0; r < kReceivers; ++r) {
    receivers.push_back(Spawn([&] {
      long sum = 0;
      while (true) {
        const std::string got = work.Receive(0, 0);
        if (got == "9:stop") break;
        sum += std::stol(got.substr(2));
      }
      IN_CHILD(results.Send(1, std::to_string(sum)) == 0);
      return 0;
    }));
  }
  for (int s = 0; s < kSenders; ++s) {
    senders.push_back(Spawn([&, s] {
      for (int i = 1; i <= kMessages; ++i) IN_CHILD(work.Send(1 + s, std::to_string(i)) == 0);
      return 0;
    }));
  }
  for (const pid_t child : senders) Passes(StatusOf(child));
  for (int r = 0; r < kReceivers; ++r) EXPECT_EQ(work.Send(9, "stop"), 0);
  for (const pid_t child : receivers) Passes(StatusOf(child));
  long sum = 0;
  for (int r = 0; r < kReceivers; ++r) sum += std::stol(results.Receive().substr(2));
  EXPECT_EQ(sum, long{kSenders} * kMessages * (kMessages + 1) / 2);
  EXPECT_EQ(work.Stat().msg_qnum, 0u);
}

}  // namespace
