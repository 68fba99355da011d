from __future__ import annotations

from django.urls import path

from writer.studio.views import arenas, lineage, overview, references, runs, versions

urlpatterns = [
    path("studio/", overview.studio, name="studio"),
    path("studio/ledger", overview.ledger, name="ledger"),
    path("studio/audit", overview.audit, name="audit"),
    path("studio/retrain", runs.run_retrain, name="run_retrain"),
    path("studio/runs/", runs.runs, name="runs"),
    path("studio/datasets", runs.datasets, name="datasets"),
    path("studio/runs/new/<slug:recipe>", runs.run_new, name="run_new"),
    path("studio/runs/<int:run_id>", runs.run, name="run"),
    path("studio/runs/<int:run_id>/events", runs.run_events, name="run_events"),
    path("studio/runs/<int:run_id>/<slug:act>", runs.run_act, name="run_act"),
    path("studio/versions/", versions.versions, name="versions"),
    path("studio/versions/import", versions.version_import, name="version_import"),
    path("studio/versions/<int:version_id>", versions.version, name="version"),
    path("studio/versions/<int:version_id>/evaluate", versions.version_evaluate, name="version_evaluate"),
    path("studio/versions/<int:version_id>/promote", versions.version_promote, name="version_promote"),
    path("studio/versions/<int:version_id>/retire", versions.version_retire, name="version_retire"),
    path("studio/versions/<int:version_id>/arena", arenas.arena_new, name="arena_new"),
    path("studio/from/principle/<slug:key>", lineage.learned_from_principle, name="from_principle"),
    path("studio/from/editor/<int:user_id>", lineage.learned_from_editor, name="from_editor"),
    path("studio/arenas/<int:arena_id>", arenas.arena, name="arena"),
    path("studio/arenas/<int:arena_id>/close", arenas.arena_close, name="arena_close"),
    path("studio/references", references.references, name="references"),
    path("studio/references/<int:reference_id>/delete", references.reference_delete, name="reference_delete"),
    path("studio/rollback", versions.version_roll_back, name="version_roll_back"),
    path("studio/deployments/<int:deployment_id>/give-up", versions.deployment_give_up, name="deployment_give_up"),
]
