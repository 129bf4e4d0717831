// What entry.S and the C++ side agree on: the memory of one virtual processor as ring 0 sees it. Constants only.
//
// Each processor has a window of four pages at KERNEL_BASE + index * VCPU_STRIDE: the entry code (one physical page, shared, read-only and executable),
// its data (registers, TSS, GDT, stacks), its IDT, its table of answers. Ring 0 finds its data relative to RIP, so there is no SWAPGS.
#pragma once

#define KERNEL_BASE 0xffffff8000000000
#define VCPU_STRIDE 0x4000
#define DATA_OFFSET 0x1000
#define IDT_OFFSET 0x2000
#define ANSWERS_OFFSET 0x3000

// Selectors, as Linux has them.
#define KERNEL_CS 0x10
#define KERNEL_SS 0x18
#define USER_CS32 0x23
#define USER_SS 0x2b
#define USER_CS 0x33
#define TSS_SELECTOR 0x40

// In the data page. The register frame is abi::UserRegs; the CPU pushes its exception frame right into it: TSS.rsp0 = DATA_FRAME_TOP.
#define DATA_REGS 0x108
#define REGS_RAX 80
#define REGS_ORIG_RAX 120
#define REGS_RIP 128
#define REGS_CS 136
#define REGS_EFLAGS 144
#define REGS_RSP 152
#define REGS_SS 160
#define REGS_FS_BASE 168
#define REGS_GS_BASE 176
#define REGS_DS 184
#define REGS_ES 192
#define REGS_FS 200
#define REGS_GS 208
#define DATA_FRAME_TOP (DATA_REGS + REGS_FS_BASE)
#define DATA_VECTOR 0x1e0
#define DATA_BROKEN 0x1e4
#define DATA_CR2 0x1e8
#define DATA_RESUME 0x1f0
#define DATA_CR3 0x1f8
#define DATA_DR6 0x200
#define DATA_SCRATCH 0x208
#define DATA_MXCSR 0x210
#define DATA_FCW 0x214
#define DATA_FSW 0x216
#define DATA_ANSWERED 0x218
#define DATA_VALID 0x400
#define DATA_STACKS 0x800
#define STACK_SIZE 0x100
#define DATA_TSS 0xd00
#define DATA_GDT 0xe00

#define ANSWER_COUNT 512

// DATA_VECTOR beyond the CPU's own.
#define VECTOR_KICK 32
#define VECTOR_COUNT 33
#define VECTOR_SYSCALL 256
#define VECTOR_SYSCALL32 257

// DATA_RESUME.
#define RESUME_IRET 1
#define RESUME_CR3 2
#define RESUME_SEGMENTS 4
#define RESUME_BASES 8
