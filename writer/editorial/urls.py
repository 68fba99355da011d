from __future__ import annotations

from django.urls import path

from writer.editorial.views import asking, constitution, desk, figures, sharing, snapshots, violations

urlpatterns = [
    path("constitution/", constitution.constitution, name="constitution"),
    path("constitution/new", constitution.principle_new, name="principle_new"),
    path("constitution/import", constitution.constitution_import, name="constitution_import"),
    path("constitution/constitution.toml", constitution.constitution_export, name="constitution_export"),
    path("constitution/<slug:key>", constitution.principle, name="principle"),
    path("constitution/<slug:key>/edit", constitution.principle_edit, name="principle_edit"),
    path("constitution/<slug:key>/state", constitution.principle_state, name="principle_state"),
    path("desk/", desk.desk, name="desk"),
    path("desk/next", desk.desk_next, name="desk_next"),
    path("desk/pairs/<uuid:reading_id>", desk.pair, name="pair"),
    path("desk/pairs/<uuid:reading_id>/reveal", desk.pair_reveal, name="pair_reveal"),
    path("desk/pairs/<uuid:reading_id>/result", desk.pair_result, name="pair_result"),
    path("desk/pairs/<uuid:reading_id>/gold", desk.pair_gold, name="pair_gold"),
    path("desk/offered/<uuid:story_id>", desk.offered_open, name="offered_open"),
    path("desk/texts/<int:take_id>", desk.marking, name="marking"),
    path("desk/texts/<int:take_id>/rubric", desk.rubric, name="rubric"),
    path("desk/ask", asking.ask, name="ask"),
    path("desk/agreement", figures.agreement, name="agreement"),
    path("desk/again", figures.again, name="again"),
    path("desk/again/look", figures.again_look, name="again_look"),
    path("desk/again/undo", figures.again_undo, name="again_undo"),
    path("desk/violations", violations.violations, name="violations"),
    path("desk/violations/undo", violations.violation_undo, name="violation_undo"),
    path("desk/violations/<int:violation_id>", violations.violation, name="violation"),
    path("snapshots/", snapshots.snapshots, name="snapshots"),
    path("snapshots/import", snapshots.snapshot_import, name="snapshot_import"),
    path("snapshots/<int:number>", snapshots.snapshot, name="snapshot"),
    path("snapshots/<int:number>/again", snapshots.snapshot_again, name="snapshot_again"),
    path("snapshots/<int:number>/export", snapshots.snapshot_export, name="snapshot_export"),
    path("snapshots/<int:number>/<str:name>", snapshots.snapshot_file, name="snapshot_file"),
    path("stories/<uuid:story_id>/takes", sharing.takes, name="takes"),
    path("stories/<uuid:story_id>/sharing", sharing.sharing, name="sharing"),
    path("stories/<uuid:story_id>/notes", sharing.notes, name="notes"),
]
