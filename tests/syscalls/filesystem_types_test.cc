// sysfs(2), quotactl(2), quotactl_fd(2); and the calls about security modules.
#include <linux/quota.h>
#include <sys/quota.h>
#include <sys/syscall.h>

#include <fstream>
#include <vector>

#include "scratch.h"

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif
#ifndef SYS_lsm_get_self_attr
#define SYS_lsm_get_self_attr 459
#define SYS_lsm_set_self_attr 460
#define SYS_lsm_list_modules 461
#endif

namespace {

TEST(Sysfs, ListsTheTypesOfFilesystems) {
  const long count = syscall(SYS_sysfs, 3);
  ASSERT_GT(count, 0);
  std::ifstream list("/proc/filesystems");
  long lines = 0;
  for (std::string line; std::getline(list, line); ++lines) {
    const std::string name = line.substr(line.find('\t') + 1);
    const long index = syscall(SYS_sysfs, 1, name.c_str());
    EXPECT_EQ(index, lines) << name;
    char back[64] = {};
    EXPECT_WORKS(syscall(SYS_sysfs, 2, index, back));
    EXPECT_EQ(name, back);
  }
  EXPECT_EQ(lines, count);
  char buffer[64];
  EXPECT_FAILS(syscall(SYS_sysfs, 1, "nosuch"), EINVAL);
  EXPECT_FAILS(syscall(SYS_sysfs, 1, nullptr), EFAULT);
  EXPECT_FAILS(syscall(SYS_sysfs, 2, count, buffer), EINVAL);
  EXPECT_FAILS(syscall(SYS_sysfs, 2, 0, 8), EFAULT);
  EXPECT_FAILS(syscall(SYS_sysfs, 4), EINVAL);
}

TEST(Quotactl, WhereNothingHasQuotas) {
  dqblk block{};
  const auto quotactl_of = [&](int command, int type, const char* special) {
    return quotactl(QCMD(command, type), special, 0, reinterpret_cast<caddr_t>(&block));
  };
  EXPECT_WORKS(quotactl_of(Q_SYNC, USRQUOTA, nullptr));
  EXPECT_FAILS(quotactl_of(Q_GETQUOTA, USRQUOTA, nullptr), ENODEV);
  EXPECT_FAILS(quotactl_of(Q_GETQUOTA, 3, nullptr), EINVAL);
  EXPECT_FAILS(quotactl_of(Q_SYNC, 9, nullptr), EINVAL);
  EXPECT_FAILS(quotactl_of(Q_GETQUOTA, USRQUOTA, "/dev/null"), ENOTBLK);
  EXPECT_FAILS(quotactl_of(Q_GETQUOTA, GRPQUOTA, "/nonexistent"), ENOENT);
  EXPECT_FAILS(quotactl_of(Q_GETQUOTA, USRQUOTA, reinterpret_cast<const char*>(8)), EFAULT);
}

TEST(QuotactlFd, OfAFilesystemWithoutQuotas) {
  dqblk block{};
  const int fd = open("/dev/shm", O_RDONLY);
  ASSERT_GE(fd, 0);
  const auto call = [&](int at, int command, int type) { return syscall(SYS_quotactl_fd, at, QCMD(command, type), 0, &block); };
  EXPECT_FAILS(call(fd, Q_GETQUOTA, USRQUOTA), ENOSYS);
  EXPECT_FAILS(call(fd, Q_SYNC, USRQUOTA), ENOSYS);
  EXPECT_FAILS(call(fd, Q_GETQUOTA, 3), EINVAL);
  EXPECT_FAILS(call(-1, Q_GETQUOTA, USRQUOTA), EBADF);
  close(fd);
}

constexpr unsigned long kCapability = 100;

TEST(Lsm, ListsAtLeastTheModuleOfCapabilities) {
  std::vector<uint64_t> ids(32);
  uint32_t size = 32 * 8;
  const long count = syscall(SYS_lsm_list_modules, ids.data(), &size, 0);
  if (count < 0 && errno == ENOSYS) GTEST_SKIP() << "before Linux 6.8";
  ASSERT_GT(count, 0);
  EXPECT_EQ(size, static_cast<uint32_t>(count) * 8);
  EXPECT_EQ(std::count(ids.begin(), ids.begin() + count, kCapability), 1);
  const uint32_t needed = size;
  size = 4;
  EXPECT_FAILS(syscall(SYS_lsm_list_modules, ids.data(), &size, 0), E2BIG);
  EXPECT_EQ(size, needed);
  EXPECT_FAILS(syscall(SYS_lsm_list_modules, ids.data(), &size, 1), EINVAL);
  EXPECT_FAILS(syscall(SYS_lsm_list_modules, ids.data(), nullptr, 0), EFAULT);
}

TEST(Lsm, NoModuleHasAttributes) {
  if (access("/sys/kernel/security/apparmor", F_OK) == 0 || access("/sys/fs/selinux", F_OK) == 0) GTEST_SKIP() << "one has";
  uint64_t context[16] = {};
  uint32_t size = sizeof(context);
  constexpr unsigned kCurrent = 100;
  const auto get = [&](unsigned attribute, void* at, uint32_t* room, unsigned flags) {
    return syscall(SYS_lsm_get_self_attr, attribute, at, room, flags);
  };
  if (get(kCurrent, context, &size, 0) < 0 && errno == ENOSYS) GTEST_SKIP() << "before Linux 6.8";
  size = sizeof(context);
  EXPECT_FAILS(get(kCurrent, context, &size, 0), EOPNOTSUPP);
  EXPECT_EQ(size, 0u);
  size = sizeof(context);
  EXPECT_FAILS(get(0, context, &size, 0), EINVAL);
  EXPECT_FAILS(get(kCurrent, context, nullptr, 0), EINVAL);
  EXPECT_FAILS(get(kCurrent, context, &size, 4), EINVAL);
  EXPECT_FAILS(get(kCurrent, context, &size, 1), EINVAL);
  const auto set = [&](void* at, unsigned room, unsigned flags) { return syscall(SYS_lsm_set_self_attr, kCurrent, at, room, flags); };
  EXPECT_FAILS(set(context, 32, 1), EINVAL);
  EXPECT_FAILS(set(context, 2, 0), EINVAL);
  EXPECT_FAILS(set(context, 32, 0), EINVAL);
  EXPECT_FAILS(set(context, 40000, 0), E2BIG);
  EXPECT_FAILS(set(nullptr, 32, 0), EFAULT);
  context[0] = kCapability;
  context[2] = 40;
  context[3] = 8;
  EXPECT_FAILS(set(context, 64, 0), EOPNOTSUPP);
}

}  // namespace
