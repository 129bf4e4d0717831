// inotify(7).
#include <limits.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <map>
#include <vector>

#include "net_support.h"

namespace {

using test::Later;
using test::Owned;
using test::PollOne;

struct Event {
  int wd;
  uint32_t mask;
  uint32_t cookie;
  std::string name;
  bool operator==(const Event& o) const { return wd == o.wd && mask == o.mask && name == o.name; }
};
void PrintTo(const Event& e, std::ostream* out) { *out << "{" << e.wd << ", 0x" << std::hex << e.mask << std::dec << ", " << e.name << "}"; }

class InotifyTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = "/tmp/inotify_test." + std::to_string(getpid());
    (void)!system(("rm -rf " + dir_).c_str());
    ASSERT_EQ(mkdir(dir_.c_str(), 0700), 0);
    in_ = Owned(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    ASSERT_TRUE(in_.ok());
  }
  void TearDown() override { (void)!system(("rm -rf " + dir_).c_str()); }

  std::string Path(const std::string& name) const { return dir_ + "/" + name; }
  void Create(const std::string& name) const { Owned(open(Path(name).c_str(), O_CREAT | O_WRONLY, 0600)); }
  int Watch(const std::string& path, uint32_t mask) const { return inotify_add_watch(in_.get(), path.c_str(), mask); }
  std::vector<Event> Events() const {
    std::vector<Event> events;
    alignas(inotify_event) char buffer[65536];
    while (true) {
      const ssize_t n = read(in_.get(), buffer, sizeof(buffer));
      if (n <= 0) return events;
      for (ssize_t at = 0; at < n;) {
        const auto* e = reinterpret_cast<inotify_event*>(buffer + at);
        events.push_back({e->wd, e->mask, e->cookie, e->len > 0 ? e->name : ""});
        at += static_cast<ssize_t>(sizeof(*e) + e->len);
      }
    }
  }
  std::string dir_;
  Owned in_;
};

TEST_F(InotifyTest, ArgumentsAreChecked) {
  EXPECT_FAILS(inotify_init1(1), EINVAL);
  EXPECT_FAILS(Watch(dir_, 0), EINVAL);
  EXPECT_FAILS(Watch(dir_ + "/none", IN_CREATE), ENOENT);
  EXPECT_FAILS(Watch("", IN_CREATE), ENOENT);
  EXPECT_FAILS(inotify_add_watch(0, dir_.c_str(), IN_CREATE), EINVAL);
  EXPECT_FAILS(inotify_add_watch(-1, dir_.c_str(), IN_CREATE), EBADF);
  EXPECT_FAILS(inotify_rm_watch(in_.get(), 5), EINVAL);
  Create("f");
  EXPECT_FAILS(Watch(Path("f"), IN_MODIFY | IN_ONLYDIR), ENOTDIR);
  EXPECT_FAILS(Watch(dir_, IN_CREATE | IN_MASK_ADD | IN_MASK_CREATE), EINVAL);
  EXPECT_EQ(fcntl(in_.get(), F_GETFD), FD_CLOEXEC);
  char c = 0;
  EXPECT_FAILS(write(in_.get(), &c, 1), EBADF);
  EXPECT_FAILS(read(in_.get(), &c, 1), EAGAIN);
}

TEST_F(InotifyTest, DirectoryTellsWhatHappensInIt) {
  const int wd = Watch(dir_, IN_ALL_EVENTS);
  ASSERT_GE(wd, 1);
  Create("a");
  EXPECT_EQ(Events(), (std::vector<Event>{{wd, IN_CREATE, 0, "a"}, {wd, IN_OPEN, 0, "a"}, {wd, IN_CLOSE_WRITE, 0, "a"}}));
  {
    const Owned f(open(Path("a").c_str(), O_RDWR));
    char c = 'x';
    ASSERT_EQ(write(f.get(), &c, 1), 1);
    ASSERT_EQ(pread(f.get(), &c, 1, 0), 1);
  }
  EXPECT_EQ(Events(), (std::vector<Event>{{wd, IN_OPEN, 0, "a"}, {wd, IN_MODIFY, 0, "a"}, {wd, IN_ACCESS, 0, "a"}, {wd, IN_CLOSE_WRITE, 0, "a"}}));
  ASSERT_EQ(chmod(Path("a").c_str(), 0644), 0);
  ASSERT_EQ(truncate(Path("a").c_str(), 0), 0);
  EXPECT_EQ(Events(), (std::vector<Event>{{wd, IN_ATTRIB, 0, "a"}, {wd, IN_MODIFY, 0, "a"}}));
  ASSERT_EQ(mkdir(Path("sub").c_str(), 0700), 0);
  ASSERT_EQ(rmdir(Path("sub").c_str()), 0);
  EXPECT_EQ(Events(), (std::vector<Event>{{wd, IN_CREATE | IN_ISDIR, 0, "sub"}, {wd, IN_DELETE | IN_ISDIR, 0, "sub"}}));
  ASSERT_EQ(symlink("a", Path("l").c_str()), 0);
  ASSERT_EQ(link(Path("a").c_str(), Path("h").c_str()), 0);
  ASSERT_EQ(unlink(Path("l").c_str()), 0);
  const std::vector<Event> links = Events();
  ASSERT_GE(links.size(), 3u);
  EXPECT_EQ(links.front(), (Event{wd, IN_CREATE, 0, "l"}));
  EXPECT_EQ(links.back(), (Event{wd, IN_DELETE, 0, "l"}));
}

TEST_F(InotifyTest, RenameHasACookie) {
  ASSERT_EQ(mkdir(Path("other").c_str(), 0700), 0);
  Create("a");
  const int from = Watch(dir_, IN_MOVE), to = Watch(Path("other"), IN_MOVE), file = Watch(Path("a"), IN_MOVE_SELF);
  ASSERT_EQ(rename(Path("a").c_str(), Path("other/b").c_str()), 0);
  const std::vector<Event> events = Events();
  EXPECT_EQ(events, (std::vector<Event>{{from, IN_MOVED_FROM, 0, "a"}, {to, IN_MOVED_TO, 0, "b"}, {file, IN_MOVE_SELF, 0, ""}}));
  EXPECT_NE(events[0].cookie, 0u);
  EXPECT_EQ(events[0].cookie, events[1].cookie);
  EXPECT_EQ(events[2].cookie, 0u);
}

TEST_F(InotifyTest, DeletedFileEndsItsWatch) {
  Create("a");
  const int wd = Watch(Path("a"), IN_DELETE_SELF | IN_ATTRIB);
  ASSERT_EQ(unlink(Path("a").c_str()), 0);
  EXPECT_EQ(Events(), (std::vector<Event>{{wd, IN_ATTRIB, 0, ""}, {wd, IN_DELETE_SELF, 0, ""}, {wd, IN_IGNORED, 0, ""}}));
  EXPECT_FAILS(inotify_rm_watch(in_.get(), wd), EINVAL);
}

TEST_F(InotifyTest, DeletedButOpenFileEndsAtTheLastClose) {
  Create("a");
  Owned f(open(Path("a").c_str(), O_RDONLY));
  const int wd = Watch(Path("a"), IN_DELETE_SELF | IN_ATTRIB);
  ASSERT_EQ(unlink(Path("a").c_str()), 0);
  EXPECT_EQ(Events(), (std::vector<Event>{{wd, IN_ATTRIB, 0, ""}}));
  f.Close();
  EXPECT_EQ(Events(), (std::vector<Event>{{wd, IN_DELETE_SELF, 0, ""}, {wd, IN_IGNORED, 0, ""}}));
}

TEST_F(InotifyTest, RemovedWatchIsIgnored) {
  const int wd = Watch(dir_, IN_CREATE);
  ASSERT_EQ(inotify_rm_watch(in_.get(), wd), 0);
  Create("a");
  EXPECT_EQ(Events(), (std::vector<Event>{{wd, IN_IGNORED, 0, ""}}));
  const int again = Watch(dir_, IN_CREATE);
  EXPECT_GT(again, wd);
}

TEST_F(InotifyTest, OneShotEnds) {
  const int wd = Watch(dir_, IN_CREATE | IN_ONESHOT);
  Create("a");
  Create("b");
  EXPECT_EQ(Events(), (std::vector<Event>{{wd, IN_CREATE, 0, "a"}, {wd, IN_IGNORED, 0, ""}}));
}

TEST_F(InotifyTest, WatchingAgainReplacesOrAdds) {
  const int wd = Watch(dir_, IN_CREATE);
  EXPECT_EQ(Watch(dir_, IN_DELETE), wd);
  Create("a");
  unlink(Path("a").c_str());
  EXPECT_EQ(Events(), (std::vector<Event>{{wd, IN_DELETE, 0, "a"}}));
  EXPECT_EQ(Watch(dir_, IN_CREATE | IN_MASK_ADD), wd);
  Create("b");
  unlink(Path("b").c_str());
  EXPECT_EQ(Events().size(), 2u);
  EXPECT_FAILS(Watch(dir_, IN_CREATE | IN_MASK_CREATE), EEXIST);
}

TEST_F(InotifyTest, EqualNeighboursAreOne) {
  Create("a");
  const int wd = Watch(dir_, IN_MODIFY);
  const Owned f(open(Path("a").c_str(), O_WRONLY));
  for (int i = 0; i < 5; ++i) ASSERT_EQ(write(f.get(), "x", 1), 1);
  EXPECT_EQ(Events(), (std::vector<Event>{{wd, IN_MODIFY, 0, "a"}}));
}

TEST_F(InotifyTest, SmallBuffersAndFionread) {
  Watch(dir_, IN_CREATE);
  Create("name");
  int size = 0;
  ASSERT_EQ(ioctl(in_.get(), FIONREAD, &size), 0);
  EXPECT_EQ(size, 32);  // 16 and a padded name
  char buffer[64];
  EXPECT_FAILS(read(in_.get(), buffer, 31), EINVAL);
  EXPECT_EQ(read(in_.get(), buffer, 32), 32);
}

TEST_F(InotifyTest, PollAndBlockingRead) {
  test::SetNonblocking(in_.get(), false);
  const int wd = Watch(dir_, IN_CREATE);
  EXPECT_EQ(PollOne(in_.get(), POLLIN), 0);
  const Later create(40, [&] { Create("later"); });
  alignas(inotify_event) char buffer[512];
  EXPECT_EQ(read(in_.get(), buffer, sizeof(buffer)), 32);
  EXPECT_EQ(reinterpret_cast<inotify_event*>(buffer)->wd, wd);
}

TEST_F(InotifyTest, OverflowIsToldOnce) {
  const Owned a(open(Path("a").c_str(), O_CREAT | O_RDWR, 0600)), b(open(Path("b").c_str(), O_CREAT | O_RDWR, 0600));
  Watch(dir_, IN_MODIFY);
  for (int i = 0; i < 8300; ++i) {
    ASSERT_EQ(pwrite(a.get(), "x", 1, 0), 1);
    ASSERT_EQ(pwrite(b.get(), "x", 1, 0), 1);
  }
  const std::vector<Event> events = Events();
  ASSERT_EQ(events.size(), 16385u);
  EXPECT_EQ(events.back(), (Event{-1, IN_Q_OVERFLOW, 0, ""}));
}

TEST_F(InotifyTest, SymlinkIsFollowedUnlessAskedNot) {
  Create("a");
  ASSERT_EQ(symlink(Path("a").c_str(), Path("l").c_str()), 0);
  const int file = Watch(Path("a"), IN_ATTRIB);
  EXPECT_EQ(Watch(Path("l"), IN_ATTRIB), file);
  EXPECT_NE(Watch(Path("l"), IN_ATTRIB | IN_DONT_FOLLOW), file);
}

TEST_F(InotifyTest, CloseWhileEventsCome) {
  std::atomic<bool> stop{false};
  std::thread maker([&] {
    while (!stop) {
      Create("x");
      unlink(Path("x").c_str());
    }
  });
  for (int i = 0; i < 200; ++i) {
    const Owned in(inotify_init1(IN_NONBLOCK));
    const int wd = inotify_add_watch(in.get(), dir_.c_str(), IN_ALL_EVENTS);
    char buffer[256];
    (void)!read(in.get(), buffer, sizeof(buffer));
    if (i % 2 == 0) inotify_rm_watch(in.get(), wd);
  }
  stop = true;
  maker.join();
}

TEST_F(InotifyTest, DirectoriesHearBeforeTheirChildren) {
  Create("f");
  const int parent = Watch(dir_, IN_ATTRIB), child = Watch(Path("f"), IN_ATTRIB);
  ASSERT_EQ(chmod(Path("f").c_str(), 0640), 0);
  EXPECT_EQ(Events(), (std::vector<Event>{{parent, IN_ATTRIB, 0, "f"}, {child, IN_ATTRIB, 0, ""}}));
}

TEST_F(InotifyTest, FdinfoShowsTheWholeMask) {
  Watch(dir_, IN_MODIFY | IN_ONESHOT | IN_EXCL_UNLINK);
  char text[4096] = {};
  const Owned info(open(("/proc/self/fdinfo/" + std::to_string(in_.get())).c_str(), O_RDONLY));
  ASSERT_GT(read(info.get(), text, sizeof(text) - 1), 0);
  EXPECT_NE(std::string(text).find(" mask:84000002 "), std::string::npos) << text;
}

}  // namespace
