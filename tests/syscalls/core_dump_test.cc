// Core dumps: when there is one, and what is in it.
#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/procfs.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <vector>


namespace {

volatile uint64_t g_mark = 0x6d61726b6d61726b;

class CoreDump : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream file("/proc/sys/kernel/core_pattern");
    std::string pattern;
    std::getline(file, pattern);
    std::ifstream uses("/proc/sys/kernel/core_uses_pid");
    std::string with_pid;
    std::getline(uses, with_pid);
    if (pattern != "core" || with_pid != "0") GTEST_SKIP() << "core_pattern is " << pattern;
    char name[] = "/tmp/core_dump_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    core_ = directory_ + "/core";
  }
  void TearDown() override {
    if (directory_.empty()) return;
    unlink(core_.c_str());
    rmdir(directory_.c_str());
  }
  // Runs `body` in a child with this limit for cores; the wait status.
  int Run(rlim_t limit, const std::function<void()>& body) {
    const pid_t pid = fork();
    if (pid == 0) {
      const rlimit core{limit, RLIM_INFINITY};
      if (chdir(directory_.c_str()) != 0 || setrlimit(RLIMIT_CORE, &core) != 0) _exit(99);
      body();
      _exit(98);
    }
    int status = -1;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return status;
  }
  std::vector<char> Content() {
    std::ifstream file(core_, std::ios::binary | std::ios::ate);  // large: in one piece
    std::vector<char> bytes(file ? static_cast<size_t>(file.tellg()) : 0);
    file.seekg(0);
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return bytes;
  }
  std::string directory_, core_;
};

struct Note {
  std::string owner;
  uint32_t type;
  std::vector<char> content;
};

template <class T>
T At(const std::vector<char>& bytes, size_t offset) {
  T value{};
  if (offset + sizeof(T) <= bytes.size()) memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

std::vector<Elf64_Phdr> Headers(const std::vector<char>& core) {
  const auto elf = At<Elf64_Ehdr>(core, 0);
  std::vector<Elf64_Phdr> headers;
  for (size_t i = 0; i < elf.e_phnum; ++i) headers.push_back(At<Elf64_Phdr>(core, elf.e_phoff + i * sizeof(Elf64_Phdr)));
  return headers;
}

std::vector<Note> Notes(const std::vector<char>& core) {
  std::vector<Note> notes;
  for (const Elf64_Phdr& header : Headers(core)) {
    if (header.p_type != PT_NOTE) continue;
    for (size_t at = header.p_offset; at < header.p_offset + header.p_filesz;) {
      const auto head = At<Elf64_Nhdr>(core, at);
      at += sizeof(head);
      Note note{std::string(core.data() + at, head.n_namesz - 1), head.n_type, {}};
      at += (head.n_namesz + 3u) & ~3u;
      note.content.assign(core.data() + at, core.data() + at + head.n_descsz);
      at += (head.n_descsz + 3u) & ~3u;
      notes.push_back(std::move(note));
    }
  }
  return notes;
}

size_t Count(const std::vector<Note>& notes, uint32_t type) {
  size_t n = 0;
  for (const Note& note : notes) n += note.type == type ? 1 : 0;
  return n;
}

TEST_F(CoreDump, SaysSoAndIsThere) {
  const int status = Run(RLIM_INFINITY, [] { abort(); });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGABRT);
  EXPECT_TRUE(WCOREDUMP(status));
  struct stat st {};
  ASSERT_EQ(stat(core_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777u, 0600u);
}

TEST_F(CoreDump, WaitidSaysDumped) {
  const pid_t pid = fork();
  if (pid == 0) {
    const rlimit core{RLIM_INFINITY, RLIM_INFINITY};
    if (chdir(directory_.c_str()) != 0 || setrlimit(RLIMIT_CORE, &core) != 0) _exit(99);
    raise(SIGQUIT);
    _exit(98);
  }
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED), 0);
  EXPECT_EQ(info.si_code, CLD_DUMPED);
  EXPECT_EQ(info.si_status, SIGQUIT);
}

TEST_F(CoreDump, NoneWhereNotWanted) {
  EXPECT_EQ(Run(0, [] { abort(); }), SIGABRT);
  EXPECT_EQ(Run(RLIM_INFINITY, [] { raise(SIGTERM); }), SIGTERM);  // not of that kind
  EXPECT_EQ(Run(RLIM_INFINITY, [] {
    prctl(PR_SET_DUMPABLE, 0);
    abort();
  }), SIGABRT);
  EXPECT_NE(access(core_.c_str(), F_OK), 0);
}

TEST_F(CoreDump, NotesAndMemory) {
  const int status = Run(RLIM_INFINITY, [] {
    g_mark = 0x1234567890abcdef;
    std::thread([] { pause(); }).detach();
    std::thread([] { pause(); }).detach();
    usleep(50000);
    volatile uintptr_t nowhere = 0x18;  // volatile: the compiler must not know that nothing is there
    *reinterpret_cast<volatile int*>(nowhere) = 1;
  });
  ASSERT_TRUE(WCOREDUMP(status));
  const std::vector<char> core = Content();
  const auto elf = At<Elf64_Ehdr>(core, 0);
  ASSERT_EQ(memcmp(elf.e_ident, ELFMAG, SELFMAG), 0);
  EXPECT_EQ(elf.e_type, ET_CORE);
  const std::vector<Note> notes = Notes(core);
  EXPECT_EQ(Count(notes, NT_PRSTATUS), 3u);
  EXPECT_EQ(Count(notes, NT_FPREGSET), 3u);
  EXPECT_EQ(Count(notes, NT_X86_XSTATE), 3u);
  EXPECT_EQ(Count(notes, NT_PRPSINFO), 1u);
  EXPECT_EQ(Count(notes, NT_AUXV), 1u);
  EXPECT_EQ(Count(notes, NT_FILE), 1u);
  ASSERT_FALSE(notes.empty());
  ASSERT_EQ(notes[0].type, static_cast<uint32_t>(NT_PRSTATUS));
  ASSERT_EQ(notes[0].content.size(), sizeof(prstatus_t));
  const auto first = At<prstatus_t>(notes[0].content, 0);
  EXPECT_EQ(first.pr_cursig, SIGSEGV);
  for (const Note& note : notes) {
    if (note.type != NT_SIGINFO) continue;
    const auto info = At<siginfo_t>(note.content, 0);
    EXPECT_EQ(info.si_signo, SIGSEGV);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(info.si_addr), 0x18u);
  }
  const auto at = reinterpret_cast<uintptr_t>(&g_mark);
  uint64_t mark = 0;
  for (const Elf64_Phdr& header : Headers(core)) {
    if (header.p_type == PT_LOAD && at >= header.p_vaddr && at < header.p_vaddr + header.p_filesz) {
      mark = At<uint64_t>(core, header.p_offset + (at - header.p_vaddr));
    }
  }
  EXPECT_EQ(mark, 0x1234567890abcdefu);
}

TEST_F(CoreDump, WhatIsNotToBeDumpedIsNotThere) {
  constexpr size_t kLength = 16384;
  auto* const area = static_cast<char*>(mmap(nullptr, 2 * kLength, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(area, MAP_FAILED);
  const int status = Run(RLIM_INFINITY, [&] {
    memset(area, 0x5a, 2 * kLength);
    if (madvise(area, 2 * kLength, MADV_DONTDUMP) != 0 || madvise(area + kLength, kLength, MADV_DODUMP) != 0) _exit(97);
    abort();
  });
  ASSERT_TRUE(WCOREDUMP(status));
  const std::vector<char> core = Content();
  const auto dumped = [&](const char* at) {
    const auto address = reinterpret_cast<uintptr_t>(at);
    for (const Elf64_Phdr& header : Headers(core)) {
      if (header.p_type == PT_LOAD && address >= header.p_vaddr && address < header.p_vaddr + header.p_filesz) return true;
    }
    return false;
  };
  EXPECT_FALSE(dumped(area));
  EXPECT_FALSE(dumped(area + kLength - 1));
  EXPECT_TRUE(dumped(area + kLength));
  munmap(area, 2 * kLength);
}

TEST_F(CoreDump, TheLimitCutsIt) {
  const int status = Run(16384, [] { abort(); });
  EXPECT_TRUE(WCOREDUMP(status));
  struct stat st {};
  ASSERT_EQ(stat(core_.c_str(), &st), 0);
  EXPECT_LE(st.st_size, 16384);
}

TEST_F(CoreDump, TakesAnOldOnesPlaceAndFollowsNoLink) {
  const std::string target = directory_ + "/target";
  ASSERT_EQ(symlink(target.c_str(), core_.c_str()), 0);
  EXPECT_TRUE(WCOREDUMP(Run(RLIM_INFINITY, [] { abort(); })));
  EXPECT_NE(access(target.c_str(), F_OK), 0);
  struct stat st {};
  ASSERT_EQ(lstat(core_.c_str(), &st), 0);
  EXPECT_TRUE(S_ISREG(st.st_mode));
}

}  // namespace
