#include "runner/runsc/runsc.h"

int main(int argc, char** argv) { return rampart::runner::RunscRole(argc, argv); }
