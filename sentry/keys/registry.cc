// Numbers, quotas, users' keyrings, rights, and what is told about keys. Searching and linking: keyring.cc.
#include "sentry/keys/registry.h"

#include <cinttypes>
#include <cstdio>
#include <random>
#include <utility>

namespace rampart::keys {
namespace {

constexpr const char* kTypeNames[] = {"keyring", "user", "logon"};
// The fourth column of /proc/keys.
std::string TimeLeft(Nanos expiry) {
  if (expiry == 0) return "perm";
  const Nanos left = expiry - RealtimeNow();
  if (left <= 0) return "expd";
  struct Unit {
    Nanos below, seconds;
    char letter;
  };
  constexpr Unit kUnits[] = {{60, 1, 's'}, {3600, 60, 'm'}, {86400, 3600, 'h'}, {604800, 86400, 'd'}, {INT64_MAX, 604800, 'w'}};
  const Nanos seconds = left / kNanosPerSecond;
  const Unit* unit = kUnits;
  while (seconds >= unit->below) ++unit;
  return std::to_string(seconds / unit->seconds) + unit->letter;
}
// What a key costs of its owner's quota: its name with the NUL, and what it holds.
size_t Cost(const std::string& description, size_t payload) { return description.size() + 1 + payload; }

// Linux: from_kgid_munged. A user's keyrings have no group.
int ShownGroup(abi::Gid gid) { return gid == ~abi::Gid{0} ? 65534 : static_cast<int>(gid); }

}  // namespace

const char* TypeName(KeyType type) { return kTypeNames[static_cast<size_t>(type)]; }

bool FindType(const std::string& name, KeyType& type) {
  for (size_t i = 0; i < std::size(kTypeNames); ++i) {
    if (name != kTypeNames[i]) continue;
    type = static_cast<KeyType>(i);
    return true;
  }
  return false;
}

void Key::OnLastRef() {
  registry_.Forget(*this);
  delete this;
}

Registry::~Registry() {
  Grave grave;
  absl::MutexLock lock(&mu_);
  for (auto& [uid, user] : users_) {
    grave.push_back(std::exchange(user.keyring, nullptr));
    grave.push_back(std::exchange(user.session, nullptr));
    grave.push_back(std::exchange(user.persistent, nullptr));
  }
}

// The last reference has gone: nobody can find it any more once the table has lost it.
void Registry::Forget(Key& key) {
  absl::MutexLock lock(&mu_);
  keys_.erase(key.serial_);
  User& user = users_[key.uid_];
  --user.keys;
  if (key.counted_) {
    --user.counted_keys;
    user.counted_bytes -= key.quota_bytes_;
  }
  if (user.keys == 0) users_.erase(key.uid_);
}

Result<void> Registry::ChargeLocked(abi::Uid uid, int64_t keys, int64_t bytes, Quota quota) {
  User& user = users_[uid];
  const uint64_t max_keys = uid == 0 ? limits.root_max_keys : limits.max_keys;
  const uint64_t max_bytes = uid == 0 ? limits.root_max_bytes : limits.max_bytes;
  const uint64_t new_keys = user.counted_keys + static_cast<uint64_t>(keys), new_bytes = user.counted_bytes + static_cast<uint64_t>(bytes);
  const bool grows = keys > 0 || bytes > 0;
  if (quota == Quota::kCounted && grows && (new_keys > max_keys || new_bytes > max_bytes)) {
    if (user.keys == 0) users_.erase(uid);
    return Errno::kEDQUOT;
  }
  user.counted_keys = new_keys;
  user.counted_bytes = new_bytes;
  return Ok();
}

Result<void> Registry::ResizeLocked(Key& key, size_t payload) {
  const uint64_t now = Cost(key.description_, payload);
  if (key.counted_) TRY(ChargeLocked(key.uid_, 0, static_cast<int64_t>(now) - static_cast<int64_t>(key.quota_bytes_), Quota::kCounted));
  key.quota_bytes_ = now;
  return Ok();
}

Result<Ref<Key>> Registry::NewLocked(abi::Uid uid, abi::Gid gid, KeyType type, std::string description, uint32_t permissions, Quota quota,
                                     size_t payload) {
  const size_t bytes = Cost(description, payload);
  TRY(ChargeLocked(uid, 1, static_cast<int64_t>(bytes), quota));
  static thread_local std::minstd_rand numbers{std::random_device{}()};
  int32_t serial = 0;
  do {
    serial = static_cast<int32_t>(numbers() & 0x7fffffff);
  } while (serial < 3 || keys_.contains(serial));
  const Ref<Key> key = MakeRef<Key>(*this, serial, type, std::move(description));
  key->uid_ = uid;
  key->gid_ = gid;
  key->permissions_ = permissions;
  key->counted_ = true;
  key->quota_bytes_ = bytes;
  keys_.emplace(serial, key.get());
  ++users_[uid].keys;
  return key;
}

Result<Ref<Key>> Registry::NewKeyring(const auth::Credentials& creds, std::string description, uint32_t permissions, Quota quota) {
  absl::MutexLock lock(&mu_);
  return NewLocked(creds.fsuid, creds.fsgid, KeyType::kKeyring, std::move(description), permissions, quota, 0);
}

// Linux: look_up_user_keyrings.
Result<Registry::UserKeyrings> Registry::KeyringsOf(abi::Uid uid) {
  constexpr uint32_t kPermissions = Possessor(kAllRights & ~kSetAttr) | Owner(kAllRights);
  constexpr abi::Gid kNoGroup = ~abi::Gid{0};
  Grave grave;
  absl::MutexLock lock(&mu_);
  if (const auto user = users_.find(uid); user != users_.end() && user->second.keyring && user->second.session) {
    return UserKeyrings{user->second.keyring.ToRef(), user->second.session.ToRef()};
  }
  const std::string number = std::to_string(uid);
  Ref<Key> keyring = TRY(NewLocked(uid, kNoGroup, KeyType::kKeyring, "_uid." + number, kPermissions, Quota::kMayOverrun, 0));
  Ref<Key> session = TRY(NewLocked(uid, kNoGroup, KeyType::kKeyring, "_uid_ses." + number, kPermissions, Quota::kMayOverrun, 0));
  keyring->user_keyring_ = session->user_keyring_ = true;
  (void)LinkLocked(keyring, *session, grave);
  User& user = users_[uid];
  user.keyring = keyring;
  user.session = session;
  return UserKeyrings{keyring, session};
}

Result<Ref<Key>> Registry::PersistentOf(abi::Uid uid) {
  constexpr uint32_t kPermissions = Possessor(kAllRights & ~kSetAttr) | Owner(kView | kRead);
  Grave grave;
  absl::MutexLock lock(&mu_);
  const Nanos expiry = RealtimeNow() + Nanos{limits.persistent_expiry} * kNanosPerSecond;
  if (const auto user = users_.find(uid); user != users_.end() && user->second.persistent) {
    if (ValidateLocked(*user->second.persistent).ok()) {
      user->second.persistent->expiry_ = expiry;
      return user->second.persistent.ToRef();
    }
    grave.push_back(std::exchange(user->second.persistent, nullptr));
  }
  Ref<Key> keyring = TRY(NewLocked(uid, ~abi::Gid{0}, KeyType::kKeyring, "_persistent." + std::to_string(uid), kPermissions, Quota::kMayOverrun, 0));
  keyring->expiry_ = expiry;
  users_[uid].persistent = keyring;
  return keyring;
}

Result<Ref<Key>> Registry::FindKeyring(const Subject& subject, const std::string& name) {
  Grave grave;
  absl::MutexLock lock(&mu_);
  for (const auto& [serial, raw] : keys_) {
    if (!raw->is_keyring() || raw->description_ != name || raw->revoked_ || raw->invalidated_) continue;
    if (!AllowsLocked(subject, *raw, false, kSearch) || !raw->TryIncRef()) continue;
    return Ref<Key>::Adopt(raw);
  }
  return Errno::kENOKEY;
}

Result<KeyRef> Registry::Find(const Subject& subject, int32_t serial) {
  RefPtr<Key> key;
  {
    absl::MutexLock lock(&mu_);
    const auto found = keys_.find(serial);
    if (found == keys_.end() || found->second->invalidated_ || !found->second->TryIncRef()) return Errno::kENOKEY;
    key = RefPtr<Key>::Adopt(found->second);
  }
  const bool possessed = Possesses(subject, *key);
  return KeyRef{key.ToRef(), possessed};
}

// Linux: key_task_permission.
bool Registry::AllowsLocked(const Subject& subject, const Key& key, bool possessed, uint32_t rights) const {
  const auth::Credentials& creds = subject.creds;
  uint32_t granted = key.permissions_;
  if (key.uid_ == creds.fsuid) {
    granted >>= 16;
  } else if ((key.permissions_ & Group(kAllRights)) != 0 && key.gid_ != ~abi::Gid{0} && creds.InGroup(key.gid_)) {
    granted >>= 8;
  }
  if (possessed) granted |= key.permissions_ >> 24;
  return (granted & rights) == rights;
}

Result<void> Registry::CheckRights(const Subject& subject, const KeyRef& ref, uint32_t rights) const {
  absl::MutexLock lock(&mu_);
  if (!AllowsLocked(subject, *ref.key, ref.possessed, rights)) return Errno::kEACCES;
  return Ok();
}

Result<void> Registry::ValidateLocked(const Key& key) const {
  if (key.invalidated_) return Errno::kENOKEY;
  if (key.revoked_) return Errno::kEKEYREVOKED;
  if (key.expiry_ != 0 && RealtimeNow() >= key.expiry_) return Errno::kEKEYEXPIRED;
  return Ok();
}

Result<void> Registry::Validate(const Key& key) const {
  absl::MutexLock lock(&mu_);
  return ValidateLocked(key);
}

Result<void> Registry::StateOf(const Key& key) const {
  absl::MutexLock lock(&mu_);
  if (key.rejected_ != Errno{}) return key.rejected_;
  return Ok();
}

Result<void> Registry::Update(Key& key, std::string payload) {
  absl::MutexLock lock(&mu_);
  TRY(ValidateLocked(key));
  TRY(ResizeLocked(key, payload.size()));
  key.payload_ = std::move(payload);
  key.rejected_ = Errno{};
  key.expiry_ = 0;
  return Ok();
}

void Registry::Revoke(Key& key) {
  std::vector<Ref<Key>> links;  // outlives the lock
  absl::MutexLock lock(&mu_);
  key.revoked_ = true;
  key.payload_.clear();
  links.swap(key.links_);
  (void)ResizeLocked(key, 0);
}

Result<void> Registry::Restrict(Key& keyring) {
  absl::MutexLock lock(&mu_);
  if (!keyring.is_keyring()) return Errno::kENOTDIR;
  if (keyring.restricted_) return Errno::kEEXIST;
  keyring.restricted_ = true;
  return Ok();
}

// Linux: keyctl_chown_key.
Result<void> Registry::SetOwner(const Subject& subject, Key& key, std::optional<abi::Uid> uid, std::optional<abi::Gid> gid) {
  absl::MutexLock lock(&mu_);
  if (!subject.creds.HasCapability(abi::Capability::kSysAdmin)) {
    if (uid && *uid != key.uid_) return Errno::kEACCES;
    if (gid && *gid != key.gid_ && !subject.creds.InGroup(*gid)) return Errno::kEACCES;
  }
  if (uid && *uid != key.uid_) {
    TRY(ChargeLocked(*uid, 1, static_cast<int64_t>(key.quota_bytes_), Quota::kCounted));
    ++users_[*uid].keys;
    User& old = users_[key.uid_];
    --old.counted_keys;
    old.counted_bytes -= key.quota_bytes_;
    if (--old.keys == 0) users_.erase(key.uid_);
    key.uid_ = *uid;
  }
  if (gid) key.gid_ = *gid;
  return Ok();
}

Result<void> Registry::SetPermissions(const Subject& subject, Key& key, uint32_t permissions) {
  absl::MutexLock lock(&mu_);
  if (key.uid_ != subject.creds.fsuid && !subject.creds.HasCapability(abi::Capability::kSysAdmin)) return Errno::kEACCES;
  key.permissions_ = permissions;
  return Ok();
}

void Registry::SetTimeout(Key& key, uint32_t seconds) {
  absl::MutexLock lock(&mu_);
  key.expiry_ = seconds == 0 ? 0 : RealtimeNow() + Nanos{seconds} * kNanosPerSecond;
}

std::string Registry::Describe(const Key& key) const {
  char head[96];
  absl::MutexLock lock(&mu_);
  std::snprintf(head, sizeof(head), "%s;%d;%d;%08x;", TypeName(key.type_), static_cast<int>(key.uid_), ShownGroup(key.gid_), key.permissions_);
  return head + key.description_;
}

abi::Uid Registry::OwnerOf(const Key& key) const {
  absl::MutexLock lock(&mu_);
  return key.uid_;
}

Result<std::string> Registry::Read(const Key& key) const {
  absl::MutexLock lock(&mu_);
  TRY(ValidateLocked(key));
  if (key.type_ == KeyType::kLogon) return Errno::kEOPNOTSUPP;
  if (key.type_ == KeyType::kUser) return key.payload_;
  std::string numbers;
  for (const Ref<Key>& link : key.links_) numbers.append(reinterpret_cast<const char*>(&link->serial_), sizeof(link->serial_));
  return numbers;
}

// Linux: proc_keys_show.
std::string Registry::ListFor(const Subject& subject) const {
  std::string out;
  absl::MutexLock lock(&mu_);
  for (const auto& [serial, raw] : keys_) {
    const Key& key = *raw;
    Hit hit;
    SearchOwnLocked(subject, Wanted{&key, key.type_, nullptr}, hit);
    if (!AllowsLocked(subject, key, hit.key != nullptr, kView)) continue;
    char line[160];
    std::snprintf(line, sizeof(line), "%08x I%c-%c-%c%c %5u %4s %08x %5d %5d %-9.9s ", static_cast<uint32_t>(serial), key.revoked_ ? 'R' : '-',
                  key.counted_ ? 'Q' : '-', key.rejected_ != Errno{} ? 'N' : '-', key.invalidated_ ? 'i' : '-', key.RefCountForTesting(), TimeLeft(key.expiry_).c_str(),
                  key.permissions_, static_cast<int>(key.uid_), ShownGroup(key.gid_), TypeName(key.type_));
    out += line + key.description_;
    if (!key.revoked_ && key.rejected_ == Errno{}) {
      if (key.is_keyring()) {
        out += key.links_.empty() ? ": empty" : ": " + std::to_string(key.links_.size());
      } else {
        out += ": " + std::to_string(key.payload_.size());
      }
    }
    out += '\n';
  }
  return out;
}

std::string Registry::ListUsers() const {
  std::string out;
  absl::MutexLock lock(&mu_);
  for (const auto& [uid, user] : users_) {
    char line[160];
    std::snprintf(line, sizeof(line), "%5u: %5" PRIu64 " %" PRIu64 "/%" PRIu64 " %" PRIu64 "/%u %" PRIu64 "/%u\n", uid, user.keys, user.keys, user.keys,
                  user.counted_keys, uid == 0 ? limits.root_max_keys.load() : limits.max_keys.load(), user.counted_bytes,
                  uid == 0 ? limits.root_max_bytes.load() : limits.max_bytes.load());
    out += line;
  }
  return out;
}

}  // namespace rampart::keys
