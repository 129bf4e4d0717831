// Part of every program of a sanitizer's build: its options, since the sandbox's processes start with an empty environment. Leaks, symbols and
// alternate stacks need calls that the filters refuse; reports name module and offset, which tools/symbolize turns into lines.
// Lock order is not watched: two directories are locked in the order of the tree, which renaming changes, and TSan takes that for a cycle.
#define RAMPART_OPTIONS(name, text) \
  extern "C" __attribute__((used, visibility("default"), no_sanitize("address", "thread", "undefined"))) const char* name() { return text; }

// SAFETY: the runtimes look these names up; they are called before main, and return constants.
RAMPART_OPTIONS(__asan_default_options, "detect_leaks=0:use_sigaltstack=0:symbolize=0:detect_stack_use_after_return=0:handle_segv=1:allow_user_segv_handler=1:exitcode=86")
RAMPART_OPTIONS(__ubsan_default_options, "print_stacktrace=0:symbolize=0")
RAMPART_OPTIONS(__tsan_default_options, "symbolize=0:use_sigaltstack=0:report_signal_unsafe=0:die_after_fork=0:second_deadlock_stack=1:exitcode=86:history_size=4:detect_deadlocks=0:halt_on_error=1")
// Debian's Abseil keeps a graph of its locks under a spin lock of its own, which TSan does not see.
RAMPART_OPTIONS(__tsan_default_suppressions, "called_from_lib:libabsl_graphcycles_internal.so\n")
