#include "sentry/syscalls/mqueue.h"

#include <optional>

#include "sentry/ipc/namespace.h"
#include "sentry/kernel/cpu_clock.h"
#include "sentry/kernel/introspect.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/namespaces.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/net/netlink/netlink_socket.h"
#include "sentry/syscalls/socket_common.h"
#include "sentry/syscalls/sysv_common.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;

// EBADF: not a message queue.
Result<Ref<ipc::MqDescription>> GetQueue(Task& task, Fd fd) {
  const Ref<vfs::FileDescription> file = TRY(task.fds().Get(fd));
  auto* const queue = dynamic_cast<ipc::MqDescription*>(file.get());
  if (queue == nullptr) return Errno::kEBADF;
  return ShareRef(queue);
}

// An instant of CLOCK_REALTIME; null: never.
Result<Deadline> ReadUntil(Task& task, UserIn<abi::Timespec> from) {
  if (!from) return Deadline::Never();
  const abi::Timespec t = TRY(task.CopyIn(from));
  const Nanos at = TRY(kernel::ToNanos(t));
  kernel::AppClock clock;
  clock.kind = kernel::AppClock::Kind::kRealtime;
  return kernel::DeadlineOf(task.kernel(), clock, at);
}

// SIGEV_SIGNAL, and SIGEV_NONE, which only keeps others from registering.
class SignalNotice final : public ipc::MqNotice {
 public:
  SignalNotice(Task& task, Kind k, const abi::SigEvent& event)
      : MqNotice(task.group().pid(), k, event.signo), group_(ShareRef(&task.group())), value_(event.value) {}
  void Give(const auth::Credentials& sender) override {
    if (kind != Kind::kSignal || !abi::ValidSignal(signo)) return;
    abi::SigInfo info{.signo = signo, .code = abi::kSiMesgq};
    info.SetSender(group_->kernel().NumberIn(group_->pid_namespace(), ipc::CurrentProcess()), sender.ruid);
    info.SetValue(value_);
    (void)group_->SendSignal(info);
  }
  void Withdraw() override {}
  abi::Pid ProcessFor(Caller& reader) const override { return kernel::SeenPid(reader, process); }

 private:
  const Ref<kernel::ThreadGroup> group_;
  const uint64_t value_;
};

// SIGEV_THREAD: glibc's helper thread reads the cookie from its netlink socket; the last byte says what has happened.
class ThreadNotice final : public ipc::MqNotice {
 public:
  ThreadNotice(Task& task, Ref<net::Socket> socket, std::string cookie)
      : MqNotice(task.group().pid(), Kind::kThread, 0), socket_(std::move(socket)), cookie_(std::move(cookie)) {}
  void Give(const auth::Credentials&) override { Send(abi::kMqNotifyWokenup); }
  void Withdraw() override { Send(abi::kMqNotifyRemoved); }
  abi::Pid ProcessFor(Caller& reader) const override { return kernel::SeenPid(reader, process); }

 private:
  void Send(int32_t code) {
    std::string bytes = cookie_;
    bytes.back() = static_cast<char>(code);
    (void)net::SendFromKernel(*socket_, std::move(bytes));
  }
  const Ref<net::Socket> socket_;
  const std::string cookie_;
};

Result<Ref<ipc::MqNotice>> NoticeOf(Task& task, const abi::SigEvent& event) {
  switch (event.notify) {
    case abi::kSigevNone: return Ref<ipc::MqNotice>(MakeRef<SignalNotice>(task, ipc::MqNotice::Kind::kNone, event));
    case abi::kSigevSignal:
      if (event.signo < 0 || event.signo > abi::kSigMax) return Errno::kEINVAL;
      return Ref<ipc::MqNotice>(MakeRef<SignalNotice>(task, ipc::MqNotice::Kind::kSignal, event));
    case abi::kSigevThread: {
      std::string cookie(abi::kMqCookieBytes, '\0');
      TRY(task.mm().CopyInBytes(event.value, std::as_writable_bytes(std::span(cookie))));
      const Ref<net::Socket> socket = TRY(GetSocket(task, Fd{event.signo}));
      if (socket->family() != abi::kAfNetlink) return Errno::kEINVAL;
      return Ref<ipc::MqNotice>(MakeRef<ThreadNotice>(task, socket, std::move(cookie)));
    }
    default: return Errno::kEINVAL;
  }
}

}  // namespace

Result<Word> SysMqOpen(Task& task, UserPath user_name, uint32_t flags, uint32_t mode, UserIn<abi::MqAttr> attributes) {
  std::optional<abi::MqAttr> asked;
  if (attributes) asked = TRY(task.CopyIn(attributes));
  const std::string name = TRY(task.CopyInPath(user_name));
  const Ref<vfs::FileDescription> file = TRY(ipc::OpenQueue(task, *task.fs().mounts(), task.namespaces().ipc->mq_root(), name,
                                                            flags & (abi::kOAccMode | abi::kOCreat | abi::kOExcl | abi::kONonblock), mode,
                                                            asked ? &*asked : nullptr));
  const Fd fd = TRY(task.fds().Install(file, /*close_on_exec=*/true, task.limit(abi::Resource::kNofile)));
  return static_cast<Word>(fd);
}

Result<Word> SysMqUnlink(Task& task, UserPath user_name) {
  const std::string name = TRY(task.CopyInPath(user_name));
  TRY(ipc::UnlinkQueue(task, *task.fs().mounts(), task.namespaces().ipc->mq_root(), name));
  return Word{0};
}

Result<Word> SysMqTimedsend(Task& task, Fd fd, UserAddr text, uint64_t size, uint32_t priority, UserIn<abi::Timespec> until) {
  const Deadline deadline = TRY(ReadUntil(task, until));
  if (priority >= abi::kMqPriorities) return Errno::kEINVAL;
  const Ref<ipc::MqDescription> file = TRY(GetQueue(task, fd));
  if (!file->writable()) return Errno::kEBADF;
  ipc::MqQueue& queue = file->mq().queue();
  if (size > static_cast<uint64_t>(queue.shape().message_size)) return Errno::kEMSGSIZE;
  ipc::MqQueue::SendArgs args{.message = {priority, std::string(size, '\0')}, .nonblocking = file->nonblocking(), .deadline = deadline};
  TRY(task.mm().CopyInBytes(text, std::as_writable_bytes(std::span(args.message.text))));
  const TaskBlocker blocker(task);
  TRY(queue.Send(task.creds(), std::move(args), *blocker));
  file->mq().TouchAll();
  return Word{0};
}

Result<Word> SysMqTimedreceive(Task& task, Fd fd, UserAddr text, uint64_t size, UserOut<uint32_t> priority, UserIn<abi::Timespec> until) {
  const Deadline deadline = TRY(ReadUntil(task, until));
  const Ref<ipc::MqDescription> file = TRY(GetQueue(task, fd));
  if (!file->readable()) return Errno::kEBADF;
  ipc::MqQueue& queue = file->mq().queue();
  if (size < static_cast<uint64_t>(queue.shape().message_size)) return Errno::kEMSGSIZE;
  const TaskBlocker blocker(task);
  const ipc::MqMessage message = TRY(queue.Receive(file->nonblocking(), deadline, *blocker));
  file->mq().TouchAll();
  if (priority) TRY(task.CopyOut(priority, message.priority));
  TRY(task.mm().CopyOutBytes(text, std::as_bytes(std::span(message.text))));
  return Word{message.text.size()};
}

Result<Word> SysMqNotify(Task& task, Fd fd, UserIn<abi::SigEvent> event) {
  RefPtr<ipc::MqNotice> notice;
  if (event) {
    const abi::SigEvent asked = TRY(task.CopyIn(event));
    notice = TRY(NoticeOf(task, asked));
  }
  const Ref<ipc::MqDescription> file = TRY(GetQueue(task, fd));
  if (notice) {
    TRY(file->mq().queue().Register(notice.ToRef()));
  } else {
    file->mq().queue().Unregister(task.group().pid());
  }
  file->mq().TouchAccess();
  return Word{0};
}

Result<Word> SysMqGetsetattr(Task& task, Fd fd, UserIn<abi::MqAttr> wanted, UserOut<abi::MqAttr> old) {
  std::optional<abi::MqAttr> change;
  if (wanted) {
    change = TRY(task.CopyIn(wanted));
    if ((change->flags & ~int64_t{abi::kONonblock}) != 0) return Errno::kEINVAL;
  }
  const Ref<ipc::MqDescription> file = TRY(GetQueue(task, fd));
  ipc::MqQueue& queue = file->mq().queue();
  abi::MqAttr now{};
  now.flags = file->nonblocking() ? int64_t{abi::kONonblock} : 0;
  now.maxmsg = queue.shape().messages;
  now.msgsize = queue.shape().message_size;
  now.curmsgs = queue.count();
  if (change) {
    const uint32_t nonblock = change->flags != 0 ? abi::kONonblock : 0u;
    TRY(file->SetFlags(task, (file->flags() & ~abi::kONonblock) | nonblock));
    file->mq().TouchAccess();
  }
  if (old) TRY(task.CopyOut(old, now));
  return Word{0};
}

}  // namespace rampart::syscalls
