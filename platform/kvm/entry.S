// Ring 0 of the guest: takes system calls, exceptions and the kick interrupt, saves all registers into the processor's data page and
// stops with HLT, which leaves KVM_RUN; goes on from there with whatever registers the Sentry put into the page.
//
// One page, copied to guest memory, mapped once for each virtual processor before that processor's data (layout.h), so that
// DATA(x) is relative to RIP. It touches no user memory and trusts no user register. README.md shows the paths.
#include "platform/kvm/layout.h"

// All that an exception's stub has not pushed yet; the order is UserRegs', from its end.
.macro PUSH_FROM_RSI
  pushq %rsi
  pushq %rdx
  pushq %rcx
  pushq %rax
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r11
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
.endm

#define DATA(offset) (.Lbegin + DATA_OFFSET + (offset))(%rip)
#define REG(offset) DATA(DATA_REGS + (offset))
#define TRAP_FLAG 0x100

  .section .rodata.rampart_kvm_entry, "a", @progbits
  .balign 64
  .globl rampart_kvm_text_begin
rampart_kvm_text_begin:
.Lbegin:

// --- SYSCALL. rcx = rip, r11 = flags; FMASK has cleared all flags. rsp is the application's until the lea.
  .globl rampart_kvm_syscall
rampart_kvm_syscall:
  movq %rsp, DATA(DATA_SCRATCH)
  cmpq $ANSWER_COUNT, %rax
  jae .Lsyscall_exit
  leaq DATA(DATA_VALID), %rsp
  cmpb $0, (%rsp,%rax)
  je .Lsyscall_exit
  testl $TRAP_FLAG, %r11d
  jnz .Lsyscall_exit
  leaq (.Lbegin + ANSWERS_OFFSET)(%rip), %rsp
  movq (%rsp,%rax,8), %rax
  incq DATA(DATA_ANSWERED)
  movq DATA(DATA_SCRATCH), %rsp
  sysretq
.Lsyscall_exit:
  leaq DATA(DATA_FRAME_TOP), %rsp
  pushq $USER_SS
  pushq DATA(DATA_SCRATCH)
  pushq %r11
  pushq $USER_CS
  pushq %rcx
  pushq %rax
  pushq %rdi
  movl $VECTOR_SYSCALL, DATA(DATA_VECTOR)
  jmp .Lsave

// SYSCALL in 32-bit code (AMD only).
  .globl rampart_kvm_syscall32
rampart_kvm_syscall32:
  movq %rsp, DATA(DATA_SCRATCH)
  leaq DATA(DATA_FRAME_TOP), %rsp
  pushq $USER_SS
  pushq DATA(DATA_SCRATCH)
  pushq %r11
  pushq $USER_CS32
  pushq %rcx
  pushq %rax
  pushq %rdi
  movl $VECTOR_SYSCALL32, DATA(DATA_VECTOR)
  jmp .Lsave

// --- Exceptions: rsp is rsp0, the CPU's frame is already in its place.
.Lexception:
  PUSH_FROM_RSI
  movl %edi, DATA(DATA_VECTOR)
  leaq REG(0), %rax
  cmpq %rax, %rsp
  jne .Lbroken
  movq %cr2, %rax
  movq %rax, DATA(DATA_CR2)
  cmpl $16, %edi
  je .Lfloating_point
  cmpl $19, %edi
  jne .Lleave
.Lfloating_point:
  fnstcw DATA(DATA_FCW)
  fnstsw DATA(DATA_FSW)
  stmxcsr DATA(DATA_MXCSR)
  jmp .Lleave

// An exception in ring 0: none is possible unless something is broken. The Sentry makes the processor anew.
.Lbroken:
  movl $1, DATA(DATA_BROKEN)
1:
  hlt
  jmp 1b

.Lsave:
  PUSH_FROM_RSI
.Lleave:
  rdfsbase %rax
  movq %rax, REG(REGS_FS_BASE)
  rdgsbase %rax
  movq %rax, REG(REGS_GS_BASE)
  movl %ds, %eax
  movq %rax, REG(REGS_DS)
  movl %es, %eax
  movq %rax, REG(REGS_ES)
  movl %fs, %eax
  movq %rax, REG(REGS_FS)
  movl %gs, %eax
  movq %rax, REG(REGS_GS)
  hlt

// --- Back to ring 3 with the registers of the page. A new processor starts here.
  .globl rampart_kvm_resume
rampart_kvm_resume:
  movl DATA(DATA_RESUME), %eax
  testl $RESUME_CR3, %eax
  jz 1f
  movq DATA(DATA_CR3), %rcx
  movq %rcx, %cr3
1:
  testl $RESUME_SEGMENTS, %eax
  jz 2f
  movl REG(REGS_DS), %ecx
  movl %ecx, %ds
  movl REG(REGS_ES), %ecx
  movl %ecx, %es
  movl REG(REGS_FS), %ecx
  movl %ecx, %fs
  movl REG(REGS_GS), %ecx
  movl %ecx, %gs
2:
  testl $RESUME_BASES, %eax
  jz 3f
  movq REG(REGS_FS_BASE), %rcx
  wrfsbase %rcx
  movq REG(REGS_GS_BASE), %rcx
  wrgsbase %rcx
3:
  leaq REG(0), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  popq %r11
  popq %r10
  popq %r9
  popq %r8
  popq %rax
  popq %rcx
  popq %rdx
  popq %rsi
  popq %rdi
  testl $RESUME_IRET, DATA(DATA_RESUME)
  jnz 4f
  // rcx = rip and r11 = flags already: the Sentry checked that, and that rip is canonical.
  movq REG(REGS_RSP), %rsp
  sysretq
4:
  addq $8, %rsp
  iretq

// --- Gates with a stack of their own: #DB, NMI, #DF, #MC can come in ring 0, where rsp may still be the application's.
// On the stack: vector, rax, then the CPU's frame.
.Lown_stack:
  testb $3, 24(%rsp)
  jz .Lown_stack_ring0
  cmpl $1, (%rsp)
  jne 1f
  movq %dr6, %rax
  movq %rax, DATA(DATA_DR6)
  movl $0xffff0ff0, %eax
  movq %rax, %dr6
1:
  movq 16(%rsp), %rax
  movq %rax, REG(REGS_RIP)
  movq 24(%rsp), %rax
  movq %rax, REG(REGS_CS)
  movq 32(%rsp), %rax
  movq %rax, REG(REGS_EFLAGS)
  movq 40(%rsp), %rax
  movq %rax, REG(REGS_RSP)
  movq 48(%rsp), %rax
  movq %rax, REG(REGS_SS)
  movq $0, REG(REGS_ORIG_RAX)
  popq %rax
  movq %rax, DATA(DATA_SCRATCH)
  popq %rax
  leaq REG(REGS_ORIG_RAX), %rsp
  pushq %rdi
  movq DATA(DATA_SCRATCH), %rdi
  jmp .Lexception

// A step into the entry path ends here: no more of them. An NMI is nobody's. All else is broken.
.Lown_stack_ring0:
  cmpl $2, (%rsp)
  ja .Lbroken
  popq %rax
  popq %rax
  andq $~TRAP_FLAG, 16(%rsp)
  iretq

// --- The gates of vectors 0 to 32, 16 bytes each.
.macro gate vector, has_error
  .balign 16
  .if \has_error == 0
  pushq $0
  .endif
  pushq %rdi
  movl $\vector, %edi
  jmp .Lexception
.endm
.macro own_stack_gate vector, has_error
  .balign 16
  .if \has_error
  addq $8, %rsp
  .endif
  pushq %rax
  pushq $\vector
  jmp .Lown_stack
.endm

  .balign 16
  .globl rampart_kvm_gates
rampart_kvm_gates:
  gate 0, 0
  own_stack_gate 1, 0
  own_stack_gate 2, 0
  gate 3, 0
  gate 4, 0
  gate 5, 0
  gate 6, 0
  gate 7, 0
  own_stack_gate 8, 1
  gate 9, 0
  gate 10, 1
  gate 11, 1
  gate 12, 1
  gate 13, 1
  gate 14, 1
  gate 15, 0
  gate 16, 0
  gate 17, 1
  own_stack_gate 18, 0
  gate 19, 0
  gate 20, 0
  gate 21, 1
  gate 22, 0
  gate 23, 0
  gate 24, 0
  gate 25, 0
  gate 26, 0
  gate 27, 0
  gate 28, 0
  gate 29, 1
  gate 30, 1
  gate 31, 0
  gate VECTOR_KICK, 0
  .balign 16

  .globl rampart_kvm_text_end
rampart_kvm_text_end:

// --- What stands at the vsyscall page's addresses: Linux's three calls as system calls.
  .balign 16
  .globl rampart_kvm_vsyscall
rampart_kvm_vsyscall:
  movl $96, %eax
  syscall
  ret
  .globl rampart_kvm_vsyscall_end
rampart_kvm_vsyscall_end:

  .section .note.GNU-stack, "", @progbits
