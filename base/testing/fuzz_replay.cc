// Replays a fuzzer's corpus without libFuzzer, so that every corpus file is a regression test under g++ too.
//   TARGET DIRECTORY…                       each file once
//   TARGET --random SECONDS [SEED] DIRECTORY…   then mutations of them, without feedback; an input that crashes is left in ./crash-input
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Input = std::vector<uint8_t>;

Input Load(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return Input((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
}

void Mutate(Input& input, const std::vector<Input>& corpus, std::mt19937_64& random) {
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  for (size_t i = 1 + below(6); i > 0; --i) {
    if (input.empty()) input.push_back(0);
    const size_t at = below(input.size());
    switch (below(6)) {
      case 0: input[at] = static_cast<uint8_t>(random()); break;
      case 1: input[at] = static_cast<uint8_t>(input[at] ^ (1u << below(8))); break;
      case 2: input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), static_cast<uint8_t>(random())); break;
      case 3: input.erase(input.begin() + static_cast<std::ptrdiff_t>(at)); break;
      case 4: {
        constexpr uint64_t kValues[] = {0, ~uint64_t{0}, 0x7fffffff, 0x80000000, uint64_t{1} << 63, 4096, 65535};
        const uint64_t value = kValues[below(std::size(kValues))];
        std::memcpy(&input[at], &value, std::min(input.size() - at, size_t{1} << below(4)));
        break;
      }
      default: {
        const Input& other = corpus[below(corpus.size())];
        if (other.empty()) break;
        const size_t from = below(other.size());
        const size_t length = std::min(other.size() - from, 1 + below(64));
        input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), other.begin() + static_cast<std::ptrdiff_t>(from),
                     other.begin() + static_cast<std::ptrdiff_t>(from + length));
        break;
      }
    }
  }
  if (input.size() > 1 << 16) input.resize(1 << 16);
}

void RunRandom(const std::vector<Input>& corpus, int seconds, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  size_t runs = 0;
  while (std::chrono::steady_clock::now() < end) {
    Input input = corpus[random() % corpus.size()];
    Mutate(input, corpus, random);
    std::ofstream("crash-input", std::ios::binary).write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
    LLVMFuzzerTestOneInput(input.data(), input.size());
    ++runs;
  }
  std::filesystem::remove("crash-input");
  std::printf("ran %zu random inputs\n", runs);
}

}  // namespace

int main(int argc, char** argv) {
  int seconds = 0;
  uint64_t seed = 1;
  int first = 1;
  if (argc > 2 && std::strcmp(argv[1], "--random") == 0) {
    seconds = std::atoi(argv[2]);
    first = 3;
    if (argc > 4) seed = std::strtoull(argv[first++], nullptr, 0);
  }
  std::vector<Input> corpus;
  for (int i = first; i < argc; ++i) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
      if (!entry.is_regular_file()) continue;
      corpus.push_back(Load(entry.path()));
      LLVMFuzzerTestOneInput(corpus.back().data(), corpus.back().size());
    }
  }
  std::printf("replayed %zu corpus files\n", corpus.size());
  if (seconds > 0 && !corpus.empty()) RunRandom(corpus, seconds, seed);
  return corpus.empty() ? 1 : 0;  // an empty corpus tests nothing
}
