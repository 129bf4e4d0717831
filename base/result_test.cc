#include "base/result.h"

#include <gtest/gtest.h>

#include "base/ref.h"

namespace rampart {
namespace {

Result<int> Half(int n) {
  if (n % 2 != 0) return Errno::kEINVAL;
  return n / 2;
}
Result<int> Quarter(int n) {
  const int half = TRY(Half(n));
  return Half(half);
}

TEST(Result, TryHandsTheErrorOn) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).error(), Errno::kEINVAL);
  EXPECT_EQ(Quarter(7).error(), Errno::kEINVAL);
}

TEST(Errno, HostCodesOutsideTheTableBecomeEio) {
  EXPECT_EQ(ErrnoFromHost(2), Errno::kENOENT);
  EXPECT_EQ(ErrnoFromHost(512), Errno::kEIO);
  EXPECT_EQ(ErrnoFromHost(-1), Errno::kEIO);
  EXPECT_STREQ(ErrnoName(Errno::kENOENT), "ENOENT");
}

class Counted : public RefCounted {
 public:
  explicit Counted(int* deaths) : deaths_(deaths) {}
  ~Counted() override { ++*deaths_; }

 private:
  int* deaths_;
};

TEST(Ref, ObjectDiesWithItsLastReference) {
  int deaths = 0;
  {
    Ref<Counted> a = MakeRef<Counted>(&deaths);
    RefPtr<Counted> b = a;
    RefPtr<RefCounted> c = b;
    EXPECT_EQ(a->RefCountForTesting(), 3u);
    b = nullptr;
    EXPECT_EQ(deaths, 0);
  }
  EXPECT_EQ(deaths, 1);
}

}  // namespace
}  // namespace rampart
