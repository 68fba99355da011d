"""Datasets: what is asked for (`query`), which rows that makes (`build`, and of single passages `passages`), how they are written
(`formats`) and read (`importing`)."""
