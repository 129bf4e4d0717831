#include "sentry/syscalls/keys.h"

#include <vector>

#include "sentry/syscalls/keys_internal.h"

namespace rampart::syscalls {

using kernel::Task;
using keys::Key;
using keys::KeyRef;
using keys::KeyType;

keys::Subject SubjectOf(Task& task) { return {task.creds(), task.thread_keyring(), task.group().process_keyring(), task.session_keyring()}; }

namespace {

constexpr uint32_t kAll = keys::kAllRights, kOwnKeyring = keys::Possessor(kAll) | keys::Owner(keys::kView);

Result<KeyRef> LookupSession(Task& task, Create create) {
  const keys::Registry::UserKeyrings user = TRY(task.kernel().keys().KeyringsOf(task.creds().ruid));
  const RefPtr<Key> session = task.session_keyring();
  if (create == Create::kYes && (!session || session.get() == user.session.get())) {
    TRY(JoinSession(task, std::nullopt));
  } else if (!session) {
    task.SetSessionKeyring(user.session);
  }
  return KeyRef{task.session_keyring().ToRef(), true};
}

Result<KeyRef> LookupSpecial(Task& task, int32_t id, Create create) {
  switch (id) {
    case kThreadKeyring:
      if (create == Create::kYes) TRY(EnsureThreadKeyring(task));
      if (RefPtr<Key> key = task.thread_keyring()) return KeyRef{key.ToRef(), true};
      return Errno::kENOKEY;
    case kProcessKeyring:
      if (create == Create::kYes) TRY(EnsureProcessKeyring(task));
      if (RefPtr<Key> key = task.group().process_keyring()) return KeyRef{key.ToRef(), true};
      return Errno::kENOKEY;
    case kSessionKeyring:
      return LookupSession(task, create);
    case kUserKeyring:
      return KeyRef{TRY(task.kernel().keys().KeyringsOf(task.creds().ruid)).user, true};
    case kUserSessionKeyring:
      return KeyRef{TRY(task.kernel().keys().KeyringsOf(task.creds().ruid)).session, true};
    case kAuthKey:
    case kRequestorKeyring:
      return Errno::kENOKEY;  // nobody is asked to make a key for another
    default:
      return Errno::kEINVAL;
  }
}

}  // namespace

Result<KeyRef> LookupKey(Task& task, int32_t id, Create create, State state, uint32_t rights) {
  keys::Registry& registry = task.kernel().keys();
  KeyRef ref = id < 1 ? TRY(LookupSpecial(task, id, create)) : TRY(registry.Find(SubjectOf(task), id));
  if (state == State::kValid) TRY(registry.StateOf(*ref.key));
  if (state != State::kAny) TRY(registry.Validate(*ref.key));
  if (rights != kNoRights) TRY(registry.CheckRights(SubjectOf(task), ref, rights));
  return ref;
}

Result<void> EnsureThreadKeyring(Task& task) {
  if (task.thread_keyring()) return Ok();
  task.SetThreadKeyring(TRY(task.kernel().keys().NewKeyring(task.creds(), "_tid", kOwnKeyring, keys::Quota::kMayOverrun)));
  return Ok();
}

Result<void> EnsureProcessKeyring(Task& task) {
  if (task.group().process_keyring()) return Ok();
  task.group().SetProcessKeyring(TRY(task.kernel().keys().NewKeyring(task.creds(), "_pid", kOwnKeyring, keys::Quota::kMayOverrun)));
  return Ok();
}

Result<int32_t> JoinSession(Task& task, const std::optional<std::string>& name) {
  keys::Registry& registry = task.kernel().keys();
  constexpr uint32_t kAnonymous = keys::Possessor(kAll) | keys::Owner(keys::kView | keys::kRead);
  const keys::Quota quota = task.session_keyring() ? keys::Quota::kCounted : keys::Quota::kMayOverrun;
  if (!name) {
    const Ref<Key> keyring = TRY(registry.NewKeyring(task.creds(), "_ses", kAnonymous, quota));
    task.SetSessionKeyring(keyring);
    return keyring->serial();
  }
  const Result<Ref<Key>> found = registry.FindKeyring(SubjectOf(task), *name);
  if (!found.ok() && found.error() != Errno::kENOKEY) return found.error();
  const Ref<Key> keyring =
      found.ok() ? *found : TRY(registry.NewKeyring(task.creds(), *name, kAnonymous | keys::Owner(keys::kLink), keys::Quota::kCounted));
  if (task.session_keyring().get() == keyring.get()) return 0;
  task.SetSessionKeyring(keyring);
  return keyring->serial();
}

Result<std::string> ReadTypeName(Task& task, UserPath type) {
  constexpr size_t kMax = 32;
  std::string name = TRY(task.mm().CopyInString(type.address(), kMax, Errno::kEINVAL));
  if (name.empty()) return Errno::kEINVAL;
  if (name[0] == '.') return Errno::kEPERM;
  return name;
}

Result<std::string> ReadDescription(Task& task, UserPath description) {
  constexpr size_t kMax = 4096;
  return task.mm().CopyInString(description.address(), kMax, Errno::kEINVAL);
}

Result<Word> SysAddKey(Task& task, UserPath type_name, UserPath user_description, UserAddr payload, uint64_t length, int32_t keyring_id) {
  constexpr uint64_t kMaxLength = (1 << 20) - 1, kMaxPayload = 32767;
  if (length > kMaxLength) return Errno::kEINVAL;
  const std::string name = TRY(ReadTypeName(task, type_name));
  std::string description;
  if (user_description.address() != 0) description = TRY(ReadDescription(task, user_description));
  if (!description.empty() && description[0] == '.' && name == "keyring") return Errno::kEPERM;
  std::string data(std::min(length, kMaxPayload + 1), '\0');  // more than that is refused by every type
  TRY(task.mm().CopyInBytes(payload, std::as_writable_bytes(std::span(data))));
  const KeyRef keyring = TRY(LookupKey(task, keyring_id, Create::kYes, State::kValid, keys::kWrite));
  KeyType type{};
  if (!keys::FindType(name, type)) return Errno::kENODEV;
  return static_cast<Word>(TRY(task.kernel().keys().AddOrUpdate(SubjectOf(task), keyring, type, description, std::move(data)))->serial());
}

namespace {

// construct_get_dest_keyring: where a key goes that nobody gave a place.
Result<RefPtr<Key>> DefaultDestination(Task& task) {
  const keys::Registry::UserKeyrings user = TRY(task.kernel().keys().KeyringsOf(task.creds().ruid));
  RefPtr<Key> const thread = task.thread_keyring(), process = task.group().process_keyring(), session = task.session_keyring();
  switch (task.default_request_keyring) {
    case kDefaultSession: return session;
    case kDefaultUser: return RefPtr<Key>(user.user);
    case kDefaultUserSession: return RefPtr<Key>(user.session);
    case kDefaultProcess: return process ? process : session ? session : RefPtr<Key>(user.session);
    default: return thread ? thread : process ? process : session ? session : RefPtr<Key>(user.session);
  }
}

}  // namespace

// There is no /sbin/request-key to ask (Linux: ENOENT, and a key that says ENOKEY for a minute).
Result<Word> SysRequestKey(Task& task, UserPath type_name, UserPath user_description, UserPath callout, int32_t keyring_id) {
  keys::Registry& registry = task.kernel().keys();
  const std::string name = TRY(ReadTypeName(task, type_name));
  const std::string description = TRY(ReadDescription(task, user_description));
  if (callout.address() != 0) TRY(ReadDescription(task, callout));
  RefPtr<Key> destination;
  if (keyring_id != 0) destination = TRY(LookupKey(task, keyring_id, Create::kYes, State::kValid, keys::kWrite)).key;
  KeyType type{};
  if (!keys::FindType(name, type)) return Errno::kENOKEY;
  const Result<KeyRef> found = registry.SearchOwn(SubjectOf(task), type, description);
  if (found.ok()) {
    if (destination) TRY(registry.Link(found->key, *destination));
    return static_cast<Word>(found->key->serial());
  }
  if (found.error() != Errno::kENOKEY || callout.address() == 0) return found.error();
  if (!destination) {
    // Whose session keyring one has joined one may not write to yet.
    destination = TRY(DefaultDestination(task));
    if (destination) TRY(registry.CheckRights(SubjectOf(task), KeyRef{destination.ToRef(), true}, keys::kWrite));
  }
  constexpr uint32_t kNegativeSeconds = 60;
  TRY(registry.AddNegative(SubjectOf(task), destination, type, description, Errno::kENOKEY, kNegativeSeconds));
  return Errno::kENOENT;
}

}  // namespace rampart::syscalls
