// fanotify(7) of the class that only notifies, for those who have CAP_SYS_ADMIN.
#include <poll.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <climits>
#include <thread>
#include <vector>

#include "scratch.h"

namespace {

struct Event {
  uint64_t mask;
  std::string path;  // of the descriptor
  int pid;
};

class FanotifyTest : public testing::Test {
 protected:
  void SetUp() override {
    fd_ = fanotify_init(FAN_CLOEXEC | FAN_NONBLOCK | FAN_CLASS_NOTIF, O_RDONLY);
    if (fd_ < 0 && errno == EPERM) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
    ASSERT_GE(fd_, 0);
    ASSERT_NE(mkdtemp(directory_), nullptr);
    Write(File("a"), "first");
  }
  void TearDown() override {
    close(fd_);
    [[maybe_unused]] const int result = system(("rm -rf " + std::string(directory_)).c_str());
  }
  std::string File(const std::string& name) const { return std::string(directory_) + "/" + name; }
  static void Write(const std::string& path, const std::string& text) {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ASSERT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(fd);
  }
  static void Read(const std::string& path) {
    char c;
    const int fd = open(path.c_str(), O_RDONLY);
    EXPECT_EQ(read(fd, &c, 1), 1);
    close(fd);
  }
  int Mark(unsigned flags, uint64_t mask, const std::string& path) { return fanotify_mark(fd_, flags, mask, AT_FDCWD, path.c_str()); }
  std::vector<Event> Events() {
    std::vector<Event> events;
    alignas(8) char buffer[4096];
    while (true) {
      const ssize_t n = read(fd_, buffer, sizeof(buffer));
      if (n <= 0) break;
      ssize_t left = n;
      for (auto* m = reinterpret_cast<fanotify_event_metadata*>(buffer); FAN_EVENT_OK(m, left); m = FAN_EVENT_NEXT(m, left)) {
        EXPECT_EQ(m->vers, FANOTIFY_METADATA_VERSION);
        EXPECT_EQ(m->metadata_len, sizeof(*m));
        char name[PATH_MAX] = {};
        if (m->fd >= 0) {
          EXPECT_GT(readlink(("/proc/self/fd/" + std::to_string(m->fd)).c_str(), name, sizeof(name) - 1), 0);
          close(m->fd);
        }
        events.push_back({m->mask, name, m->pid});
      }
    }
    return events;
  }

  int fd_ = -1;
  char directory_[32] = "/tmp/fanotify-XXXXXX";
};

TEST(FanotifyInit, ChecksItsArguments) {
  EXPECT_FAILS(fanotify_init(0x80000000, O_RDONLY), EINVAL);
  EXPECT_FAILS(fanotify_init(FAN_CLASS_CONTENT | FAN_CLASS_PRE_CONTENT, O_RDONLY), EINVAL);
  EXPECT_FAILS(fanotify_init(FAN_CLASS_NOTIF, O_ACCMODE), EINVAL);
  EXPECT_FAILS(fanotify_init(FAN_CLASS_NOTIF, O_CREAT), EINVAL);
  EXPECT_EQ(scratch::AsUser(1000, [] {
    IN_CHILD_FAILS(fanotify_init(FAN_CLASS_NOTIF, O_RDONLY), EPERM);
    return 0;
  }), 0);
}

TEST_F(FanotifyTest, MarkChecksItsArguments) {
  const std::string a = File("a");
  EXPECT_FAILS(Mark(0, FAN_OPEN, a), EINVAL);
  EXPECT_FAILS(Mark(FAN_MARK_ADD | FAN_MARK_REMOVE, FAN_OPEN, a), EINVAL);
  EXPECT_FAILS(Mark(FAN_MARK_ADD, 0, a), EINVAL);
  EXPECT_FAILS(Mark(FAN_MARK_ADD | 0x80000000, FAN_OPEN, a), EINVAL);
  EXPECT_FAILS(Mark(FAN_MARK_ADD, uint64_t{1} << 40, a), EINVAL);
  EXPECT_FAILS(Mark(FAN_MARK_ADD | FAN_MARK_MOUNT | FAN_MARK_FILESYSTEM, FAN_OPEN, a), EINVAL);
  EXPECT_FAILS(Mark(FAN_MARK_FLUSH | FAN_MARK_ONLYDIR, 0, a), EINVAL);
  EXPECT_FAILS(Mark(FAN_MARK_ADD, FAN_OPEN_PERM, a), EINVAL);
  EXPECT_FAILS(Mark(FAN_MARK_ADD, FAN_CREATE, a), EINVAL);
  EXPECT_FAILS(Mark(FAN_MARK_ADD | FAN_MARK_ONLYDIR, FAN_OPEN, a), ENOTDIR);
  EXPECT_FAILS(Mark(FAN_MARK_ADD, FAN_OPEN, File("none")), ENOENT);
  EXPECT_FAILS(Mark(FAN_MARK_REMOVE, FAN_OPEN, a), ENOENT);
  EXPECT_FAILS(fanotify_mark(-1, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, a.c_str()), EBADF);
  const int other = open(a.c_str(), O_RDONLY);
  EXPECT_FAILS(fanotify_mark(other, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, a.c_str()), EINVAL);
  EXPECT_WORKS(fanotify_mark(fd_, FAN_MARK_ADD, FAN_OPEN, other, nullptr));
  EXPECT_FAILS(fanotify_mark(fd_, FAN_MARK_ADD | FAN_MARK_ONLYDIR, FAN_OPEN, other, nullptr), ENOTDIR);
  close(other);
  char c;
  EXPECT_FAILS(read(fd_, &c, 1), EAGAIN);
  Read(a);
  EXPECT_FAILS(read(fd_, &c, 1), EINVAL);
  EXPECT_EQ(Events().size(), 1u);
  EXPECT_EQ(write(fd_, &c, 1), -1);
}

TEST_F(FanotifyTest, TellsWhatIsDoneToAFile) {
  const std::string a = File("a");
  ASSERT_WORKS(Mark(FAN_MARK_ADD, FAN_OPEN | FAN_ACCESS | FAN_MODIFY | FAN_CLOSE, a));
  int fd = open(a.c_str(), O_RDONLY);
  std::vector<Event> events = Events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].mask, static_cast<uint64_t>(FAN_OPEN));
  EXPECT_EQ(events[0].path, a);
  EXPECT_EQ(events[0].pid, getpid());
  char c;
  EXPECT_EQ(read(fd, &c, 1), 1);
  close(fd);
  events = Events();
  ASSERT_EQ(events.size(), 1u);  // of the same object: one
  EXPECT_EQ(events[0].mask, static_cast<uint64_t>(FAN_ACCESS | FAN_CLOSE_NOWRITE));
  Write(a, "again");
  events = Events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].mask, static_cast<uint64_t>(FAN_OPEN | FAN_MODIFY | FAN_CLOSE_WRITE));
  Read(File("a"));
  const pid_t child = fork();
  if (child == 0) {
    Read(a);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  events = Events();
  ASSERT_EQ(events.size(), 2u);  // by different processes
  EXPECT_EQ(events[0].pid, getpid());
  EXPECT_EQ(events[1].pid, child);
  ASSERT_WORKS(Mark(FAN_MARK_REMOVE, FAN_OPEN | FAN_ACCESS | FAN_MODIFY | FAN_CLOSE, a));
  Read(a);
  EXPECT_TRUE(Events().empty());
}

TEST_F(FanotifyTest, ItsOwnDescriptorsTellNothing) {
  ASSERT_WORKS(Mark(FAN_MARK_ADD, FAN_OPEN | FAN_ACCESS | FAN_CLOSE, File("a")));
  Read(File("a"));
  fanotify_event_metadata event{};
  ASSERT_EQ(read(fd_, &event, sizeof(event)), static_cast<ssize_t>(sizeof(event)));
  ASSERT_GE(event.fd, 0);
  char text[8] = {};
  EXPECT_EQ(read(event.fd, text, 8), 5);
  EXPECT_STREQ(text, "first");
  EXPECT_EQ(fcntl(event.fd, F_GETFD), 0);
  EXPECT_EQ(fcntl(event.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
  close(event.fd);
  EXPECT_TRUE(Events().empty());
}

TEST_F(FanotifyTest, ChildrenOfADirectory) {
  ASSERT_WORKS(mkdir(File("sub").c_str(), 0755));
  ASSERT_WORKS(Mark(FAN_MARK_ADD, FAN_OPEN, directory_));
  Read(File("a"));
  EXPECT_TRUE(Events().empty());  // not asked for
  ASSERT_WORKS(Mark(FAN_MARK_ADD, FAN_OPEN | FAN_EVENT_ON_CHILD, directory_));
  Read(File("a"));
  std::vector<Event> events = Events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].path, File("a"));
  close(open(directory_, O_RDONLY));
  close(open(File("sub").c_str(), O_RDONLY));
  EXPECT_TRUE(Events().empty());  // directories are not asked for
  ASSERT_WORKS(Mark(FAN_MARK_ADD, FAN_OPEN | FAN_ONDIR, directory_));
  close(open(directory_, O_RDONLY));
  close(open(File("sub").c_str(), O_RDONLY));
  events = Events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].path, directory_);
  EXPECT_EQ(events[1].path, File("sub"));
  Write(File("sub/deep"), "x");
  EXPECT_TRUE(Events().empty());  // not below
}

TEST_F(FanotifyTest, MountsAndFilesystems) {
  const std::string place = File("mnt");
  ASSERT_WORKS(mkdir(place.c_str(), 0755));
  if (mount("none", place.c_str(), "tmpfs", 0, nullptr) != 0) GTEST_SKIP() << "cannot mount here";
  for (const unsigned kind : {FAN_MARK_MOUNT, FAN_MARK_FILESYSTEM}) {
    ASSERT_WORKS(Mark(FAN_MARK_ADD | kind, FAN_CLOSE_WRITE, place));
    Write(place + "/file", "x");
    Write(File("a"), "x");  // elsewhere
    const std::vector<Event> events = Events();
    ASSERT_EQ(events.size(), 1u) << kind;
    EXPECT_EQ(events[0].path, place + "/file");
    EXPECT_EQ(events[0].mask, static_cast<uint64_t>(FAN_CLOSE_WRITE));
    ASSERT_WORKS(Mark(FAN_MARK_FLUSH | kind, 0, place));
    Write(place + "/file", "x");
    EXPECT_TRUE(Events().empty());
  }
  EXPECT_WORKS(umount2(place.c_str(), MNT_DETACH));
}

TEST_F(FanotifyTest, IgnoredEvents) {
  const std::string a = File("a");
  ASSERT_WORKS(Mark(FAN_MARK_ADD, FAN_OPEN | FAN_EVENT_ON_CHILD, directory_));
  ASSERT_WORKS(Mark(FAN_MARK_ADD | FAN_MARK_IGNORED_MASK, FAN_OPEN, a));
  Read(a);
  EXPECT_TRUE(Events().empty());
  Write(a, "changed");  // then it is forgotten
  Read(a);
  EXPECT_EQ(Events().size(), 1u);
  ASSERT_WORKS(Mark(FAN_MARK_ADD | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_OPEN, a));
  Write(a, "changed");
  Read(a);
  EXPECT_TRUE(Events().empty());
  ASSERT_WORKS(Mark(FAN_MARK_REMOVE | FAN_MARK_IGNORED_MASK, FAN_OPEN, a));
  Read(a);
  EXPECT_EQ(Events().size(), 1u);
}

TEST_F(FanotifyTest, CanBeWaitedFor) {
  const std::string a = File("a");
  ASSERT_WORKS(Mark(FAN_MARK_ADD, FAN_OPEN, a));
  pollfd wait{fd_, POLLIN, 0};
  EXPECT_EQ(poll(&wait, 1, 0), 0);
  std::thread later([&] {
    usleep(20000);
    Read(a);
  });
  EXPECT_EQ(poll(&wait, 1, 5000), 1);
  later.join();
  int bytes = 0;
  ASSERT_WORKS(ioctl(fd_, FIONREAD, &bytes));
  EXPECT_EQ(bytes, static_cast<int>(sizeof(fanotify_event_metadata)));
  EXPECT_EQ(Events().size(), 1u);
  EXPECT_EQ(poll(&wait, 1, 0), 0);
}

TEST_F(FanotifyTest, ADeletedFileCanStillBeLookedInto) {
  const std::string a = File("a");
  ASSERT_WORKS(Mark(FAN_MARK_ADD, FAN_OPEN | FAN_CLOSE, a));
  Read(a);
  ASSERT_WORKS(unlink(a.c_str()));
  const std::vector<Event> events = Events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].path, a + " (deleted)");
}

}  // namespace
