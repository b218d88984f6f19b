"""Operations that are asked for now and done by a worker.

``queue`` keeps what is asked for, ``kinds`` does one job, ``worker`` does them all, and
``handover`` gives them to the workers of a project that has its own.
"""
