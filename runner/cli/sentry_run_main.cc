#include "runner/cli/roles.h"

int main(int argc, char** argv) { return rampart::runner::RunRole(argc, argv); }
