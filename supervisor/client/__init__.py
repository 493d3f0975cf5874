"""Those who ask a running supervisor: the commands of `mocker`, and `Client` for programs on trio.

client            all that can be asked, by whomever; commands only print what it returns
resources         how it is asked
address           which supervisor is meant, and whether it can be trusted
exchange          HTTP as bytes; conversation and answer_lines are a question and its answer
exec_messages     the messages about what is executed in a job; executed, executed_process and
                  attached_job are that and a job attached to
transport         how one waits: trio_transport for programs, blocking_transport for commands,
                  question for the loop of `mocker top`; signalled for what is in the foreground
commands          which module carries out a command
arguments, run    what all of them share: options and help; errors and exit statuses
tables, amounts, told_lines, toml_table, screen, top_view
how answers are shown
"""
