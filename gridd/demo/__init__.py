"""A grid, one worker and one real job in a single command: ``python -m gridd.demo``.

``survey`` makes the data, ``periods`` is the job (it runs alone, with nothing but Python),
``engine`` looks for Docker, ``local_grid`` starts and ends ``gridd up``, ``show`` prints,
``__main__`` ties them together.
"""
