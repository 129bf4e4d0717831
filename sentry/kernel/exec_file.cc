#include "sentry/kernel/exec_file.h"

#include <utility>

#include "abi/process.h"
#include "sentry/auth/identity.h"
#include "sentry/mm/io.h"

namespace rampart::kernel {

VfsExecutable::VfsExecutable(Ref<vfs::FileDescription> file, const Caller& caller) : file_(std::move(file)) {
  mm::MMapArgs args;
  args.length = kPageSize;
  args.prot = platform::Prot::kReadExec;
  if (file_->ConfigureMMap(caller, args).ok()) mappable_ = args.file;
}

Result<size_t> VfsExecutable::PRead(std::span<std::byte> bytes, uint64_t offset) {
  KernelCaller caller;
  mm::BufferDst dst(bytes);
  size_t done = 0;
  while (done < bytes.size()) {
    const size_t n = TRY(file_->PRead(caller, dst, offset + done, 0));
    if (n == 0) break;
    done += n;
  }
  return done;
}

Result<RefPtr<mm::MappingIdentity>> VfsExecutable::BecomeProgram() {
  const Ref<Program> program = TRY(Program::Create(file_));
  return RefPtr<mm::MappingIdentity>(program);
}

Result<Ref<Program>> Program::Create(Ref<vfs::FileDescription> file) {
  TRY(file->inode()->DenyWriteAccess());
  return MakeRef<Program>(std::move(file));
}

Result<Ref<vfs::FileDescription>> OpenExecutableFile(Caller& caller, vfs::MountNamespace& mounts, vfs::Path root, vfs::Path start,
                                                     std::string_view path, bool follow_last) {
  const vfs::Walk walk{caller, mounts, std::move(root), std::move(start)};
  const vfs::WalkArgs args{.follow_last = follow_last, .allow_empty = path.empty()};
  const vfs::Path found = TRY(vfs::Lookup(walk, path, args));
  const RefPtr<vfs::Inode> inode = found.dentry->inode();
  if (!inode) return Errno::kENOENT;
  if (inode->type() == vfs::FileType::kSymlink) return Errno::kELOOP;
  if (inode->type() != vfs::FileType::kRegular) return Errno::kEACCES;
  if (found.mount->flags().no_exec) return Errno::kEACCES;
  TRY(vfs::CheckAccess(caller, found, vfs::Access::kExecute));
  if (inode->writers() > 0) return Errno::kETXTBSY;
  // The kernel reads it, whether or not the caller may.
  KernelCaller kernel;
  return vfs::OpenPath(kernel, found, abi::kORdOnly);
}

Result<Ref<loader::ExecutableFile>> VfsOpener::OpenExecutable(std::string_view path) {
  const Ref<vfs::MountNamespace> mounts = fs_.mounts();
  const Ref<vfs::FileDescription> file = TRY(OpenExecutableFile(caller_, *mounts, fs_.root(), fs_.cwd(), path, true));
  return Ref<loader::ExecutableFile>(MakeRef<VfsExecutable>(file, caller_));
}

// Linux: bprm_fill_uid; of files no capabilities are known.
Result<ExecIdentity> CredentialsAfterExec(const auth::Credentials& old, const vfs::Attr& attr, bool nosuid, bool unsafe) {
  constexpr uint32_t kSetIdBits = abi::kIsUid | abi::kIsGid;
  const auth::ExecFile file{.uid = attr.uid, .gid = attr.gid, .mode = nosuid ? attr.permissions & ~kSetIdBits : attr.permissions, .capabilities = std::nullopt};
  auth::ExecIdentity identity = TRY(auth::OnExec(old, file, unsafe));
  return ExecIdentity{MakeRef<const auth::Credentials>(std::move(identity.values)), identity.secure};
}

}  // namespace rampart::kernel
