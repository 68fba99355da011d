"""Datasets: what is asked for (`query`), which rows that makes (`build`), how they are written (`formats`) and read (`importing`)."""
