// keys(7): add_key(2), request_key(2), keyctl(2).
#include <linux/keyctl.h>
#include <sys/syscall.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "scratch.h"

namespace {

using Serial = int32_t;

constexpr Serial kThread = KEY_SPEC_THREAD_KEYRING, kProcess = KEY_SPEC_PROCESS_KEYRING, kSession = KEY_SPEC_SESSION_KEYRING,
                 kUser = KEY_SPEC_USER_KEYRING, kUserSession = KEY_SPEC_USER_SESSION_KEYRING;

long AddBytes(const char* type, const char* description, const void* payload, size_t n, Serial keyring) {
  return syscall(SYS_add_key, type, description, payload, n, keyring);
}
long Add(const char* type, const char* description, const std::string& payload, Serial keyring) {
  return AddBytes(type, description, payload.empty() ? nullptr : payload.data(), payload.size(), keyring);
}
long NewKeyring(const char* description, Serial keyring) { return Add("keyring", description, "", keyring); }
long RequestKey(const char* type, const char* description, const char* callout, Serial keyring) {
  return syscall(SYS_request_key, type, description, callout, keyring);
}
template <class... A>
long Keyctl(int operation, A... args) {
  return syscall(SYS_keyctl, operation, args...);
}
std::string Describe(long key) {
  char text[512] = {};
  return Keyctl(KEYCTL_DESCRIBE, key, text, sizeof(text)) > 0 ? text : "errno " + std::to_string(errno);
}
std::string Read(long key) {
  char text[512] = {};
  const long n = Keyctl(KEYCTL_READ, key, text, sizeof(text));
  return n >= 0 ? std::string(text, static_cast<size_t>(n)) : "errno " + std::to_string(errno);
}
std::vector<Serial> Links(long keyring) {
  std::vector<Serial> links(64);
  const long n = Keyctl(KEYCTL_READ, keyring, links.data(), links.size() * 4);
  links.resize(n > 0 ? static_cast<size_t>(n) / 4 : 0);
  return links;
}

// Each test in a process with a session keyring of its own.
class Keys : public testing::Test {
 protected:
  void SetUp() override {
    if (Keyctl(KEYCTL_GET_KEYRING_ID, kThread, 0) < 0 && errno == ENOSYS) GTEST_SKIP() << "a kernel without keys";
    session_ = static_cast<Serial>(Keyctl(KEYCTL_JOIN_SESSION_KEYRING, nullptr));
    ASSERT_GT(session_, 0);
  }
  Serial session_ = 0;
};

TEST_F(Keys, SpecialKeyringsComeWhenAsked) {
  std::thread([&] {
    EXPECT_FAILS(Keyctl(KEYCTL_GET_KEYRING_ID, kThread, 0), ENOKEY);
    const long thread = Keyctl(KEYCTL_GET_KEYRING_ID, kThread, 1);
    ASSERT_GT(thread, 0);
    EXPECT_EQ(Keyctl(KEYCTL_GET_KEYRING_ID, kThread, 0), thread);
    EXPECT_EQ(Describe(thread), "keyring;0;0;3f010000;_tid");
  }).join();
  EXPECT_EQ(Keyctl(KEYCTL_GET_KEYRING_ID, kSession, 0), session_);
  EXPECT_EQ(Describe(session_), "keyring;0;0;3f030000;_ses");
  EXPECT_EQ(Describe(kUser), "keyring;0;65534;1f3f0000;_uid.0");
  EXPECT_EQ(Describe(kUserSession), "keyring;0;65534;1f3f0000;_uid_ses.0");
  EXPECT_FAILS(Keyctl(KEYCTL_GET_KEYRING_ID, -6, 0), EINVAL);
  EXPECT_FAILS(Keyctl(KEYCTL_GET_KEYRING_ID, -7, 0), ENOKEY);
  EXPECT_FAILS(Keyctl(KEYCTL_GET_KEYRING_ID, -9, 0), EINVAL);
  EXPECT_FAILS(Keyctl(KEYCTL_GET_KEYRING_ID, 0, 0), EINVAL);
  EXPECT_FAILS(Keyctl(KEYCTL_GET_KEYRING_ID, 0x7ffffffe, 0), ENOKEY);
  EXPECT_FAILS(Keyctl(999), EOPNOTSUPP);
}

TEST_F(Keys, WhoseKeyringsAreWhose) {
  const long process = Keyctl(KEYCTL_GET_KEYRING_ID, kProcess, 1);
  ASSERT_GT(process, 0);
  const long thread = Keyctl(KEYCTL_GET_KEYRING_ID, kThread, 1);
  std::thread([&] {
    EXPECT_EQ(Keyctl(KEYCTL_GET_KEYRING_ID, kProcess, 0), process);
    EXPECT_NE(Keyctl(KEYCTL_GET_KEYRING_ID, kThread, 1), thread);
    EXPECT_EQ(Keyctl(KEYCTL_GET_KEYRING_ID, kSession, 0), session_);
  }).join();
  EXPECT_EQ(scratch::InChild([&] {
    IN_CHILD_FAILS(Keyctl(KEYCTL_GET_KEYRING_ID, kProcess, 0), ENOKEY);
    IN_CHILD_FAILS(Keyctl(KEYCTL_GET_KEYRING_ID, kThread, 0), ENOKEY);
    IN_CHILD(Keyctl(KEYCTL_GET_KEYRING_ID, kSession, 0) == session_);
    IN_CHILD(Keyctl(KEYCTL_JOIN_SESSION_KEYRING, nullptr) != session_);
    return 0;
  }), 0);
  EXPECT_EQ(Keyctl(KEYCTL_GET_KEYRING_ID, kSession, 0), session_);
}

TEST_F(Keys, AddReadAndUpdate) {
  const long key = Add("user", "one", "first", kSession);
  ASSERT_GT(key, 0);
  EXPECT_EQ(Read(key), "first");
  EXPECT_EQ(Describe(key), "user;0;0;3f010000;one");
  EXPECT_EQ(Add("user", "one", "second", kSession), key);  // the same key, updated
  EXPECT_EQ(Read(key), "second");
  EXPECT_WORKS(Keyctl(KEYCTL_UPDATE, key, "third", 5));
  EXPECT_EQ(Read(key), "third");
  char two[2] = {'#', '#'};
  EXPECT_EQ(Keyctl(KEYCTL_READ, key, two, 2), 5);  // nothing is cut off
  EXPECT_EQ(two[0], '#');
  EXPECT_EQ(Keyctl(KEYCTL_READ, key, nullptr, 0), 5);
  EXPECT_EQ(Keyctl(KEYCTL_DESCRIBE, key, nullptr, 0), 22);
  const long logon = Add("logon", "a:b", "secret", kSession);
  EXPECT_EQ(Describe(logon), "logon;0;0;3d010000;a:b");
  EXPECT_FAILS(Keyctl(KEYCTL_READ, logon, two, 2), EOPNOTSUPP);
  EXPECT_WORKS(Keyctl(KEYCTL_UPDATE, logon, "x", 1));
  const long ring = NewKeyring("ring", kSession);
  EXPECT_EQ(Describe(ring), "keyring;0;0;3f010000;ring");
  EXPECT_NE(NewKeyring("ring", kSession), ring);  // a new one in the old one's place
  EXPECT_FAILS(Keyctl(KEYCTL_UPDATE, session_, "x", 1), EOPNOTSUPP);
}

TEST_F(Keys, AddChecksItsArguments) {
  EXPECT_FAILS(Add("user", "a", "", kSession), EINVAL);
  EXPECT_FAILS(Add("user", "", "x", kSession), EINVAL);
  EXPECT_FAILS(Add("user", nullptr, "x", kSession), EINVAL);
  EXPECT_FAILS(Add("user", "a", std::string(32768, 'x'), kSession), EINVAL);
  EXPECT_FAILS(AddBytes("user", "a", "x", 1 << 20, kSession), EINVAL);
  EXPECT_FAILS(AddBytes("user", "a", reinterpret_cast<void*>(8), 4, kSession), EFAULT);
  EXPECT_FAILS(Add("user", reinterpret_cast<char*>(8), "x", kSession), EFAULT);
  EXPECT_FAILS(Add("user", std::string(5000, 'd').c_str(), "x", kSession), EINVAL);
  EXPECT_FAILS(Add("nosuchtype", "a", "x", kSession), ENODEV);
  EXPECT_FAILS(Add(".user", "a", "x", kSession), EPERM);
  EXPECT_FAILS(Add("", "a", "x", kSession), EINVAL);
  EXPECT_FAILS(Add(std::string(40, 't').c_str(), "a", "x", kSession), EINVAL);
  EXPECT_FAILS(NewKeyring(".mine", kSession), EPERM);
  EXPECT_FAILS(Add("keyring", "a", "x", kSession), EINVAL);
  EXPECT_FAILS(Add("logon", "nocolon", "x", kSession), EINVAL);
  EXPECT_FAILS(Add("logon", ":nothing", "x", kSession), EINVAL);
  const long key = Add("user", "a", "x", kSession);
  EXPECT_FAILS(Add("user", "b", "x", static_cast<Serial>(key)), ENOTDIR);
  EXPECT_FAILS(Add("user", "b", "x", 0), EINVAL);
}

TEST_F(Keys, LinksAndNesting) {
  const long key = Add("user", "a", "x", kSession);
  const long outer = NewKeyring("outer", kSession), inner = NewKeyring("inner", static_cast<Serial>(outer));
  EXPECT_EQ(Links(outer), std::vector<Serial>{static_cast<Serial>(inner)});
  EXPECT_WORKS(Keyctl(KEYCTL_LINK, key, inner));
  EXPECT_WORKS(Keyctl(KEYCTL_LINK, key, inner));
  EXPECT_EQ(Links(inner).size(), 1u);
  EXPECT_FAILS(Keyctl(KEYCTL_LINK, outer, inner), EDEADLK);
  EXPECT_FAILS(Keyctl(KEYCTL_LINK, outer, outer), EDEADLK);
  EXPECT_FAILS(Keyctl(KEYCTL_LINK, outer, key), ENOTDIR);
  EXPECT_WORKS(Keyctl(KEYCTL_UNLINK, key, inner));
  EXPECT_FAILS(Keyctl(KEYCTL_UNLINK, key, inner), ENOENT);
  EXPECT_FAILS(Keyctl(KEYCTL_UNLINK, key, key), ENOTDIR);
  EXPECT_WORKS(Keyctl(KEYCTL_MOVE, key, session_, inner, 0));
  EXPECT_EQ(Links(inner).size(), 1u);
  EXPECT_FAILS(Keyctl(KEYCTL_MOVE, key, session_, outer, 0), ENOENT);
  EXPECT_FAILS(Keyctl(KEYCTL_MOVE, key, inner, outer, 8), EINVAL);
  ASSERT_GT(Add("user", "a", "other", static_cast<Serial>(outer)), 0);
  EXPECT_FAILS(Keyctl(KEYCTL_MOVE, key, inner, outer, KEYCTL_MOVE_EXCL), EEXIST);
  EXPECT_WORKS(Keyctl(KEYCTL_MOVE, key, inner, outer, 0));
  EXPECT_WORKS(Keyctl(KEYCTL_CLEAR, outer));
  EXPECT_TRUE(Links(outer).empty());
  // Nothing holds it any more; Linux notices a moment later.
  for (int i = 0; i < 500 && Describe(key) != "errno " + std::to_string(ENOKEY); ++i) usleep(10000);
  EXPECT_EQ(Describe(key), "errno " + std::to_string(ENOKEY));
  EXPECT_FAILS(Keyctl(KEYCTL_CLEAR, Add("user", "b", "x", kSession)), ENOTDIR);
}

TEST_F(Keys, Searching) {
  const long outer = NewKeyring("outer", kSession);
  const long key = Add("user", "deep", "x", static_cast<Serial>(outer));
  EXPECT_EQ(Keyctl(KEYCTL_SEARCH, session_, "user", "deep", 0), key);
  EXPECT_EQ(Keyctl(KEYCTL_SEARCH, session_, "keyring", "outer", 0), outer);
  EXPECT_FAILS(Keyctl(KEYCTL_SEARCH, session_, "user", "nothing", 0), ENOKEY);
  EXPECT_FAILS(Keyctl(KEYCTL_SEARCH, session_, "logon", "deep", 0), ENOKEY);
  EXPECT_FAILS(Keyctl(KEYCTL_SEARCH, key, "user", "deep", 0), ENOTDIR);
  EXPECT_EQ(Keyctl(KEYCTL_SEARCH, session_, "user", "deep", session_), key);
  EXPECT_EQ(Links(session_).size(), 2u);
  EXPECT_EQ(RequestKey("user", "deep", nullptr, 0), key);
  EXPECT_FAILS(RequestKey("user", "nothing", nullptr, 0), ENOKEY);
  EXPECT_FAILS(RequestKey("user", reinterpret_cast<char*>(8), nullptr, 0), EFAULT);
  EXPECT_FAILS(RequestKey(".user", "deep", nullptr, 0), EPERM);
  EXPECT_EQ(RequestKey("user", "deep", nullptr, kProcess), key);
  EXPECT_EQ(Links(kProcess), std::vector<Serial>{static_cast<Serial>(key)});
  EXPECT_WORKS(Keyctl(KEYCTL_CLEAR, kProcess));
}

TEST_F(Keys, RightsOfPossessorOwnerAndOthers) {
  const long key = Add("user", "a", "x", kSession);
  EXPECT_FAILS(Keyctl(KEYCTL_SETPERM, key, 0x40000000), EINVAL);
  EXPECT_WORKS(Keyctl(KEYCTL_SETPERM, key, 0x3f3f0000));
  EXPECT_EQ(Describe(key), "user;0;0;3f3f0000;a");
  EXPECT_WORKS(Keyctl(KEYCTL_SETPERM, key, 0x29000000));  // view, search, setattr
  EXPECT_FAILS(Keyctl(KEYCTL_UPDATE, key, "y", 1), EACCES);
  EXPECT_FAILS(Keyctl(KEYCTL_LINK, key, session_), EACCES);
  EXPECT_EQ(Read(key), "x");  // what one possesses and may search one may read
  EXPECT_WORKS(Keyctl(KEYCTL_SETPERM, key, 0x21000000));
  EXPECT_EQ(Describe(key), "errno " + std::to_string(EACCES));  // without search there is no possession
  const long open = Add("user", "open", "x", kSession);
  EXPECT_WORKS(Keyctl(KEYCTL_SETPERM, open, 0x3f3f0003));
  const long closed = Add("user", "closed", "x", kSession);
  EXPECT_WORKS(Keyctl(KEYCTL_SETPERM, closed, 0x3f3f0000));
  EXPECT_EQ(scratch::AsUser(1000, [&] {
    IN_CHILD(Keyctl(KEYCTL_JOIN_SESSION_KEYRING, nullptr) > 0);
    char text[64];
    IN_CHILD(Keyctl(KEYCTL_READ, open, text, 64) == 1);
    IN_CHILD_FAILS(Keyctl(KEYCTL_UPDATE, open, "y", 1), EACCES);
    IN_CHILD_FAILS(Keyctl(KEYCTL_READ, closed, text, 64), EACCES);
    IN_CHILD_FAILS(Keyctl(KEYCTL_SETPERM, closed, 0x3f3f3f3f), EACCES);
    const long mine = Add("user", "mine", "x", kSession);
    IN_CHILD(mine > 0);
    IN_CHILD_FAILS(Keyctl(KEYCTL_CHOWN, mine, 0, -1), EACCES);
    IN_CHILD_FAILS(Keyctl(KEYCTL_CHOWN, mine, -1, 77), EACCES);
    IN_CHILD(Keyctl(KEYCTL_CHOWN, mine, -1, 1000) == 0);
    IN_CHILD(Describe(kUser) == "keyring;1000;65534;1f3f0000;_uid.1000");
    return 0;
  }), 0);
  EXPECT_WORKS(Keyctl(KEYCTL_CHOWN, open, -1, -1));
  EXPECT_WORKS(Keyctl(KEYCTL_CHOWN, open, 1000, 1000));
  EXPECT_EQ(Describe(open), "user;1000;1000;3f3f0003;open");
}

TEST_F(Keys, RevokedExpiredAndInvalidatedOnes) {
  const long key = Add("user", "a", "x", kSession);
  EXPECT_WORKS(Keyctl(KEYCTL_REVOKE, key));
  EXPECT_FAILS(Keyctl(KEYCTL_UPDATE, key, "y", 1), EKEYREVOKED);
  EXPECT_FAILS(Keyctl(KEYCTL_REVOKE, key), EKEYREVOKED);
  EXPECT_FAILS(Keyctl(KEYCTL_SEARCH, session_, "user", "a", 0), EKEYREVOKED);
  EXPECT_EQ(Describe(key), "errno " + std::to_string(EKEYREVOKED));
  const long old = Add("user", "old", "x", kSession);
  EXPECT_WORKS(Keyctl(KEYCTL_SET_TIMEOUT, old, 1));
  EXPECT_EQ(Read(old), "x");
  usleep(1'100'000);
  EXPECT_FAILS(Keyctl(KEYCTL_UPDATE, old, "y", 1), EKEYEXPIRED);
  EXPECT_FAILS(Keyctl(KEYCTL_SEARCH, session_, "user", "old", 0), EKEYEXPIRED);
  EXPECT_FAILS(Keyctl(KEYCTL_SET_TIMEOUT, old, 0), EKEYEXPIRED);
  EXPECT_EQ(Read(old), "errno " + std::to_string(EKEYEXPIRED));
  EXPECT_WORKS(Keyctl(KEYCTL_UNLINK, old, session_));
  const long gone = Add("user", "gone", "x", kSession);
  EXPECT_WORKS(Keyctl(KEYCTL_INVALIDATE, gone));
  EXPECT_FAILS(Keyctl(KEYCTL_UPDATE, gone, "y", 1), ENOKEY);
  EXPECT_FAILS(RequestKey("user", "gone", nullptr, 0), ENOKEY);
  const long ring = NewKeyring("ring", kSession);
  EXPECT_WORKS(Keyctl(KEYCTL_REVOKE, ring));
  EXPECT_FAILS(Add("user", "b", "x", static_cast<Serial>(ring)), EKEYREVOKED);
}

TEST_F(Keys, NamedSessions) {
  const std::string name = "session-" + std::to_string(getpid());
  const long first = Keyctl(KEYCTL_JOIN_SESSION_KEYRING, name.c_str());
  EXPECT_EQ(Describe(first), "keyring;0;0;3f130000;" + name);
  EXPECT_WORKS(Keyctl(KEYCTL_SETPERM, first, 0x3f1b0000));  // its owner may search it
  ASSERT_GT(Keyctl(KEYCTL_JOIN_SESSION_KEYRING, nullptr), 0);
  EXPECT_FAILS(Keyctl(KEYCTL_JOIN_SESSION_KEYRING, ".hidden"), EPERM);
  EXPECT_EQ(scratch::InChild([&] {
    IN_CHILD(Keyctl(KEYCTL_JOIN_SESSION_KEYRING, ("new-" + name).c_str()) > 0);
    return 0;
  }), 0);
}

TEST_F(Keys, SessionForTheParent) {
  EXPECT_EQ(scratch::InChild([&] {
    IN_CHILD(scratch::InChild([] {
               IN_CHILD(Keyctl(KEYCTL_JOIN_SESSION_KEYRING, nullptr) > 0);
               IN_CHILD(Add("user", "from-the-child", "x", kSession) > 0);
               IN_CHILD(Keyctl(KEYCTL_SESSION_TO_PARENT) == 0);
               return 0;
             }) == 0);
    IN_CHILD(RequestKey("user", "from-the-child", nullptr, 0) > 0);
    return 0;
  }), 0);
}

TEST_F(Keys, NobodyMakesMissingKeys) {
  EXPECT_FAILS(Keyctl(KEYCTL_INSTANTIATE, session_, "x", 1, 0), EPERM);
  EXPECT_FAILS(Keyctl(KEYCTL_NEGATE, session_, 10, 0), EPERM);
  EXPECT_FAILS(Keyctl(KEYCTL_REJECT, session_, 10, ENOKEY, 0), EPERM);
  EXPECT_FAILS(Keyctl(KEYCTL_REJECT, session_, 10, 0, 0), EINVAL);
  EXPECT_EQ(Keyctl(KEYCTL_ASSUME_AUTHORITY, 0), 0);
  EXPECT_FAILS(Keyctl(KEYCTL_ASSUME_AUTHORITY, 5), ENOKEY);
  EXPECT_FAILS(Keyctl(KEYCTL_ASSUME_AUTHORITY, -5), EINVAL);
  if (access("/sbin/request-key", X_OK) == 0) return;
  EXPECT_FAILS(RequestKey("user", "unheard-of", "please", 0), ENOENT);
  EXPECT_FAILS(RequestKey("user", "unheard-of", nullptr, 0), ENOKEY);
}

TEST_F(Keys, ARequestMayNotWriteWhereItsCallerMayNot) {
  EXPECT_EQ(scratch::InChild([] {
    const long session = Keyctl(KEYCTL_JOIN_SESSION_KEYRING, nullptr);
    IN_CHILD(Keyctl(KEYCTL_SETPERM, session, 0x0b0b0000) == 0);  // view, read, search
    IN_CHILD_FAILS(RequestKey("user", "unheard-of", "please", 0), EACCES);
    return 0;
  }), 0);
}

TEST_F(Keys, WhereRequestedKeysGo) {
  std::thread([] {
    EXPECT_EQ(Keyctl(KEYCTL_SET_REQKEY_KEYRING, -1), 0);
    EXPECT_EQ(Keyctl(KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_SESSION_KEYRING), 0);
    EXPECT_EQ(Keyctl(KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_THREAD_KEYRING), KEY_REQKEY_DEFL_SESSION_KEYRING);
    EXPECT_GT(Keyctl(KEYCTL_GET_KEYRING_ID, kThread, 0), 0);  // made by it
    EXPECT_FAILS(Keyctl(KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_GROUP_KEYRING), EINVAL);
    EXPECT_FAILS(Keyctl(KEYCTL_SET_REQKEY_KEYRING, 99), EINVAL);
    EXPECT_EQ(Keyctl(KEYCTL_SET_REQKEY_KEYRING, -1), KEY_REQKEY_DEFL_THREAD_KEYRING);
  }).join();
}

TEST_F(Keys, RestrictedKeyringsTakeNoMoreLinks) {
  const auto ring = static_cast<Serial>(NewKeyring("ring", kSession));
  const long key = Add("user", "a", "x", ring);
  EXPECT_FAILS(Keyctl(KEYCTL_RESTRICT_KEYRING, ring, nullptr, "x"), EINVAL);
  EXPECT_FAILS(Keyctl(KEYCTL_RESTRICT_KEYRING, ring, "user", "x"), ENOENT);
  EXPECT_FAILS(Keyctl(KEYCTL_RESTRICT_KEYRING, key, nullptr, nullptr), ENOTDIR);
  EXPECT_WORKS(Keyctl(KEYCTL_RESTRICT_KEYRING, ring, nullptr, nullptr));
  EXPECT_FAILS(Keyctl(KEYCTL_RESTRICT_KEYRING, ring, nullptr, nullptr), EEXIST);
  EXPECT_FAILS(Add("user", "b", "x", ring), EPERM);
  EXPECT_WORKS(Keyctl(KEYCTL_UNLINK, key, ring));
}

TEST_F(Keys, CapabilitiesSecurityAndPersistence) {
  unsigned char bits[4] = {9, 9, 9, 9};
  EXPECT_EQ(Keyctl(KEYCTL_CAPABILITIES, bits, 4), 2);
  EXPECT_EQ(bits[0] & 0xe1, 0xe1);  // capabilities, invalidate, restrict, move
  EXPECT_EQ(bits[2], 0);
  char label[8] = "zz";
  EXPECT_EQ(Keyctl(KEYCTL_GET_SECURITY, session_, label, 8), 1);
  EXPECT_EQ(label[0], '\0');
  if ((bits[0] & 2) == 0) return;
  const long persistent = Keyctl(KEYCTL_GET_PERSISTENT, -1, session_);
  ASSERT_GT(persistent, 0);
  EXPECT_EQ(Describe(persistent), "keyring;0;65534;1f030000;_persistent.0");
  EXPECT_EQ(Keyctl(KEYCTL_GET_PERSISTENT, 0, session_), persistent);
  EXPECT_EQ(scratch::AsUser(1000, [&] {
    IN_CHILD(Keyctl(KEYCTL_JOIN_SESSION_KEYRING, nullptr) > 0);
    IN_CHILD_FAILS(Keyctl(KEYCTL_GET_PERSISTENT, 0, kSession), EPERM);
    return 0;
  }), 0);
}

TEST_F(Keys, ProcKeysAndProcKeyUsers) {
  const long key = Add("user", "shown", "four", kSession);
  ASSERT_GT(NewKeyring("empty one", kSession), 0);
  char serial[16];
  snprintf(serial, sizeof(serial), "%08lx", key);
  std::ifstream in("/proc/keys");
  bool seen = false, empty = false;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string number, flags, usage, expiry, rights, uid, gid, type, rest;
    words >> number >> flags >> usage >> expiry >> rights >> uid >> gid >> type;
    std::getline(words, rest);
    empty |= rest == " empty one: empty" || rest == "   empty one: empty";
    if (number != serial) continue;
    seen = true;
    EXPECT_EQ(flags, "I--Q---");
    EXPECT_EQ(expiry, "perm");
    EXPECT_EQ(rights, "3f010000");
    EXPECT_EQ(uid + gid + type, "00user");
    EXPECT_NE(rest.find("shown: 4"), std::string::npos);
  }
  EXPECT_TRUE(seen);
  EXPECT_TRUE(empty);
  std::ifstream users("/proc/key-users");
  std::string first;
  std::getline(users, first);
  EXPECT_EQ(first.substr(0, 6), "    0:");
}

TEST_F(Keys, QuotasOfUsers) {
  int limit = 0;
  std::ifstream("/proc/sys/kernel/keys/maxkeys") >> limit;
  ASSERT_GT(limit, 0);
  EXPECT_EQ(scratch::AsUser(4321, [&] {
    IN_CHILD(Keyctl(KEYCTL_JOIN_SESSION_KEYRING, nullptr) > 0);
    int made = 0;
    for (; made <= limit; ++made) {
      if (Add("user", ("key" + std::to_string(made)).c_str(), "x", kSession) < 0) break;
    }
    IN_CHILD(errno == EDQUOT || made > 0);
    IN_CHILD(made < limit && made > limit / 2);
    IN_CHILD_FAILS(Add("user", "another", "x", kSession), EDQUOT);
    IN_CHILD_FAILS(Keyctl(KEYCTL_UPDATE, RequestKey("user", "key0", nullptr, 0), std::string(20000, 'x').data(), 4096 * 8), EINVAL);
    IN_CHILD(Keyctl(KEYCTL_CLEAR, kSession) == 0);
    for (int i = 0; i < 200; ++i) {  // Linux collects them a moment later
      if (Add("user", "another", "x", kSession) > 0) return 0;
      usleep(20000);
    }
    return 1;
  }), 0);
}

}  // namespace
