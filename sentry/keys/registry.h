// Registry: all keys of the sandbox by number, each user's keyrings and quotas, and every operation on keys (add_key(2), request_key(2), keyctl(2)).
//
// Source: Linux security/keys/{key,keyring,keyctl,process_keys,permission}.c. Thread safety: any thread. Lock: mu_, a leaf; no user memory is touched
// and no reference to a key dropped under it (they go into a Grave that outlives the lock).
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/auth/credentials.h"
#include "sentry/keys/key.h"

namespace rampart::keys {

// On whose behalf something is done, with the keyrings that it possesses (null: none yet).
struct Subject {
  const auth::Credentials& creds;
  RefPtr<Key> thread, process, session;
};

// /proc/sys/kernel/keys.
struct Limits {
  std::atomic<uint32_t> max_keys{200}, max_bytes{20000}, root_max_keys{1000000}, root_max_bytes{25000000};
  std::atomic<uint32_t> gc_delay{300}, persistent_expiry{259200};
};

enum class Quota : uint8_t { kCounted, kMayOverrun };
enum class Displace : bool { kNo, kYes };

class Registry {
 public:
  Registry() = default;
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  Limits limits;

  // A keyring that nothing links to yet: thread, process and session keyrings. EDQUOT.
  Result<Ref<Key>> NewKeyring(const auth::Credentials& creds, std::string description, uint32_t permissions, Quota quota);
  // The two keyrings of a user (_uid.N, _uid_ses.N), made on first use.
  struct UserKeyrings {
    Ref<Key> user, session;
  };
  Result<UserKeyrings> KeyringsOf(abi::Uid uid);
  // keyctl_get_persistent: the keyring that lasts for a while without anybody holding it; asking for it begins that while anew.
  Result<Ref<Key>> PersistentOf(abi::Uid uid);
  // A session keyring by name that `subject` may search. ENOKEY.
  Result<Ref<Key>> FindKeyring(const Subject& subject, const std::string& name);

  // By number, with possession found out. ENOKEY, EINVAL.
  Result<KeyRef> Find(const Subject& subject, int32_t serial);
  // Whether it may be used at all (ENOKEY, EKEYREVOKED, EKEYEXPIRED, a negative key's error), and by `subject` for `rights` (EACCES).
  Result<void> Validate(const Key& key) const;
  Result<void> CheckRights(const Subject& subject, const KeyRef& ref, uint32_t rights) const;
  // Whether any of the subject's keyrings leads to it.
  bool Possesses(const Subject& subject, const Key& key) const;

  // add_key(2). EINVAL, ENOTDIR, EDQUOT, EACCES, EPERM (restricted).
  Result<Ref<Key>> AddOrUpdate(const Subject& subject, const KeyRef& keyring, KeyType type, const std::string& description, std::string payload);
  Result<void> Update(Key& key, std::string payload);
  // request_key(2) without anybody to ask: what the subject's keyrings have. ENOKEY, EKEYREVOKED, EKEYEXPIRED, EACCES.
  Result<KeyRef> SearchOwn(const Subject& subject, KeyType type, const std::string& description) const;
  Result<KeyRef> SearchIn(const Subject& subject, const KeyRef& keyring, KeyType type, const std::string& description) const;
  // A key that says `error` for `seconds`, linked into `keyring` (may be null).
  Result<void> AddNegative(const Subject& subject, RefPtr<Key> keyring, KeyType type, const std::string& description, Errno error, uint32_t seconds);

  // keyctl(2). Rights have been checked, as each operation needs them.
  Result<void> Link(const Ref<Key>& key, Key& keyring);
  Result<void> Unlink(Key& key, Key& keyring);
  Result<void> Move(const Ref<Key>& key, Key& from, Key& to, Displace displace);
  Result<void> Clear(Key& keyring);
  void Revoke(Key& key);
  void Invalidate(Key& key);
  Result<void> Restrict(Key& keyring);
  Result<void> SetOwner(const Subject& subject, Key& key, std::optional<abi::Uid> uid, std::optional<abi::Gid> gid);
  Result<void> SetPermissions(const Subject& subject, Key& key, uint32_t permissions);
  void SetTimeout(Key& key, uint32_t seconds);
  std::string Describe(const Key& key) const;
  abi::Uid OwnerOf(const Key& key) const;
  // The payload, or a keyring's numbers. EOPNOTSUPP: cannot be read.
  Result<std::string> Read(const Key& key) const;
  // The error of a negative key, or Ok.
  Result<void> StateOf(const Key& key) const;

  // /proc/keys as `subject` sees it, /proc/key-users.
  std::string ListFor(const Subject& subject) const;
  std::string ListUsers() const;

 private:
  friend class Key;
  struct User {
    uint64_t keys = 0, counted_keys = 0, counted_bytes = 0;
    RefPtr<Key> keyring, session, persistent;
  };
  // References that are to be dropped after the lock.
  using Grave = std::vector<RefPtr<Key>>;
  struct Hit {
    Key* key = nullptr;  // valid under the lock
    Errno error = Errno::kENOKEY;
  };
  struct Wanted {
    const Key* identity;  // or, when null:
    KeyType type;
    const std::string* description;
  };

  Result<Ref<Key>> NewLocked(abi::Uid uid, abi::Gid gid, KeyType type, std::string description, uint32_t permissions, Quota quota, size_t payload)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> ChargeLocked(abi::Uid uid, int64_t keys, int64_t bytes, Quota quota) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> ResizeLocked(Key& key, size_t payload) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> ValidateLocked(const Key& key) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  bool AllowsLocked(const Subject& subject, const Key& key, bool possessed, uint32_t rights) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void MatchLocked(const Subject& subject, Key& key, bool possessed, const Wanted& wanted, Hit& hit) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void SearchLocked(const Subject& subject, Key& keyring, bool possessed, const Wanted& wanted, int depth, Hit& hit) const
      ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void SearchOwnLocked(const Subject& subject, const Wanted& wanted, Hit& hit) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  Result<void> LinkLocked(const Ref<Key>& key, Key& keyring, Grave& grave) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool UnlinkLocked(Key& key, Key& keyring, Grave& grave) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<void> CheckNestingLocked(const Key& inner, const Key& outer) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  bool ReachesLocked(const Key& from, const Key& to) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  int DepthLocked(const Key& keyring) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void Forget(Key& key) ABSL_LOCKS_EXCLUDED(mu_);

  mutable absl::Mutex mu_;
  std::map<int32_t, Key*> keys_ ABSL_GUARDED_BY(mu_);
  std::map<abi::Uid, User> users_ ABSL_GUARDED_BY(mu_);
};

}  // namespace rampart::keys
