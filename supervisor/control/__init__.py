"""What a running supervisor lets others see and do: HTTP/1.1 with JSON on a Unix socket.

Loaded when somebody asks for the first time, so that a supervisor that nobody asks stays small.
"""
