"""What people start: `mocker run`, one container in the foreground.

The policy to `mocker.isolation`'s mechanism. Nothing heavy is imported here: the start of
`mocker run` pays for every module.
"""
