// Key: one key or keyring of keys(7) (Linux security/keys).
//
// Model. Keys are counted: a keyring holds those that it links to, tasks and processes hold their keyrings, the registry holds each user's two.
// A key that nobody holds is gone. Keyrings never form a cycle, so counting is enough.
// Thread safety: what changes is guarded by the registry's lock; the rest is immutable. Dropping the last reference takes that lock: no
// reference is dropped under it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "abi/types.h"
#include "base/ref.h"
#include "base/result.h"
#include "base/time.h"

namespace rampart::keys {

class Registry;

enum class KeyType : uint8_t { kKeyring, kUser, kLogon };
const char* TypeName(KeyType type);
// ENOENT-like: false when there is no such type.
bool FindType(const std::string& name, KeyType& type);

// The rights of one class of subjects; in a key's permissions for possessor (<< 24), owner (<< 16), group (<< 8) and others.
inline constexpr uint32_t kView = 0x01, kRead = 0x02, kWrite = 0x04, kSearch = 0x08, kLink = 0x10, kSetAttr = 0x20, kAllRights = 0x3f;
constexpr uint32_t Possessor(uint32_t rights) { return rights << 24; }
constexpr uint32_t Owner(uint32_t rights) { return rights << 16; }
constexpr uint32_t Group(uint32_t rights) { return rights << 8; }

class Key final : public RefCounted {
 public:
  int32_t serial() const { return serial_; }
  KeyType type() const { return type_; }
  bool is_keyring() const { return type_ == KeyType::kKeyring; }
  const std::string& description() const { return description_; }

 private:
  friend class Registry;
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  Key(Registry& registry, int32_t serial, KeyType type, std::string description)
      : registry_(registry), serial_(serial), type_(type), description_(std::move(description)) {}
  ~Key() override = default;
  void OnLastRef() override;

  Registry& registry_;
  const int32_t serial_;
  const KeyType type_;
  const std::string description_;

  // Guarded by the registry's lock.
  abi::Uid uid_ = 0;
  abi::Gid gid_ = 0;
  uint32_t permissions_ = 0;
  Nanos expiry_ = 0;               // CLOCK_REALTIME; 0: never
  bool revoked_ = false;
  bool invalidated_ = false;
  bool user_keyring_ = false;      // _uid.N or _uid_ses.N
  bool restricted_ = false;        // no more links
  bool counted_ = false;           // in its owner's quota
  Errno rejected_{};               // a negative key: what looking it up gives
  std::string payload_;
  std::vector<Ref<Key>> links_;    // keyrings: in order of age
  uint64_t quota_bytes_ = 0;
};

// How a key was come by: through the caller's own keyrings, or by its number.
struct KeyRef {
  Ref<Key> key;
  bool possessed = false;
};

}  // namespace rampart::keys
