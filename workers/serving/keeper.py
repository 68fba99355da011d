"""The keeper of model servers: loads the versions that are needed, and deploys a version after a smoke test.

Each check compares the versions that are needed (writer.studio.wanted) with the lists of the servers, and loads or unloads the difference.
The only state is the time since which a version has not been needed, so a server that was restarted without its adapters gets them
again. A deployment is switched in one transaction, and only after the new version has answered.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import structlog
from django.utils import timezone

from training.evaluate.served import Served
from training.serving.vllm import ADAPTER_RANK
from workers.addresses import server_of, site_server
from workers.folders import version_folder
from workers.machine import register
from workers.periodic import Periodic
from workers.serving import own
from workers.serving.loading import (
    CannotLoad,
    NoRoom,
    adapter_rank,
    check_adapter,
    check_applied,
    check_weights,
    load_adapter,
    served_names,
    smoke,
    unload_adapter,
)
from writer.stories.models import Deployment, DeploymentState, ModelVersion
from writer.studio.adapters import adapted_version
from writer.studio.models import Machine, Serving, ServingState
from writer.studio.operations.deploy import switch, switch_failed
from writer.studio.wanted import wanted_versions

LOOK = 2.0
LINGER = 60.0
"""Seconds that a version stays loaded after it was last needed."""
TRIES = 3
LONGEST = timedelta(minutes=20)
"""A deployment that takes longer has failed."""

log = structlog.get_logger()


class ServingKeeper(Periodic):
    def __init__(self) -> None:
        super().__init__("serving keeper", LOOK)
        self._unwanted: dict[int, float] = {}

    @cached_property
    def machine(self) -> Machine:
        return register()

    # One check

    def look(self) -> None:
        wanted = wanted_versions()
        versions = ModelVersion.objects.select_related("parent").in_bulk(list(wanted))
        for version in versions.values():
            self._unwanted.pop(version.pk, None)
            self._ensure_loaded(version)
        self._unload(set(wanted))
        self._deploy()

    def _ensure_loaded(self, version: ModelVersion) -> None:
        """Load the version, if it is not loaded."""
        at_site = served_names(*site_server())
        if at_site is None and not version.sha256:
            return  # the site's own server serves the site's own model when it is up again
        serving = Serving.objects.filter(version=version).first()
        if serving is None:
            if at_site is None:
                return  # it is not known whether it can be an adapter there
            serving = Serving.objects.create(version=version, adapter=_as_adapter(version, at_site))
        if not version.sha256:
            if serving.state != ServingState.READY and version.served_name in (at_site or ()):
                Serving.objects.filter(pk=serving.pk).update(state=ServingState.READY)
            return
        if serving.state == ServingState.FAILED and serving.tries >= TRIES:
            return
        if not serving.adapter and serving.machine_id not in (None, self.machine.pk):
            return  # another machine's
        try:
            there = self._load(version, serving)
        except NoRoom as error:
            Serving.objects.filter(pk=serving.pk).update(state=ServingState.LOADING, problem=str(error))
            return
        except CannotLoad as error:
            log.warning("version_not_loaded", version=version.name, problem=str(error), tries=serving.tries + 1)
            serving.state, serving.problem, serving.tries = ServingState.FAILED, str(error)[:1000], serving.tries + 1
            serving.save()
            return
        state = ServingState.READY if there else ServingState.LOADING
        if serving.state != state:
            serving.state, serving.problem = state, ""
            if there:
                serving.tries = 0
                log.info("version_loaded", version=version.name, adapter=serving.adapter)
            serving.save()

    def _load(self, version: ModelVersion, serving: Serving) -> bool:
        """Load the version; returns whether it is ready."""
        folder = version_folder(version)
        if serving.adapter:
            url, key = site_server()
            names = served_names(url, key)
            if names is None:
                return False
            if version.served_name not in names:
                self._check(version, folder, "adapter")
                check_adapter(folder / "adapter")
                load_adapter(url, key, version.served_name, folder / "adapter")
                adapted = adapted_version(version)
                assert adapted is not None  # as `_as_adapter` found
                check_applied(url, key, version.served_name, adapted.served_name)
            return True
        if not own.running(version):
            self._check(version, folder, "model")
            own.start(version, serving, self.machine)
            return False
        return version.served_name in (served_names(*server_of(serving)) or ())

    def _check(self, version: ModelVersion, folder: Path, part: str) -> None:
        """Check the weights against their hashes, at every load."""
        check_weights(folder, version.manifest, part)

    def _unload(self, wanted: set[int]) -> None:
        now = time.monotonic()
        for serving in Serving.objects.select_related("version").exclude(version__in=wanted):
            version = serving.version
            if not version.sha256 or (not serving.adapter and serving.machine_id not in (None, self.machine.pk)):
                continue
            if now - self._unwanted.setdefault(version.pk, now) < LINGER:
                continue
            if serving.adapter:
                unload_adapter(*site_server(), version.served_name)
            else:
                own.stop(version, serving)
            serving.delete()
            self._unwanted.pop(version.pk, None)
            log.info("version_unloaded", version=version.name)

    # Deployments

    def _deploy(self) -> None:
        for deployment in Deployment.objects.filter(state=DeploymentState.LOADING).select_related("version"):
            serving = Serving.objects.filter(version=deployment.version_id).first()
            if serving is not None and serving.state == ServingState.READY:
                self._try(deployment, serving)
            elif serving is not None and serving.state == ServingState.FAILED and serving.tries >= TRIES:
                switch_failed(deployment.pk, serving.problem)
            elif timezone.now() - deployment.asked > LONGEST:
                switch_failed(deployment.pk, "It was not loaded in time.")

    def _try(self, deployment: Deployment, serving: Serving) -> None:
        url, key = server_of(serving)
        try:
            text = asyncio.run(smoke(Served(url, deployment.version.served_name, key)))
        except CannotLoad as error:
            if served_names(url, key) is None:
                return  # the server is down: try again at the next check
            switch_failed(deployment.pk, str(error))
            return
        if switch(deployment.pk, proof=text):
            log.info("put_in_service", version=deployment.version.name, slot=deployment.slot)


def _as_adapter(version: ModelVersion, at_site: set[str]) -> bool:
    """Whether the site's own server can load it as an adapter: it serves the model that the adapter changes, and the rank is not too high for it."""
    adapted = adapted_version(version)
    if adapted is None or adapted.sha256 or adapted.served_name not in at_site:
        return False
    return adapter_rank(version_folder(version) / "adapter") <= ADAPTER_RANK
