// What the files of the key calls share: the caller's keyrings, and how their special numbers become keys. Linux: process_keys.c.
#pragma once

#include <optional>
#include <string>

#include "sentry/kernel/kernel.h"
#include "sentry/keys/registry.h"

namespace rampart::syscalls {

// KEY_SPEC_…_KEYRING.
inline constexpr int32_t kThreadKeyring = -1, kProcessKeyring = -2, kSessionKeyring = -3, kUserKeyring = -4, kUserSessionKeyring = -5,
                         kGroupKeyring = -6, kAuthKey = -7, kRequestorKeyring = -8;
// KEY_REQKEY_DEFL_….
inline constexpr int32_t kDefaultNoChange = -1, kDefaultDefault = 0, kDefaultThread = 1, kDefaultProcess = 2, kDefaultSession = 3, kDefaultUser = 4,
                         kDefaultUserSession = 5, kDefaultRequestor = 7;

enum class Create : bool { kNo, kYes };
// kPartial: also a negative key; kAny: also one that is no longer valid.
enum class State : uint8_t { kValid, kPartial, kAny };
inline constexpr uint32_t kNoRights = 0;

keys::Subject SubjectOf(kernel::Task& task);
// lookup_user_key: `id` may be one of the special numbers. EINVAL, ENOKEY, EKEYREVOKED, EKEYEXPIRED, EACCES.
Result<keys::KeyRef> LookupKey(kernel::Task& task, int32_t id, Create create, State state, uint32_t rights);
// Makes the keyring of the thread or process where there is none.
Result<void> EnsureThreadKeyring(kernel::Task& task);
Result<void> EnsureProcessKeyring(kernel::Task& task);
// join_session_keyring: its number.
Result<int32_t> JoinSession(kernel::Task& task, const std::optional<std::string>& name);
// ENODEV-like errors are the caller's. EINVAL, EFAULT, EPERM (reserved names).
Result<std::string> ReadTypeName(kernel::Task& task, UserPath type);
Result<std::string> ReadDescription(kernel::Task& task, UserPath description);

}  // namespace rampart::syscalls
