#include "sentry/syscalls/lsm.h"

#include "abi/types.h"

namespace rampart::syscalls {
namespace {

constexpr uint64_t kCapabilityModule = 100;  // LSM_ID_CAPABILITY
constexpr uint32_t kFlagSingle = 1;

// struct lsm_ctx's head.
struct Context {
  uint64_t id, flags, length, context_length;
};

}  // namespace

Result<Word> SysLsmListModules(kernel::Task& task, UserOut<uint64_t> ids, UserInOut<uint32_t> size, uint32_t flags) {
  if (flags != 0) return Errno::kEINVAL;
  const uint32_t room = TRY(task.CopyIn(UserIn<uint32_t>(size.address())));
  TRY(task.CopyOut(UserOut<uint32_t>(size.address()), uint32_t{sizeof(kCapabilityModule)}));
  if (room < sizeof(kCapabilityModule)) return Errno::kE2BIG;
  TRY(task.CopyOut(ids, kCapabilityModule));
  return Word{1};
}

Result<Word> SysLsmGetSelfAttr(kernel::Task& task, uint32_t attr, UserAddr context, UserInOut<uint32_t> size, uint32_t flags) {
  if (attr == 0 || size.address() == 0) return Errno::kEINVAL;
  TRY(task.CopyIn(UserIn<uint32_t>(size.address())));
  if (flags != 0) {
    if (flags != kFlagSingle || context == 0) return Errno::kEINVAL;
    const Context wanted = TRY(task.CopyIn(UserIn<Context>(context)));
    if (wanted.id == 0) return Errno::kEINVAL;  // LSM_ID_UNDEF
  }
  TRY(task.CopyOut(UserOut<uint32_t>(size.address()), uint32_t{0}));
  return Errno::kEOPNOTSUPP;
}

Result<Word> SysLsmSetSelfAttr(kernel::Task& task, uint32_t attr, UserAddr context, uint32_t size, uint32_t flags) {
  if (flags != 0 || size < sizeof(Context)) return Errno::kEINVAL;
  if (size > kPageSize) return Errno::kE2BIG;
  const Context given = TRY(task.CopyIn(UserIn<Context>(context)));
  uint64_t needed = 0;
  if (size < given.length || __builtin_add_overflow(sizeof(Context), given.context_length, &needed) || given.length < needed) return Errno::kEINVAL;
  (void)attr;
  return Errno::kEOPNOTSUPP;
}

}  // namespace rampart::syscalls
