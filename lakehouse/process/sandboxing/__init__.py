"""Restrictions that a child process applies to itself, once, before its target is imported.

Modules:

    sandbox         applies a `Sandbox`: files and network
    landlock        files, with Landlock
    seccomp         network, with a seccomp filter
    rlimits         resource limits
    death_signal    the signal that the kernel sends when the parent ends
"""
