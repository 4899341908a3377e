"""For a person at a terminal: rich renderables from a command's `data`.

Everything is shown as literal text (`Text`, never markup), so nothing read from a machine or a log can style or steer
the terminal. Glyphs are chosen when printed: a console that speaks only ASCII gets ASCII.
"""
