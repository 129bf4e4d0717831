// Abseil's answer to how fast the processor is, in place of its own, which sleeps for 3 ms to measure it where /sys does not say (in every
// virtual machine). absl::Mutex needs it to ask for a waiting thread's priority about once a second, so any plausible number will do.
// The linker puts it in (--wrap, CMakeLists.txt) where Abseil is linked statically.
extern "C" double __wrap__ZN4absl7debian313base_internal19NominalCPUFrequencyEv();  // NOLINT(bugprone-reserved-identifier)

extern "C" double __wrap__ZN4absl7debian313base_internal19NominalCPUFrequencyEv() { return 2e9; }
