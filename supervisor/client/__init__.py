"""Those who ask a running supervisor: the commands of `mocker`, and `Client` for programs on trio.

commands          which module carries out a command
arguments, run    what all of them share: options and help; errors and exit statuses
address           which supervisor is meant, and whether it can be trusted
resources         what can be asked
exchange          HTTP as bytes; `ask` for who waits, `question` for a loop, `trio_client`
executed          what is executed in a job or attached to; its terminal is relayed by `attended`
tables, amounts, told_lines, toml_table, screen, top_view
how answers are shown
"""
