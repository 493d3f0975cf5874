"""Which system calls a command may make: rules, and what the kernel takes them as.

`filters` has what a container is made with: the `default`, or a `profile` of somebody's. Both say
it by the names of system calls; `ranges` and `tables` make numbers of those, and `bpf` a program
of the rules.
"""

DEFAULT, UNCONFINED = "default", "unconfined"  # see `ContainerSpec.seccomp`


def choose_filter(asked: str | None, *, isolate: bool) -> str:
    """Return what `ContainerSpec.seccomp` becomes: the default's name, or what was asked for.

    Raises:
        SpecError: That is a profile that can't be carried out.
    """
    if asked is None:
        return DEFAULT if isolate else UNCONFINED
    if asked not in {DEFAULT, UNCONFINED}:
        # Which takes the json module: half as long to import as a container takes to be made.
        from .profile import check_profile

        check_profile(asked)
    return str.__str__(asked)  # of str itself, which is what can be sent to another process
