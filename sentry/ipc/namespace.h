// Namespace: System V objects and POSIX message queues that belong together (ipc_namespaces(7)).
// Thread safety: any thread. Ownership: counted; the objects go with it.
#pragma once

#include "sentry/ipc/mqueue_fs.h"
#include "sentry/ipc/msg.h"
#include "sentry/ipc/sem.h"
#include "sentry/ipc/shm.h"

namespace rampart::ipc {

class Namespace final : public RefCounted {
 public:
  explicit Namespace(Ref<mm::MemoryFile> memory_file);

  uint64_t id() const { return id_; }  // never used twice
  ShmTable& shm() { return *shm_; }
  SemTable& sem() { return sem_; }
  MsgTable& msg() { return msg_; }
  MqAccounts& mq() { return *mq_; }
  // The root of the mqueue filesystem, in a mount of its own that is in no mount namespace; mounting it elsewhere: its filesystem and this dentry.
  const vfs::Path& mq_root() const { return mq_root_; }

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  ~Namespace() override;

  const uint64_t id_;
  const Ref<ShmTable> shm_;
  SemTable sem_;
  MsgTable msg_;
  const Ref<MqAccounts> mq_;
  const vfs::Path mq_root_;
};

}  // namespace rampart::ipc
