"""Runs as processes. "Training" here means a stage, too.

    GPU worker (Celery)         keeper.py   claims what is queued, and starts a follower for each run of its machine that has none
      '- manage.py follow_run   follow.py   starts the training, copies its events into the database, forwards stop requests, ends the run
           '- training          python -m training RECIPE run.json, or torchrun with several of these

Each of the three may be killed alone. A training continues without its follower, and a follower without its worker: each has its own
session, and the keeper of the next worker recognises a run without a follower by its expired lease. Follower and training each hold
a lock on the run's folder, so that there is at most one of each. The kernel releases these locks when a process crashes.
Every process of a run has LONGHAND_FOLDER in its environment, by which a new follower finds it.
"""
