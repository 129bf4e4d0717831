#include "sentry/loader/loader.h"

#include <cpuid.h>
#include <elf.h>
#include <sys/auxv.h>

#include <algorithm>
#include <array>

#include "base/safe_math.h"
#include "sentry/loader/address_layout.h"
#include "sentry/loader/elf_image.h"
#include "sentry/loader/initial_stack.h"
#include "sentry/loader/map_image.h"
#include "sentry/loader/script.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

namespace rampart::loader {
namespace {

using platform::Prot;

constexpr int kMaxScriptDepth = 5;
constexpr uint64_t kInitialStackRoom = 128 << 10;  // Linux's stack_expand
constexpr uint64_t kUserCs = 0x33, kUserSs = 0x2b, kInitialFlags = 0x202;

// The first bytes of a file, as many as there are.
Result<std::vector<std::byte>> ReadStart(ExecutableFile& file) {
  std::vector<std::byte> start(kBinprmBufSize);
  size_t have = 0;
  while (have < start.size()) {
    const size_t n = TRY(file.PRead(std::span(start).subspan(have), have));
    if (n == 0) break;
    have += std::min(n, start.size() - have);
  }
  start.resize(have);
  return start;
}

// Follows `#!` lines until args.file is an ELF, rewriting args.argv.
Result<void> ResolveScripts(LoadArgs& args) {
  std::string path = args.filename;
  for (int depth = 0;; ++depth) {
    if (depth > kMaxScriptDepth) return Errno::kELOOP;
    const std::vector<std::byte> start = TRY(ReadStart(*args.file));
    if (LooksLikeElf(start)) return Ok();
    const std::optional<ScriptLine> line = TRY(ParseScriptLine(start));
    if (!line) return Errno::kENOEXEC;
    // The interpreter will open the script by this name, and could not.
    if (depth == 0 && args.filename_unreachable) return Errno::kENOENT;
    std::vector<std::string> argv{line->interpreter};
    if (line->argument) argv.push_back(*line->argument);
    argv.push_back(path);
    if (!args.argv.empty()) argv.insert(argv.end(), std::make_move_iterator(args.argv.begin() + 1), std::make_move_iterator(args.argv.end()));
    args.argv = std::move(argv);
    args.file = TRY(args.opener.OpenExecutable(line->interpreter));
    path = line->interpreter;
  }
}

Result<void> CheckArguments(const LoadArgs& args) {
  const uint64_t limit = ArgumentSpaceLimit(args.caller.limit(abi::Resource::kStack));
  const uint64_t pointers = (args.argv.size() + args.envp.size()) * 8;
  if (pointers >= limit) return Errno::kE2BIG;
  uint64_t bytes = args.filename.size() + 1;
  for (const auto* strings : {&args.argv, &args.envp}) {
    for (const std::string& s : *strings) {
      if (s.size() + 1 > kMaxArgStringLength) return Errno::kE2BIG;
      bytes += s.size() + 1;
    }
  }
  return bytes > limit - pointers ? Result<void>(Errno::kE2BIG) : Ok();
}

uint64_t HardwareCapabilities() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 ? d : 0;
}

struct Program {
  ElfImage image;
  std::optional<ElfImage> interpreter;
  RefPtr<ExecutableFile> interpreter_file;
};

Result<Program> ReadProgram(LoadArgs& args, uint64_t max_address) {
  Program program{TRY(ReadElf(*args.file, Errno::kENOEXEC, max_address)), std::nullopt, nullptr};
  if (program.image.interpreter) {
    program.interpreter_file = TRY(args.opener.OpenExecutable(*program.image.interpreter));
    program.interpreter = TRY(ReadElf(*program.interpreter_file, Errno::kELIBBAD, max_address));
  }
  return program;
}

Result<UserAddr> MapVdso(mm::MemoryManager& mm, const Caller& caller, Vdso& vdso) {
  mm::MMapArgs args;
  const uint64_t vvar = vdso.vvar_bytes();
  // Room for both, in one piece; then each in its place.
  args.length = vvar + vdso.code_bytes();
  args.prot = Prot::kNone;
  args.noreserve = true;
  const UserAddr start = TRY(mm.MMap(caller, args));
  args.address = start;
  args.fixed = true;
  args.file = vdso.mappable();
  args.length = vvar;
  args.prot = Prot::kRead;
  args.max_prot = Prot::kRead;
  args.special_name = "[vvar]";
  TRY(mm.MMap(caller, args));
  args.address = start + vvar;
  args.length = vdso.code_bytes();
  args.offset = vvar;
  args.prot = Prot::kReadExec;
  args.max_prot = Prot::kAll;  // a debugger may plant breakpoints in its own copy
  args.special_name = "[vdso]";
  TRY(mm.MMap(caller, args));
  return start + vvar;
}

Result<void> MapStack(mm::MemoryManager& mm, const Caller& caller, const AddressLayout& layout, uint64_t needed, bool executable) {
  const uint64_t limit = caller.limit(abi::Resource::kStack);
  mm::MMapArgs args;
  args.length = PageUp(needed + std::min(kInitialStackRoom, std::max(limit, kPageSize)));
  args.address = layout.stack_top - args.length;
  args.prot = executable ? Prot::kAll : Prot::kReadWrite;
  args.fixed = true;
  args.grows_down = true;
  args.special_name = "[stack]";
  TRY(mm.MMap(caller, args));
  return Ok();
}

// The heap begins behind the image; behind a loader that runs by itself it would lie among the libraries, so it goes where programs go.
UserAddr HeapStart(const ElfImage& image, const MappedImage& mapped, const AddressLayout& layout) {
  UserAddr start = PageUp(mapped.end);
  if (image.position_independent && !image.interpreter) start = layout.pie_base;
  return start + layout.brk_slack;
}

std::vector<std::pair<uint64_t, uint64_t>> AuxiliaryVector(const Program& program, const MappedImage& mapped, UserAddr interpreter_base,
                                                           UserAddr vdso, const ExecCredentials& who) {
  const uint64_t headers = program.image.HeadersAddress();
  const uint64_t min_signal_stack = getauxval(AT_MINSIGSTKSZ);
  return {
      {AT_SYSINFO_EHDR, vdso},
      {AT_MINSIGSTKSZ, min_signal_stack != 0 ? min_signal_stack : 2048},
      {AT_HWCAP, HardwareCapabilities()},
      {AT_PAGESZ, kPageSize},
      {AT_CLKTCK, 100},
      {AT_PHDR, headers == 0 ? 0 : headers + mapped.bias},
      {AT_PHENT, sizeof(Elf64_Phdr)},
      {AT_PHNUM, program.image.header_count},
      {AT_BASE, interpreter_base},
      {AT_FLAGS, 0},
      {AT_ENTRY, program.image.entry + mapped.bias},
      {AT_UID, who.uid},
      {AT_EUID, who.euid},
      {AT_GID, who.gid},
      {AT_EGID, who.egid},
      {AT_SECURE, who.secure ? 1 : 0},
      {AT_HWCAP2, getauxval(AT_HWCAP2) & 2},  // FSGSBASE instructions
  };
}

abi::UserRegs InitialRegisters(UserAddr entry, UserAddr stack_pointer) {
  abi::UserRegs regs{};
  regs.rip = entry;
  regs.rsp = stack_pointer;
  regs.cs = kUserCs;
  regs.ss = kUserSs;
  regs.eflags = kInitialFlags;
  regs.orig_rax = ~uint64_t{0};
  return regs;
}

}  // namespace

uint64_t ArgumentSpaceLimit(uint64_t stack_limit) {
  return std::max<uint64_t>(std::min<uint64_t>(stack_limit / 4, 6 << 20), 128 << 10);
}

Result<LoadedImage> LoadProgram(LoadArgs args) {
  if (args.argv.empty()) args.argv.emplace_back();
  TRY(ResolveScripts(args));
  TRY(CheckArguments(args));
  const uint64_t max_address = args.platform.capabilities().max_user_address;
  Program program = TRY(ReadProgram(args, max_address));
  const ExecCredentials who = TRY(args.credentials(*args.file));

  const ExecRandom random = TRY(ExecRandom::Draw(args.randomize));
  const uint64_t stack_limit = args.caller.limit(abi::Resource::kStack);
  const AddressLayout layout = ChooseLayout(random, max_address, stack_limit);
  Ref<mm::MemoryManager> mm = TRY(mm::MemoryManager::Create(args.platform, args.memory_file));
  mm->SetMmapBase(layout.mmap_base);
  mm->SetGrowthLimits(stack_limit, args.caller.limit(abi::Resource::kAs));

  RefPtr<mm::MappingIdentity> program_identity = TRY(args.file->BecomeProgram());

  InitialStack stack;
  stack.top = layout.stack_top;
  stack.argv = std::move(args.argv);
  stack.envp = std::move(args.envp);
  stack.filename = args.filename;
  stack.random = random.auxv;
  stack.shift = layout.stack_shift;
  const bool executable_stack = program.image.executable_stack.value_or(false);
  // Bound with the auxiliary vector, which is not known yet.
  TRY(MapStack(*mm, args.caller, layout, stack.SizeBound() + 1024, executable_stack));

  const bool at_pie_base = program.image.position_independent && program.image.interpreter.has_value();
  const MappedImage mapped = TRY(MapImage(*mm, args.caller, *args.file, program.image, at_pie_base ? layout.pie_base : 0));
  UserAddr entry = program.image.entry + mapped.bias;
  UserAddr interpreter_base = 0;
  if (program.interpreter) {
    const MappedImage loader = TRY(MapImage(*mm, args.caller, *program.interpreter_file, *program.interpreter, 0));
    interpreter_base = loader.bias;
    entry = program.interpreter->entry + loader.bias;
  }
  if (entry >= max_address) return Errno::kEINVAL;
  const UserAddr vdso = TRY(MapVdso(*mm, args.caller, *args.vdso));
  mm->SetBrkStart(HeapStart(program.image, mapped, layout));

  stack.auxv = AuxiliaryVector(program, mapped, interpreter_base, vdso, who);
  TRY(stack.Build(*mm));

  mm::ImageLayout image_layout = mm->layout();
  image_layout.start_code = mapped.start_code;
  image_layout.end_code = mapped.end_code;
  image_layout.start_data = mapped.start_data;
  image_layout.end_data = mapped.end_data;
  image_layout.start_stack = stack.stack_pointer;
  image_layout.arg_start = stack.arg_start;
  image_layout.arg_end = stack.arg_end;
  image_layout.env_start = stack.env_start;
  image_layout.env_end = stack.env_end;
  image_layout.vdso = vdso;
  image_layout.auxv = stack.full_auxv;
  mm->SetLayout(std::move(image_layout));
  mm->SetExecutable(std::move(program_identity));
  return LoadedImage{std::move(mm), InitialRegisters(entry, stack.stack_pointer), std::move(args.file), executable_stack};
}

}  // namespace rampart::loader
