// The task whose thread this is: for the few things of Linux that depend on who asks and are asked without a Caller (a signalfd's readiness).
#pragma once

namespace rampart::kernel {

class Task;

// Null on a thread that runs no task. The task stays alive as long as its thread runs it.
Task* CurrentTask();

}  // namespace rampart::kernel
