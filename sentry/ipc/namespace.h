// Namespace: all System V objects and POSIX message queues of a sandbox (ipc_namespaces(7)); the Kernel owns the only one.
// Thread safety: any thread.
#pragma once

#include "sentry/ipc/mqueue_fs.h"
#include "sentry/ipc/msg.h"
#include "sentry/ipc/sem.h"
#include "sentry/ipc/shm.h"

namespace rampart::ipc {

class Namespace {
 public:
  explicit Namespace(Ref<mm::MemoryFile> memory_file);
  ~Namespace();

  ShmTable& shm() { return *shm_; }
  SemTable& sem() { return sem_; }
  MsgTable& msg() { return msg_; }
  MqAccounts& mq() { return *mq_; }
  // The root of the mqueue filesystem, in a mount of its own that is in no mount namespace; mounting it elsewhere: its filesystem and this dentry.
  const vfs::Path& mq_root() const { return mq_root_; }

 private:
  const Ref<ShmTable> shm_;
  SemTable sem_;
  MsgTable msg_;
  const Ref<MqAccounts> mq_;
  const vfs::Path mq_root_;
};

}  // namespace rampart::ipc
