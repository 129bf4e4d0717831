#include "sentry/loader/loader.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <random>

#include "platform/testing/fake_platform.h"
#include "sentry/loader/script.h"
#include "sentry/loader/testing_files.h"

namespace rampart::loader {
namespace {

using testing::BytesExecutable;
using testing::FakeOpener;
using testing::HostExecutable;

class LoaderTest : public ::testing::Test {
 protected:
  Result<LoadedImage> Load(Ref<ExecutableFile> file, std::string name, std::vector<std::string> argv, std::vector<std::string> envp = {}) {
    const auto credentials = [](ExecutableFile&) -> Result<ExecCredentials> { return ExecCredentials{1, 2, 3, 4, true}; };
    return LoadProgram(LoadArgs{platform_, memory_file_, vdso_, caller_, opener_, std::move(file), std::move(name), unreachable_, std::move(argv),
                                std::move(envp), credentials});
  }
  Result<LoadedImage> LoadHost(const std::string& path) {
    Ref<ExecutableFile> file = TRY(HostExecutable::Open(path));
    return Load(std::move(file), path, {path, "arg"}, {"A=b", "C=d"});
  }
  uint64_t Word(mm::MemoryManager& mm, UserAddr a) {
    uint64_t value = 0;
    CHECK(mm.CopyInBytes(a, std::as_writable_bytes(std::span(&value, 1))).ok());
    return value;
  }
  std::string String(mm::MemoryManager& mm, UserAddr a) { return mm.CopyInString(a, 4096, Errno::kEINVAL).value(); }
  // Checks the stack as a program would read it; returns the auxiliary vector.
  std::map<uint64_t, uint64_t> CheckStack(LoadedImage& image, const std::vector<std::string>& argv, const std::vector<std::string>& envp) {
    UserAddr at = image.regs.rsp;
    EXPECT_EQ(at % 16, 0u);
    EXPECT_EQ(Word(*image.mm, at), argv.size());
    for (const std::string& s : argv) EXPECT_EQ(String(*image.mm, Word(*image.mm, at += 8)), s);
    EXPECT_EQ(Word(*image.mm, at += 8), 0u);
    for (const std::string& s : envp) EXPECT_EQ(String(*image.mm, Word(*image.mm, at += 8)), s);
    EXPECT_EQ(Word(*image.mm, at += 8), 0u);
    std::map<uint64_t, uint64_t> auxv;
    for (at += 8; Word(*image.mm, at) != AT_NULL; at += 16) auxv[Word(*image.mm, at)] = Word(*image.mm, at + 8);
    return auxv;
  }

  platform::testing::FakePlatform platform_;
  Ref<mm::MemoryFile> memory_file_ = testing::NewMemoryFile();
  Ref<Vdso> vdso_ = Vdso::Create(memory_file_, true).value();
  KernelCaller caller_;
  FakeOpener opener_;
  bool unreachable_ = false;
};

TEST_F(LoaderTest, DynamicProgramOfThisHost) {
  auto image = LoadHost("/bin/true");
  ASSERT_TRUE(image.ok()) << ErrnoName(image.error());
  auto auxv = CheckStack(*image, {"/bin/true", "arg"}, {"A=b", "C=d"});
  EXPECT_EQ(auxv[AT_PAGESZ], 4096u);
  EXPECT_EQ(auxv[AT_UID], 1u);
  EXPECT_EQ(auxv[AT_EGID], 4u);
  EXPECT_EQ(auxv[AT_SECURE], 1u);
  EXPECT_EQ(String(*image->mm, auxv[AT_EXECFN]), "/bin/true");
  EXPECT_EQ(String(*image->mm, auxv[AT_PLATFORM]), "x86_64");
  // The headers are where AT_PHDR says; entry and base are in executable mappings.
  Elf64_Phdr first{};
  ASSERT_TRUE(image->mm->CopyInBytes(auxv[AT_PHDR], std::as_writable_bytes(std::span(&first, 1))).ok());
  EXPECT_EQ(first.p_type, static_cast<uint32_t>(PT_PHDR));
  EXPECT_EQ(image->mm->FindVma(auxv[AT_ENTRY])->prot, platform::Prot::kReadExec);
  EXPECT_EQ(image->mm->FindVma(image->regs.rip)->prot, platform::Prot::kReadExec);
  EXPECT_GE(image->regs.rip, auxv[AT_BASE]);
  uint32_t magic = 0;
  ASSERT_TRUE(image->mm->CopyInBytes(auxv[AT_BASE], std::as_writable_bytes(std::span(&magic, 1))).ok());
  EXPECT_EQ(magic, 0x464c457fu);
  ASSERT_TRUE(image->mm->CopyInBytes(auxv[AT_SYSINFO_EHDR], std::as_writable_bytes(std::span(&magic, 1))).ok());
  EXPECT_EQ(magic, 0x464c457fu);
  EXPECT_EQ(image->mm->FindVma(auxv[AT_SYSINFO_EHDR])->name, "[vdso]");
  EXPECT_EQ(image->mm->FindVma(image->regs.rsp)->name, "[stack]");
  EXPECT_EQ(image->mm->executable()->MappedName(), "/bin/true");
  EXPECT_EQ(image->mm->layout().auxv.size() % 2, 0u);
}

TEST_F(LoaderTest, PlacesAreRandomUnlessAskedNotTo) {
  const auto entry_of = [&](bool randomize) {
    const auto credentials = [](ExecutableFile&) -> Result<ExecCredentials> { return ExecCredentials{}; };
    LoadArgs args{platform_, memory_file_, vdso_, caller_, opener_, HostExecutable::Open("/bin/true").value(), "/bin/true", false, {"t"}, {},
                  credentials};
    args.randomize = randomize;
    auto image = LoadProgram(std::move(args));
    CHECK(image.ok());
    return std::pair(image->regs.rip, image->regs.rsp & ~uint64_t{0xfff});
  };
  EXPECT_NE(entry_of(true), entry_of(true));
  EXPECT_EQ(entry_of(false), entry_of(false));
}

TEST_F(LoaderTest, ScriptsRewriteTheArguments) {
  opener_.files["/s/inner"] = "#!/bin/true  -x  y \t\nrest";
  auto image = Load(MakeRef<BytesExecutable>("#! /s/inner\n"), "./outer", {"zero", "one"});
  ASSERT_TRUE(image.ok()) << ErrnoName(image.error());
  auto auxv = CheckStack(*image, {"/bin/true", "-x  y", "/s/inner", "./outer", "one"}, {});
  EXPECT_EQ(String(*image->mm, auxv[AT_EXECFN]), "./outer");
  unreachable_ = true;
  EXPECT_EQ(Load(MakeRef<BytesExecutable>("#! /s/inner\n"), "/dev/fd/3", {"a"}).error(), Errno::kENOENT);
}

TEST_F(LoaderTest, ScriptsMayNestFiveDeep) {
  for (int i = 1; i <= 6; ++i) {
    opener_.files["/s/" + std::to_string(i)] = "#!" + (i == 1 ? std::string("/bin/true") : "/s/" + std::to_string(i - 1)) + "\n";
  }
  EXPECT_TRUE(Load(MakeRef<BytesExecutable>(opener_.files["/s/5"]), "x", {"x"}).ok());
  EXPECT_EQ(Load(MakeRef<BytesExecutable>(opener_.files["/s/6"]), "x", {"x"}).error(), Errno::kELOOP);
}

TEST(ScriptLine, FollowsLinux) {
  const auto parse = [](std::string text) { return ParseScriptLine(std::as_bytes(std::span(text))); };
  EXPECT_FALSE(parse("echo")->has_value());
  EXPECT_EQ((*parse("#!/bin/sh\n"))->interpreter, "/bin/sh");
  EXPECT_FALSE((*parse("#!/bin/sh \t \n"))->argument);
  EXPECT_EQ(*(*parse("#!/usr/bin/env -S a  b"))->argument, "-S a  b");
  EXPECT_EQ(parse("#!\n").error(), Errno::kENOEXEC);
  EXPECT_EQ(parse("#!   ").error(), Errno::kENOEXEC);
  EXPECT_EQ(parse("#!/" + std::string(300, 'a')).error(), Errno::kENOEXEC);
  EXPECT_EQ((*parse("#!/bin/x " + std::string(300, 'a')))->argument->size(), kBinprmBufSize - 2 - 7);
}

TEST_F(LoaderTest, ArgumentLimits) {
  const std::string big(kMaxArgStringLength - 1, 'x');
  EXPECT_TRUE(Load(HostExecutable::Open("/bin/true").value(), "t", {"t", big}).ok());
  EXPECT_EQ(Load(HostExecutable::Open("/bin/true").value(), "t", {"t", big + "x"}).error(), Errno::kE2BIG);
  EXPECT_EQ(Load(HostExecutable::Open("/bin/true").value(), "t", std::vector<std::string>(60, big)).error(), Errno::kE2BIG);
  EXPECT_EQ(ArgumentSpaceLimit(8 << 20), uint64_t{2} << 20);
  EXPECT_EQ(ArgumentSpaceLimit(0), uint64_t{128} << 10);
  EXPECT_EQ(ArgumentSpaceLimit(abi::kRlimInfinity), uint64_t{6} << 20);
  // Almost the whole limit is accepted.
  std::vector<std::string> many(47, big);
  EXPECT_TRUE(Load(HostExecutable::Open("/bin/true").value(), "t", many).ok());
}

TEST_F(LoaderTest, WrongFilesGiveTheRightErrors) {
  EXPECT_EQ(Load(MakeRef<BytesExecutable>(""), "x", {"x"}).error(), Errno::kENOEXEC);
  EXPECT_EQ(Load(MakeRef<BytesExecutable>("hello"), "x", {"x"}).error(), Errno::kENOEXEC);
  EXPECT_EQ(Load(MakeRef<BytesExecutable>("\x7f" "ELF"), "x", {"x"}).error(), Errno::kENOEXEC);
  std::string elf = testing::ReadHostFile("/bin/true");
  EXPECT_TRUE(Load(MakeRef<BytesExecutable>(elf), "x", {"x"}).ok());  // from memory, too
  std::string wrong = elf;
  wrong[EI_CLASS] = ELFCLASS32;
  EXPECT_EQ(Load(MakeRef<BytesExecutable>(wrong), "x", {"x"}).error(), Errno::kENOEXEC);
  const size_t interpreter = elf.find("/lib64/ld-linux");
  ASSERT_NE(interpreter, std::string::npos);
  wrong = elf;
  std::memcpy(wrong.data() + interpreter, "/no/such", 9);
  EXPECT_EQ(Load(MakeRef<BytesExecutable>(wrong), "x", {"x"}).error(), Errno::kENOENT);
  opener_.files["/lib64/ld-linux-x86-64.so.2"] = "not an ELF, but long enough to be taken for one if nobody looked at all of it";
  EXPECT_EQ(Load(MakeRef<BytesExecutable>(elf), "x", {"x"}).error(), Errno::kELIBBAD);
}

TEST_F(LoaderTest, MutatedFilesNeverCrash) {
  const std::string elf = testing::ReadHostFile("/bin/true");
  std::mt19937 rng(7);
  for (int i = 0; i < 3000; ++i) {
    std::string mutated = elf;
    const int changes = 1 + static_cast<int>(rng() % 4);
    for (int c = 0; c < changes; ++c) {
      // Headers and program headers: where it matters. Interesting values as often as random ones.
      const size_t at = rng() % 900;
      const uint64_t values[] = {0, 1, 0xfff, 0x1000, UINT32_MAX, UINT64_MAX, UINT64_MAX - 4095, uint64_t{1} << 47, uint64_t{1} << 63};
      const uint64_t value = rng() % 2 == 0 ? rng() : values[rng() % std::size(values)];
      std::memcpy(mutated.data() + (at & ~size_t{7}), &value, rng() % 2 == 0 ? 8 : 2);
    }
    if (rng() % 8 == 0) mutated.resize(rng() % mutated.size());
    auto image = Load(MakeRef<BytesExecutable>(std::move(mutated)), "x", {"x"});
    if (image.ok()) image->mm->Clear();
  }
}

TEST_F(LoaderTest, NothingIsLeftBehind) {
  const uint64_t before = memory_file_->usage().used_bytes;
  {
    auto image = LoadHost("/bin/true");
    ASSERT_TRUE(image.ok());
    EXPECT_GT(memory_file_->usage().used_bytes, before);
  }
  EXPECT_EQ(memory_file_->usage().used_bytes, before);
}

}  // namespace
}  // namespace rampart::loader
