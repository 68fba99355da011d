from tests.cast import admin, editor, make_editor, model, owner, quick_and_alone

__all__ = ["admin", "editor", "make_editor", "model", "owner", "quick_and_alone"]
