#include "sentry/auth/identity.h"

#include <gtest/gtest.h>

namespace rampart::auth {
namespace {

using abi::Capability;
using abi::CapabilityBit;
using abi::kAllCapabilities;

CredentialValues Root() {
  CredentialValues v;
  v.permitted = v.effective = kAllCapabilities;
  return v;
}
CredentialValues User(abi::Uid r, abi::Uid e, abi::Uid s) {
  CredentialValues v;
  v.ruid = r, v.euid = v.fsuid = e, v.suid = s;
  v.rgid = r, v.egid = v.fsgid = e, v.sgid = s;
  return v;
}

TEST(SetUid, RootChangesAllAndLosesCapabilities) {
  const CredentialValues v = SetUid(Root(), 1000).value();
  EXPECT_EQ(v.ruid, 1000u);
  EXPECT_EQ(v.euid, 1000u);
  EXPECT_EQ(v.suid, 1000u);
  EXPECT_EQ(v.fsuid, 1000u);
  EXPECT_EQ(v.permitted, 0u);
  EXPECT_EQ(v.effective, 0u);
}

TEST(SetUid, UserChangesOnlyTheEffectiveIdToAKnownOne) {
  const CredentialValues v = SetUid(User(1, 2, 3), 3).value();
  EXPECT_EQ(v.ruid, 1u);
  EXPECT_EQ(v.euid, 3u);
  EXPECT_EQ(v.suid, 3u);
  EXPECT_EQ(SetUid(User(1, 2, 3), 2).error(), Errno::kEPERM);
  EXPECT_EQ(SetUid(Root(), kKeepId).error(), Errno::kEINVAL);
}

TEST(SetUid, KeepCapsKeepsPermittedButNotEffective) {
  const CredentialValues v = SetUid(SetKeepCaps(Root(), 1).value(), 1000).value();
  EXPECT_EQ(v.permitted, kAllCapabilities);
  EXPECT_EQ(v.effective, 0u);
}

TEST(SetUid, NoSetuidFixupKeepsEverything) {
  const CredentialValues v = SetUid(SetSecurebits(Root(), kSecureNoSetuidFixup).value(), 1000).value();
  EXPECT_EQ(v.effective, kAllCapabilities);
}

TEST(SetReUid, SavedIdFollowsAndPermissionIsChecked) {
  EXPECT_EQ(SetReUid(User(1, 2, 3), kKeepId, 3).value().suid, 3u);
  EXPECT_EQ(SetReUid(User(1, 2, 3), kKeepId, 1).value().suid, 3u);
  EXPECT_EQ(SetReUid(User(1, 2, 3), 2, kKeepId).value().suid, 2u);
  EXPECT_EQ(SetReUid(User(1, 2, 3), 3, kKeepId).error(), Errno::kEPERM);
  EXPECT_EQ(SetReUid(User(1, 2, 3), kKeepId, 9).error(), Errno::kEPERM);
}

TEST(SetResUid, AnyOfTheThreeIsAllowed) {
  const CredentialValues v = SetResUid(User(1, 2, 3), 3, 1, 2).value();
  EXPECT_EQ(v.ruid, 3u);
  EXPECT_EQ(v.euid, 1u);
  EXPECT_EQ(v.suid, 2u);
  EXPECT_EQ(v.fsuid, 1u);
  EXPECT_EQ(SetResUid(User(1, 2, 3), kKeepId, kKeepId, 9).error(), Errno::kEPERM);
}

TEST(SetResUid, EffectiveRootMovesTheEffectiveSet) {
  const CredentialValues dropped = SetResUid(Root(), kKeepId, 1000, kKeepId).value();
  EXPECT_EQ(dropped.permitted, kAllCapabilities);
  EXPECT_EQ(dropped.effective, 0u);
  EXPECT_EQ(SetResUid(dropped, kKeepId, 0, kKeepId).value().effective, kAllCapabilities);
}

TEST(SetGid, FollowsTheSameRules) {
  EXPECT_EQ(SetGid(Root(), 5).value().sgid, 5u);
  EXPECT_EQ(SetGid(User(1, 2, 3), 3).value().egid, 3u);
  EXPECT_EQ(SetGid(User(1, 2, 3), 2).error(), Errno::kEPERM);
  EXPECT_EQ(SetReGid(User(1, 2, 3), kKeepId, 3).value().sgid, 3u);
  EXPECT_EQ(SetResGid(User(1, 2, 3), 9, kKeepId, kKeepId).error(), Errno::kEPERM);
  EXPECT_EQ(SetGid(Root(), 5).value().effective, kAllCapabilities);
}

TEST(SetFsUid, MovesFilesystemCapabilities) {
  const CredentialValues v = SetFsUid(Root(), 1000);
  EXPECT_EQ(v.fsuid, 1000u);
  EXPECT_EQ(v.effective & CapabilityBit(Capability::kDacOverride), 0u);
  EXPECT_NE(v.effective & CapabilityBit(Capability::kSysAdmin), 0u);
  EXPECT_NE(SetFsUid(v, 0).effective & CapabilityBit(Capability::kDacOverride), 0u);
  EXPECT_EQ(SetFsUid(User(1, 2, 3), 9).fsuid, 2u);
}

TEST(SetGroups, NeedsTheCapabilityAndSorts) {
  EXPECT_EQ(SetGroups(Root(), {3, 1, 2}).value().groups, (std::vector<abi::Gid>{1, 2, 3}));
  EXPECT_EQ(SetGroups(User(1, 1, 1), {1}).error(), Errno::kEPERM);
  EXPECT_EQ(SetGroups(Root(), std::vector<abi::Gid>(kMaxGroups + 1)).error(), Errno::kEINVAL);
}

TEST(SetCapabilities, OnlyShrinksPermitted) {
  CredentialValues v = Root();
  v = SetCapabilities(v, 1, 3, 0).value();
  EXPECT_EQ(v.permitted, 3u);
  EXPECT_EQ(SetCapabilities(v, 0, 7, 0).error(), Errno::kEPERM);
  EXPECT_EQ(SetCapabilities(v, 4, 3, 0).error(), Errno::kEPERM);
  EXPECT_EQ(SetCapabilities(v, 0, 3, 4).error(), Errno::kEPERM);
  EXPECT_EQ(SetCapabilities(v, 0, 3, 2).value().inheritable, 2u);
}

TEST(Ambient, NeedsPermittedAndInheritableAndFallsWithThem) {
  CredentialValues v = Root();
  EXPECT_EQ(RaiseAmbient(v, 3).error(), Errno::kEPERM);
  v = SetCapabilities(v, v.effective, v.permitted, 8).value();
  v = RaiseAmbient(v, 3).value();
  EXPECT_EQ(v.ambient, 8u);
  EXPECT_EQ(RaiseAmbient(v, 64).error(), Errno::kEINVAL);
  EXPECT_EQ(LowerAmbient(v, 3).value().ambient, 0u);
  EXPECT_EQ(SetCapabilities(v, v.effective, v.permitted, 0).value().ambient, 0u);
  EXPECT_EQ(RaiseAmbient(SetSecurebits(v, kSecureNoAmbientRaise).value(), 3).error(), Errno::kEPERM);
}

TEST(Securebits, LocksHold) {
  const CredentialValues v = SetSecurebits(Root(), kSecureNoRoot | (kSecureNoRoot << 1)).value();
  EXPECT_EQ(SetSecurebits(v, kSecureNoRoot << 1).error(), Errno::kEPERM);
  EXPECT_EQ(SetSecurebits(v, kSecureNoRoot).error(), Errno::kEPERM);
  EXPECT_EQ(SetSecurebits(User(1, 1, 1), 0).error(), Errno::kEPERM);
  EXPECT_EQ(SetSecurebits(Root(), 1u << 30).error(), Errno::kEPERM);
  EXPECT_EQ(SetKeepCaps(SetSecurebits(Root(), kSecureKeepCaps << 1).value(), 1).error(), Errno::kEPERM);
}

TEST(OnExec, RootGetsEverythingInTheBoundingSet) {
  CredentialValues root = Root();
  root.bounding = 0xff;
  root.permitted = root.effective = 1;
  const ExecIdentity id = OnExec(root, {0, 0, 0755, {}}, false).value();
  EXPECT_EQ(id.values.permitted, 0xffu);
  EXPECT_EQ(id.values.effective, 0xffu);
  EXPECT_FALSE(id.secure);
}

TEST(OnExec, SetUserIdRootGainsAndIsSecure) {
  const ExecIdentity id = OnExec(User(1000, 1000, 1000), {0, 0, 04755, {}}, false).value();
  EXPECT_EQ(id.values.euid, 0u);
  EXPECT_EQ(id.values.suid, 0u);
  EXPECT_EQ(id.values.ruid, 1000u);
  EXPECT_EQ(id.values.effective, kAllCapabilities);
  EXPECT_TRUE(id.secure);
}

TEST(OnExec, NoNewPrivsAndUnsafeGainNothing) {
  CredentialValues user = User(1000, 1000, 1000);
  EXPECT_EQ(OnExec(user, {0, 0, 04755, {}}, true).value().values.euid, 1000u);
  user.no_new_privs = true;
  const ExecIdentity id = OnExec(user, {0, 0, 06755, {}}, false).value();
  EXPECT_EQ(id.values.euid, 1000u);
  EXPECT_EQ(id.values.egid, 1000u);
  EXPECT_EQ(id.values.permitted, 0u);
}

TEST(OnExec, UserLosesPermittedAndKeepsAmbient) {
  CredentialValues user = User(1000, 1000, 1000);
  user.permitted = user.effective = user.inheritable = 0xf0;
  user.ambient = 0x10;
  const ExecIdentity id = OnExec(user, {0, 0, 0755, {}}, false).value();
  EXPECT_EQ(id.values.permitted, 0x10u);
  EXPECT_EQ(id.values.effective, 0x10u);
  EXPECT_EQ(id.values.inheritable, 0xf0u);
  EXPECT_FALSE(id.secure);
}

TEST(OnExec, FileCapabilitiesAreGiven) {
  const ExecFile file{0, 0, 0755, ExecFile::FileCapabilities{CapabilityBit(Capability::kNetRaw), 0, true}};
  const ExecIdentity id = OnExec(User(1000, 1000, 1000), file, false).value();
  EXPECT_EQ(id.values.effective, CapabilityBit(Capability::kNetRaw));
  EXPECT_TRUE(id.secure);
  CredentialValues bounded = User(1000, 1000, 1000);
  bounded.bounding = 0;
  EXPECT_EQ(OnExec(bounded, file, false).error(), Errno::kEPERM);
}

TEST(Permissions, BetweenTasks) {
  EXPECT_TRUE(MayTouchLimits(User(1, 1, 1), User(1, 1, 1)));
  EXPECT_FALSE(MayTouchLimits(User(1, 1, 1), User(1, 2, 1)));
  EXPECT_TRUE(MayTouchLimits(Root(), User(1, 2, 1)));
  EXPECT_TRUE(MaySchedule(User(5, 1, 1), User(1, 7, 7)));
  EXPECT_FALSE(MaySchedule(User(1, 5, 1), User(1, 1, 1)));
}

}  // namespace
}  // namespace rampart::auth
