"""What the C half of the standard module signal has; it comes without the slow enumerations."""

from signal import *  # noqa: F403
