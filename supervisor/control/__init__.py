"""What a running supervisor lets others see and do.

server            the socket for HTTP: who is let in (`guard`), who has a place (`connections`)
http_service      HTTP on one connection, by Hypercorn; from here on, all is loaded when
somebody asks for the first time, so that who is not asked stays small
gate, app, whole  what may be asked, and which resource answers it; `problems` if none does
actions, rolling, scaled_jobs, waiting
what is done with jobs, and what came of each
job_views, figures, usage, metrics, description
what is shown of them
logs, history, events, following
what they print and what becomes of them, for those who follow it
exec_server       the socket for what needs descriptors: `execution` and `attachment`
"""
