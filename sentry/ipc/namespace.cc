#include "sentry/ipc/namespace.h"

namespace rampart::ipc {
namespace {

uint64_t NextId() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

vfs::Path MountQueues(const Ref<MqAccounts>& accounts) {
  const Ref<MqFilesystem> fs = MakeRef<MqFilesystem>();
  const Ref<vfs::Dentry> root = vfs::Dentry::NewRoot(fs->MakeRoot(accounts));
  return {MakeRef<vfs::Mount>(fs, root, vfs::MountFlags{}, "mqueue"), root};
}

}  // namespace

Namespace::Namespace(Ref<mm::MemoryFile> memory_file)
    : id_(NextId()), shm_(MakeRef<ShmTable>(std::move(memory_file))), mq_(MakeRef<MqAccounts>()), mq_root_(MountQueues(mq_)) {}

Namespace::~Namespace() { shm_->Clear(); }

}  // namespace rampart::ipc
