# Every target makes the virtual environment it needs, from the lock in requirements/.
# PYTHON chooses the interpreter; each but python3 has an environment of its own.
PYTHON ?= python3
VENV := $(if $(filter python3,$(notdir $(PYTHON))),.venv,.venv-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# One more than there are processors, for many a test waits; who has nothing left takes from others.
PARALLEL := -n $(shell expr $$(nproc) + 1) --dist worksteal
QUICK := $(PARALLEL) -m "not slow and not lab and not boot and not cluster and not pages and not sigstore and not roots"

# Some images set it for programs that run once; tests start ours a thousand times and more.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick test-newest fuzz test-kills test-sites test-deltas lock-deps test-boot test-boot-arm64 test-pages test-cluster test-upgrade test-sigstore test-roots test-bills check format bench lab sigstore rebuild readme reference docs dist image clean

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

$(VENV)/.ready: pyproject.toml requirements/locked.txt tools/make_venv.py
	$(PYTHON) tools/make_venv.py $(VENV)
	@touch $@

demo: $(VENV)/.ready ## Build and verify a small ISO from an embedded upstream; needs no network
	$(BIN)/isobuilder demo --out demo-out

test: $(VENV)/.ready ## Run all tests; those on real parts run once `make lab` has prepared them
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

test-quick: $(VENV)/.ready ## Run the tests that are over in three minutes
	$(BIN)/python -m pytest $(QUICK) $(PYTEST_ARGS)

test-newest: $(VENV)/.ready ## Run the quick tests with the newest release of every library
	$(BIN)/python -m tools.newest --folder $(VENV)-newest $(QUICK) $(PYTEST_ARGS)

fuzz: $(VENV)/.ready ## Try bad input on every reader; SECONDS, SEED, TARGET, or CASE=file to try one again
	$(BIN)/python -m tests.fuzz $(CASE) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) \
		$(foreach one,$(TARGET),--target $(one))

lock-deps: ## Lock the newest release of every library; LOCK_ARGS=--keep changes as little as can be
	$(PYTHON) -m tools.lock_dependencies $(LOCK_ARGS)

test-kills: $(VENV)/.ready ## Kill an unattended run at a hundred random moments and begin it again; KILLS=N for another number
	ISOBUILDER_KILLS=$(or $(KILLS),100) $(BIN)/python -m pytest -s tests/pipeline/test_sync.py tests/pipeline/test_sync_deltas.py -k killed $(PYTEST_ARGS)

test-sites: $(VENV)/.ready ## Kill an export, an import and a push at fifty random moments each, and let fifty clients ask one ISO of 1 GB for a minute
	ISOBUILDER_KILLS=$(or $(KILLS),50) ISOBUILDER_CLIENT_SECONDS=$(or $(SECONDS),60) ISOBUILDER_CLIENT_MIB=$(or $(MIB),1024) \
		$(BIN)/python -m pytest -s tests/site/test_carry.py tests/site/test_push.py tests/site/test_clients.py -k "killed or fifty" $(PYTEST_ARGS)

test-deltas: $(VENV)/.ready ## Make and apply deltas of a hundred pairs of random ISOs, and a thousand changed deltas; DELTAS=N for another number
	ISOBUILDER_DELTAS=$(or $(DELTAS),100) $(BIN)/python -m pytest -s tests/pipeline/delta -k "whatever" $(PYTEST_ARGS)

test-boot: $(VENV)/.ready ## Start the ISO in virtual machines in every way; takes an hour and a half without KVM
	$(BIN)/python -m pytest -m boot tests/boot $(PYTEST_ARGS)

test-boot-arm64: $(VENV)/.ready ## Make the parts of arm64 here, and start their ISO in machines of arm64 up to a Ready node
	$(BIN)/python -m tools.lab.prepare --with arm64
	$(BIN)/python -m pytest -m arm64 tests/arm64 -s $(PYTEST_ARGS)

$(VENV)/pages/.ready: requirements/pages.txt $(VENV)/.ready
	$(BIN)/python -m pip -q install --require-hashes --no-deps --target $(VENV)/pages --upgrade -r requirements/pages.txt
	@touch $@

test-pages: $(VENV)/pages/.ready ## Look at reports and catalogues in a real browser: access, languages, pictures; PICTURES=1 takes them anew
	$(if $(PICTURES),ISOBUILDER_PICTURES=1) $(BIN)/python -m pytest -m pages tests/pages $(PYTEST_ARGS)

test-cluster: $(VENV)/.ready ## Make a real cluster of virtual machines from the lab's ISO
	$(BIN)/python -m pytest -m cluster tests/cluster --ignore=tests/cluster/test_upgrade.py -s $(PYTEST_ARGS)

test-upgrade: $(VENV)/.ready ## Bring real clusters to the next patch and to the next minor, from the lab's ISOs
	$(BIN)/python -m tools.lab.prepare --with 1.36.5
	$(BIN)/python -m pytest -m cluster tests/cluster/test_upgrade.py -s $(PYTEST_ARGS)

test-roots: $(VENV)/.ready ## Type a new user's pages into fresh systems of Debian and Ubuntu, and run the container image
	$(BIN)/python -m pytest -m roots tests/roots $(PYTEST_ARGS)

check: $(VENV)/.ready ## Lint, format check, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(VENV)/.ready ## Put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lab: $(VENV)/.ready ## Prepare real parts: Kubernetes from source, containerd, runc, etcd, images
	$(BIN)/python -m tools.lab.prepare

sigstore: $(VENV)/.ready ## Build the programs of a real Sigstore, some ten minutes of processor time
	$(BIN)/python -m tools.lab.sigstore

test-sigstore: sigstore ## Sign with cosign through a real Sigstore on loopback, prove it offline; cosign 2.5 and 3 read ours
	$(BIN)/python -m pytest -m sigstore tests/lab/test_sigstore.py tests/lab/test_cosigns.py $(PYTEST_ARGS)

test-bills: $(VENV)/.ready ## Compare bills of the lab's images with those of Syft, and what Grype finds in both
	$(BIN)/python -m pytest -m bills tests/lab/test_bills.py $(PYTEST_ARGS)

rebuild: $(VENV)/.ready ## Build kubeadm, kubectl and kubelet from source and compare with upstream's released bytes
	$(BIN)/python -m pytest -m rebuild tests/lab/test_rebuild.py $(PYTEST_ARGS)

bench: $(VENV)/.ready ## Measure against xorriso, openssl, curl and skopeo; writes bench/RESULTS.md
	$(BIN)/python -m bench.run

readme: $(VENV)/.ready ## Run the commands of docs/tour.md and put in what they print
	$(BIN)/python -m tools.readme_output --write
	$(BIN)/python -m tools.cast --write

reference: $(VENV)/.ready ## Write docs/reference from the code
	$(BIN)/python -m tools.reference --write

docs: $(VENV)/.ready ## Make a web site of the documentation in build/site, and follow its links
	$(BIN)/python -m tools.docs_site

dist: $(VENV)/.ready ## Wheel, source archive, wheelhouse for machines without Internet, manual pages, SBOM, checksums
	$(BIN)/python -m tools.release.dist $(foreach one,$(PYTHONS),--python $(one)) $(DIST_ARGS)

image: $(VENV)/.ready ## Container image as an OCI archive, by buildah; BASE=image to stand on, else a Debian made here
	$(BIN)/python -m tools.release.image $(if $(BASE),--base $(BASE)) $(IMAGE_ARGS)

clean: ## Remove the environment and what demos built; the lab's cache stays
	rm -rf .venv .venv-* demo-out dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz
