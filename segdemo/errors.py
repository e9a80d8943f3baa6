"""The one root of what goes wrong for reasons a person can mend."""


class UserError(ValueError):
    """Something cannot be done as asked. The message is one sentence that says what is wrong and what to do.

    Every error of this package that is meant for people is one; whoever talks to people catches this and shows it.
    Anything else that is raised is a fault of the program, or of what it stands on: ``runs.failures`` tells those.
    """
