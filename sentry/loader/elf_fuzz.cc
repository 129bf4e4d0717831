// Fuzz target: any bytes as an executable, its `#!` line included; whatever is accepted is mapped and thrown away.
#include <cstddef>
#include <cstdint>

#include "platform/testing/fake_platform.h"
#include "sentry/loader/testing_files.h"

namespace {

struct World {
  rampart::platform::testing::FakePlatform platform;
  rampart::Ref<rampart::mm::MemoryFile> memory_file = rampart::loader::testing::NewMemoryFile();
  rampart::Ref<rampart::loader::Vdso> vdso = rampart::loader::Vdso::Create(memory_file, false).value();
  rampart::KernelCaller caller;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace loader = rampart::loader;
  static auto* world = new World();
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  loader::testing::FakeOpener opener;
  opener.host = false;
  opener.files["/self"] = bytes;  // a script or program may name itself as its interpreter
  const auto credentials = [](loader::ExecutableFile&) -> rampart::Result<loader::ExecCredentials> { return loader::ExecCredentials{}; };
  auto image = loader::LoadProgram(loader::LoadArgs{world->platform, world->memory_file, world->vdso, world->caller, opener,
                                                    rampart::MakeRef<loader::testing::BytesExecutable>(bytes), "fuzz", false, {"fuzz"}, {},
                                                    credentials});
  if (image.ok()) image->mm->Clear();
  return 0;
}
