"""Those who ask a running supervisor: the commands of `mocker`, and `Client` for programs."""
