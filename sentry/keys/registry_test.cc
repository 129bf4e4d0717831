#include "sentry/keys/registry.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace rampart::keys {
namespace {

constexpr uint32_t kRing = Possessor(kAllRights) | Owner(kView | kRead);

class RegistryTest : public testing::Test {
 protected:
  Ref<Key> NewRing(const char* name) { return registry_.NewKeyring(*root_, name, kRing, Quota::kCounted).value(); }
  Ref<Key> Add(const Ref<Key>& ring, const char* name, const char* payload = "x") {
    return registry_.AddOrUpdate(Owner0(), KeyRef{ring, true}, KeyType::kUser, name, payload).value();
  }
  Subject Owner0(RefPtr<Key> session = nullptr) const { return Subject{*root_, nullptr, nullptr, std::move(session)}; }
  size_t Count() const {
    const std::string text = registry_.ListFor(Owner0());
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  const Ref<const auth::Credentials> root_ = auth::Credentials::Root();
  Registry registry_;
};

TEST_F(RegistryTest, AKeyLivesAsLongAsSomethingHoldsIt) {
  int32_t serial = 0;
  {
    const Ref<Key> ring = NewRing("outer");
    {
      const Ref<Key> inner = NewRing("inner");
      ASSERT_TRUE(registry_.Link(inner, *ring).ok());
      serial = Add(inner, "key")->serial();
    }
    EXPECT_TRUE(registry_.Find(Owner0(), serial).ok());
    EXPECT_EQ(Count(), 3u);
  }
  EXPECT_EQ(registry_.Find(Owner0(), serial).error(), Errno::kENOKEY);
  EXPECT_EQ(Count(), 0u);
  EXPECT_EQ(registry_.ListUsers(), "");
}

TEST_F(RegistryTest, KeyringsNeverHoldThemselves) {
  const Ref<Key> a = NewRing("a"), b = NewRing("b"), c = NewRing("c");
  ASSERT_TRUE(registry_.Link(b, *a).ok());
  ASSERT_TRUE(registry_.Link(c, *b).ok());
  EXPECT_EQ(registry_.Link(a, *c).error(), Errno::kEDEADLK);
  EXPECT_EQ(registry_.Link(a, *a).error(), Errno::kEDEADLK);
}

TEST_F(RegistryTest, PossessionIsASearchableWayFromTheSubjectsKeyrings) {
  const Ref<Key> session = NewRing("session"), ring = NewRing("ring");
  ASSERT_TRUE(registry_.Link(ring, *session).ok());
  const Ref<Key> key = Add(ring, "key");
  EXPECT_TRUE(registry_.Possesses(Owner0(session), *key));
  EXPECT_FALSE(registry_.Possesses(Owner0(), *key));
  ASSERT_TRUE(registry_.SetPermissions(Owner0(), *ring, Possessor(kAllRights & ~kSearch)).ok());
  EXPECT_FALSE(registry_.Possesses(Owner0(session), *key));
}

TEST_F(RegistryTest, QuotasAreGivenBack) {
  registry_.limits.root_max_keys = 3;
  const Ref<Key> ring = NewRing("ring");
  Add(ring, "one");
  Add(ring, "two");
  EXPECT_EQ(registry_.AddOrUpdate(Owner0(), KeyRef{ring, true}, KeyType::kUser, "three", "x").error(), Errno::kEDQUOT);
  Add(ring, "two", "the same key again");
  ASSERT_TRUE(registry_.Clear(*ring).ok());
  Add(ring, "three");
  registry_.limits.root_max_bytes = 100;
  EXPECT_EQ(registry_.AddOrUpdate(Owner0(), KeyRef{ring, true}, KeyType::kUser, "three", std::string(200, 'x')).error(), Errno::kEDQUOT);
}

TEST_F(RegistryTest, AUsersKeyringsStay) {
  const int32_t serial = registry_.KeyringsOf(1000).value().user->serial();
  EXPECT_EQ(registry_.KeyringsOf(1000).value().user->serial(), serial);
  EXPECT_TRUE(registry_.Find(Owner0(), serial).ok());
}

}  // namespace
}  // namespace rampart::keys
