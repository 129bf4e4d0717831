#include "sentry/vfs/inode.h"

#include "sentry/vfs/file_description.h"
#include "sentry/vfs/fs_registry.h"
#include "sentry/vfs/inode_extras.h"

namespace rampart::vfs {
namespace {

Errno NotDirectory(const Inode& inode) { return inode.IsDirectory() ? Errno::kEPERM : Errno::kENOTDIR; }

constexpr bool Within(Access a, Access allowed) { return (static_cast<uint8_t>(a) & ~static_cast<uint8_t>(allowed)) == 0; }

}  // namespace

uint64_t NewAnonymousDevice() {
  static std::atomic<uint32_t> next{1};
  return abi::MakeDev(0, next.fetch_add(1, std::memory_order_relaxed));
}

uint64_t NextInodeNumber() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

Filesystem::Filesystem(const char* type) : type_(type), device_(NewAnonymousDevice()) {}

Result<void> Filesystem::Reconfigure(const std::vector<FsOption>& options) { return options.empty() ? Result<void>(Ok()) : Errno::kEINVAL; }

Inode::Inode(Ref<Filesystem> fs, uint64_t ino, FileType type) : fs_(std::move(fs)), ino_(ino), type_(type) {}

Inode::~Inode() { delete extras_.load(std::memory_order_acquire); }

InodeExtras& Inode::extras() {
  InodeExtras* extras = extras_.load(std::memory_order_acquire);
  if (extras != nullptr) return *extras;
  auto made = std::make_unique<InodeExtras>();
  if (extras_.compare_exchange_strong(extras, made.get(), std::memory_order_acq_rel)) return *made.release();
  return *extras;
}

Result<void> Inode::AcquireWriteAccess() {
  int now = writers_.load(std::memory_order_acquire);
  do {
    if (now < 0) return Errno::kETXTBSY;
  } while (!writers_.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel));
  return Ok();
}

Result<void> Inode::DenyWriteAccess() {
  int now = writers_.load(std::memory_order_acquire);
  do {
    if (now > 0) return Errno::kETXTBSY;
  } while (!writers_.compare_exchange_weak(now, now - 1, std::memory_order_acq_rel));
  return Ok();
}

Result<void> Inode::SetAttr(const Caller&, const AttrChange&) { return Errno::kEPERM; }

Result<void> Inode::CheckAccess(const Caller& caller, Access wanted) {
  if (wanted == Access::kNone) return Ok();
  const auth::Credentials& creds = caller.creds();
  const bool override_all = creds.HasCapability(abi::Capability::kDacOverride);
  // Root walking directories and reading files asks nobody.
  if (override_all && (IsDirectory() || !Includes(wanted, Access::kExecute))) return Ok();
  const bool override_search = creds.HasCapability(abi::Capability::kDacReadSearch);
  if (override_search && Within(wanted, IsDirectory() ? Access::kRead | Access::kExecute : Access::kRead)) return Ok();

  const Attr attr = TRY(GetAttr(caller));
  uint32_t bits = attr.permissions;
  if (attr.uid == creds.fsuid) {
    bits >>= 6;
  } else if (creds.InGroup(attr.gid)) {
    bits >>= 3;
  }
  if (Within(wanted, static_cast<Access>(bits & 7))) return Ok();
  // What is left for root: executing a file that somebody may execute.
  if (override_all && (attr.permissions & 0111) != 0) return Ok();
  return Errno::kEACCES;
}

Result<std::string> Inode::GetXattr(const Caller&, std::string_view) { return Errno::kEOPNOTSUPP; }
Result<void> Inode::SetXattr(const Caller&, std::string_view, std::string_view, uint32_t) { return Errno::kEOPNOTSUPP; }
Result<std::vector<std::string>> Inode::ListXattr(const Caller&) { return std::vector<std::string>(); }
Result<void> Inode::RemoveXattr(const Caller&, std::string_view) { return Errno::kEOPNOTSUPP; }

Result<Ref<FileDescription>> Inode::Open(Caller&, const Path&, uint32_t) { return Errno::kENXIO; }

Result<RefPtr<Inode>> Inode::Lookup(const Caller&, std::string_view, std::string_view) { return Errno::kENOTDIR; }
Result<bool> Inode::Revalidate(const Caller&, std::string_view, Inode*) { return true; }
Result<Ref<Inode>> Inode::Create(const Caller&, std::string_view, const CreateArgs&) { return NotDirectory(*this); }

Result<Ref<FileDescription>> Inode::CreateAndOpen(Caller& caller, std::string_view name, const CreateArgs& args, uint32_t flags,
                                                  absl::FunctionRef<Path(Ref<Inode>)> name_it) {
  Ref<Inode> created = TRY(Create(caller, name, args));
  const Path path = name_it(created);
  return created->Open(caller, path, flags);
}

Result<Ref<Inode>> Inode::CreateUnnamed(const Caller&, const CreateArgs&) { return Errno::kEOPNOTSUPP; }
Result<void> Inode::Link(const Caller&, std::string_view, Inode&) { return NotDirectory(*this); }
Result<void> Inode::Unlink(const Caller&, std::string_view, Inode&) { return NotDirectory(*this); }
Result<void> Inode::RemoveDirectory(const Caller&, std::string_view, Inode&) { return NotDirectory(*this); }
Result<void> Inode::Rename(const Caller&, std::string_view, Inode&, Inode&, std::string_view, Inode*, uint32_t) { return NotDirectory(*this); }
Result<std::string> Inode::ReadLink(const Caller&) { return Errno::kEINVAL; }
Result<Path> Inode::FollowMagic(Caller&) { return Errno::kEINVAL; }

}  // namespace rampart::vfs
