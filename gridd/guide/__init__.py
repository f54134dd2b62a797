"""How to use a grid, in words that are written once: the examples of ``gridd COMMAND --help``,
``/llms.txt`` and ``/skill.md`` (also ``gridd docs``). What tables can be read off the program are
read off it. Tests run every command that these texts hold."""
