#include "sentry/loader/initial_stack.h"

#include <elf.h>

#include <cstring>

namespace rampart::loader {
namespace {

constexpr char kPlatform[] = "x86_64";

uint64_t StringBytes(const std::vector<std::string>& strings) {
  uint64_t bytes = 0;
  for (const std::string& s : strings) bytes += s.size() + 1;
  return bytes;
}

}  // namespace

uint64_t InitialStack::SizeBound() const {
  const uint64_t strings = 8 + filename.size() + 1 + StringBytes(envp) + StringBytes(argv);
  const uint64_t vectors = (argv.size() + envp.size() + 3 + 2 * (auxv.size() + 4)) * 8;
  return strings + shift + sizeof kPlatform + random.size() + vectors + 64;
}

Result<void> InitialStack::Build(mm::MemoryManager& mm) {
  // Everything is composed here, at the end of a buffer whose end is the stack's top, and copied out at once.
  std::vector<std::byte> image(SizeBound());
  size_t at = image.size();  // where the last part begins
  const auto address = [&](size_t position) { return top - (image.size() - position); };
  const auto push = [&](const void* bytes, size_t n) {
    CHECK(n <= at);
    at -= n;
    std::memcpy(image.data() + at, bytes, n);
    return address(at);
  };
  const auto push_strings = [&](const std::vector<std::string>& strings) {
    std::vector<UserAddr> addresses(strings.size());
    for (size_t i = strings.size(); i-- > 0;) addresses[i] = push(strings[i].c_str(), strings[i].size() + 1);
    return addresses;
  };
  at -= 8;  // a null word ends the stack
  const UserAddr filename_at = push(filename.c_str(), filename.size() + 1);
  env_end = address(at);
  const std::vector<UserAddr> env_at = push_strings(envp);
  env_start = arg_end = address(at);
  const std::vector<UserAddr> arg_at = push_strings(argv);
  arg_start = address(at);

  at -= shift + (address(at - shift) & 15);
  const UserAddr platform_at = push(kPlatform, sizeof kPlatform);
  const UserAddr random_at = push(random.data(), random.size());

  full_auxv.clear();
  for (const auto& [type, value] : auxv) full_auxv.insert(full_auxv.end(), {type, value});
  full_auxv.insert(full_auxv.end(), {AT_RANDOM, random_at, AT_EXECFN, filename_at, AT_PLATFORM, platform_at, AT_NULL, 0});
  std::vector<uint64_t> words;
  words.push_back(argv.size());
  words.insert(words.end(), arg_at.begin(), arg_at.end());
  words.push_back(0);
  words.insert(words.end(), env_at.begin(), env_at.end());
  words.push_back(0);
  words.insert(words.end(), full_auxv.begin(), full_auxv.end());
  const size_t bytes = words.size() * 8;
  at -= address(at - bytes) & 15;
  stack_pointer = push(words.data(), bytes);
  return mm.CopyOutBytes(stack_pointer, std::span(image).subspan(at));
}

}  // namespace rampart::loader
