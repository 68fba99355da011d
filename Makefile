# What people do with Longhand. `make run` and `make test` set up what they need first.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
py := .venv/bin/python
node := PATH="$(CURDIR)/.venv/node:$$PATH"
export PYTHONUNBUFFERED := 1

.PHONY: help set-up set-up-tests run test test-fast check lint types pages soak models format lock figures pictures backup restore

help:
	@echo "make run        set up and start Longhand (PORT, HOST, MODEL choose; Ctrl-C stops)"
	@echo "make test       every check and test      make soak     the long fault runs"
	@echo "make test-fast  without other processes   make check    ruff, mypy, imports, TypeScript"
	@echo "make format     tidy the code"
	@echo "make backup     dump the database         make restore FILE=var/backups/...dump"
	@echo "make lock       remake the locks          make bench-NAME, make miniature-NAME   the figures"
	@echo "make models     test all families of models, and write docs/models.md"
	@echo "make figures    the figures of the README and docs/benchmarks.md      make pictures  its pictures"

set-up:
	@$(PYTHON) scripts/bootstrap.py run

set-up-tests:
	@$(PYTHON) scripts/bootstrap.py test

# DEBUG makes demo accounts; a real site runs from docker-compose.yml, without it.
run: set-up
	@DEBUG=$${DEBUG:-true} exec $(py) manage.py up

# Three at a time on two cores: some wait most of their time. The checks are among them (tests/repository/test_checks.py).
test: set-up-tests
	$(py) -m pytest -n 3 -q

test-fast: set-up-tests
	$(py) -m pytest -n 3 -q -m "not browser and not model and not processes and not slow"

check: lint types pages

lint: set-up-tests
	$(py) -m ruff check .
	$(py) -m ruff format --check .
	.venv/bin/lint-imports --no-cache

types: set-up-tests
	DEBUG=true VAR=.mypy_cache/var $(py) -m mypy .

pages: set-up-tests
	cd writer/frontend && $(node) npm run --silent check
	cd writer/frontend && $(node) npm run --silent test

soak: set-up-tests
	$(py) -m pytest -n 2 -q -m soak

models: set-up-tests
	$(py) -m tests.families

format: set-up-tests
	$(py) -m ruff check --fix-only --quiet .
	$(py) -m ruff format .

lock: set-up-tests
	sh requirements/lock.sh

backup: set-up
	@$(py) manage.py backup

restore: set-up
	@test -n "$(FILE)" || { echo "Which one? make restore FILE=var/backups/...dump"; exit 1; }
	@$(py) manage.py restore $(FILE)

bench-%: set-up-tests
	$(py) -m benchmarks.$(subst -,_,$*)

figures: set-up-tests
	$(py) -m benchmarks.readme

pictures: set-up-tests
	$(py) -m tests.pictures

miniature-%: set-up-tests
	$(py) -m benchmarks.$(subst -,_,$*) --miniature
