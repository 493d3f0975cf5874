"""mocker runs jobs in containers without a daemon, without an image store and without root."""
