"""Data sets: queries (`query`), rows (`build`, and `passages` for single passages), files (`formats`) and import (`importing`)."""
