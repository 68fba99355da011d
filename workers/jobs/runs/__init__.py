"""Runs as processes; what is said of trainings is true of stages, too.

    GPU worker (Celery)         keeper.py   claims what is queued, and starts a follower for each run of its machine that has none
      '- manage.py follow_run   follow.py   starts the training, copies its events into the database, passes wishes on, ends the run
           '- training          python -m training RECIPE run.json, or torchrun with several of them

Each of the three may be killed alone. A training runs on without its follower, a follower without its worker: both are
processes of their own session, and the keeper of the next worker finds the run without a follower by its lease. A follower holds
a lock on the run's folder, as the training does, so that there is one of each at most; both are the kernel's locks, which no crash
leaves behind. Everything that a run starts has LONGHAND_FOLDER in its environment, by which a new follower finds it again.
"""
