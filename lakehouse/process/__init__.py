"""Child processes: start, sandbox, calls, restarts, drain.

Modules:

    spec           the description of a child: program, environment, limits, sandbox, restarts
    launch         starts the process, in the parent; `environment` selects its variables
    bootstrap      the program of the process: applies the restrictions, runs the target
    protocol       the two messages of a start
    child          the parent's handle on a process: start, readiness, exit, kill
    memory_release the memory of a killed process, released from the parent
    log_tail       the last lines of the child's standard error
    states         the states of children, slots and pooled children, with their transitions
    errors         the errors of this package
    tasks          a nursery whose tasks end with a block
    sandboxing/    restrictions that a child applies to itself
    scheduling     the scheduling policy of a process that others call
    calls/         calls to a child and pools of children
    supervision/   slots, restarts, drain
"""
