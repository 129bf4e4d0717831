// What execve(2) needs of files: opening for execution, and the file as the loader reads it.
// Thread safety: values and counted objects; OpenExecutable by the task's thread.
#pragma once

#include <string>
#include <string_view>

#include "sentry/kernel/task.h"
#include "sentry/loader/loader.h"
#include "sentry/vfs/operations.h"

namespace rampart::kernel {

// The program of an address space (Linux: mm_struct.exe_file). Not the description that its mappings have: nobody may write the file while one of
// these lives, and that ends before a process's end is told, when its mappings may still be there.
class Program final : public mm::MappingIdentity {
 public:
  // ETXTBSY: the file is open for writing.
  static Result<Ref<Program>> Create(Ref<vfs::FileDescription> file);
  const vfs::FileDescription& file() const { return *file_; }
  std::string MappedName() const override { return file_->MappedName(); }
  uint64_t device() const override { return file_->device(); }
  uint64_t inode_number() const override { return file_->inode_number(); }

 private:
  explicit Program(Ref<vfs::FileDescription> file) : file_(std::move(file)) {}
  ~Program() override { file_->inode()->AllowWriteAccess(); }
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  const Ref<vfs::FileDescription> file_;
};

// A file description as the loader sees it.
class VfsExecutable final : public loader::ExecutableFile {
 public:
  VfsExecutable(Ref<vfs::FileDescription> file, const Caller& caller);
  Result<size_t> PRead(std::span<std::byte> bytes, uint64_t offset) override;
  RefPtr<mm::Mappable> mappable() override { return mappable_; }
  RefPtr<mm::MappingIdentity> identity() override { return RefPtr<mm::MappingIdentity>(file_); }
  Result<RefPtr<mm::MappingIdentity>> BecomeProgram() override;
  const Ref<vfs::FileDescription>& file() const { return file_; }

 private:
  const Ref<vfs::FileDescription> file_;
  RefPtr<mm::Mappable> mappable_;
};

// Opens a file for execution as `caller`, from `start` within `root`. Errors: those of path resolution; EACCES: not a regular file, not
// executable, or on a noexec mount.
Result<Ref<vfs::FileDescription>> OpenExecutableFile(Caller& caller, vfs::MountNamespace& mounts, vfs::Path root, vfs::Path start,
                                                     std::string_view path, bool follow_last);

// Opens script and ELF interpreters for the loader.
class VfsOpener final : public loader::ExecutableOpener {
 public:
  VfsOpener(Caller& caller, vfs::FsContext& fs) : caller_(caller), fs_(fs) {}
  Result<Ref<loader::ExecutableFile>> OpenExecutable(std::string_view path) override;

 private:
  Caller& caller_;
  vfs::FsContext& fs_;
};

// The identity after executing `file`: set-id bits (`nosuid`: not its mount's), capabilities(7)'s rules for execve. `unsafe`: see auth::OnExec.
// `secure`: AT_SECURE.
struct ExecIdentity {
  Ref<const auth::Credentials> creds;
  bool secure = false;
};
Result<ExecIdentity> CredentialsAfterExec(const auth::Credentials& old, const vfs::Attr& attr, bool nosuid, bool unsafe);

}  // namespace rampart::kernel
