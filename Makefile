# `make demo` shows the main job, `make test` runs the tests. Both install what is missing, and say so before they do.

# A toolchain that rustup has just installed is often not in PATH yet.
CARGO ?= $(shell command -v cargo || echo $(HOME)/.cargo/bin/cargo)

.DEFAULT_GOAL := help
.PHONY: help build build-release demo test test-matrix torture bounds bloat isolation bench fuzz fuzz-seeds install uninstall deb test-container lint fmt clean ci postgres test-tools compiler

# The supported major versions of Postgres, and the suites that `make test-matrix` runs on each: none named is all.
MAJORS ?= 14 15 16 17 18
SUITES ?=

# What is fuzzed, and for how long each.
FUZZ_TARGETS ?= pgoutput values
SECONDS ?= 60

# Where `make install` puts what it installs, below DESTDIR; the program is what BINARY names.
prefix ?= /usr/local
bindir ?= $(prefix)/bin
unitdir ?= $(prefix)/lib/systemd/system
sysusersdir ?= $(prefix)/lib/sysusers.d
datadir ?= $(prefix)/share/webhookdb-notifications
docdir ?= $(prefix)/share/doc/webhookdb-notifications
man1dir ?= $(prefix)/share/man/man1
bashcompletiondir ?= $(prefix)/share/bash-completion/completions
zshcompletiondir ?= $(prefix)/share/zsh/site-functions
fishcompletiondir ?= $(prefix)/share/fish/vendor_completions.d
BINARY ?= target/release/webhookdb
INSTALL ?= install
INSTALL_PROGRAM ?= $(INSTALL)

# What the program is called where WebhookDB's own command may be beside it, see the unit.
NAME = webhookdb-notifications

# Where the Debian package is made from and goes to, and what makes it.
PACKAGE = target/package
DEB ?= target/debian/
CARGO_DEB ?= $(CARGO) deb

help: ## Says what there is
	@sed -n 's/^\([a-z -]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 30

build: compiler ## Builds the program into target/debug/webhookdb
	$(CARGO) build --locked

demo: compiler ## Runs the main job, whole, on a throwaway Postgres of its own
	@PG_BIN="$$(scripts/install-postgres)" && export PG_BIN && \
	$(CARGO) build --locked --bin webhookdb && $(CARGO) run --quiet --locked --bin webhookdb -- demo

# The tests mostly wait, for Postgres and for endpoints: more of them at once than there are cores.
test: compiler test-tools ## Runs all tests
	@PG_BIN="$$(scripts/install-postgres)" && export PG_BIN && $(CARGO) test --locked -- --test-threads=8

test-matrix: compiler test-tools ## Runs the integration tests on every supported version of Postgres, or on those of MAJORS="14 18"; SUITES="types:: setup::": these suites alone
	@failed=; for major in $(MAJORS); do \
	    echo "==> PostgreSQL $$major"; \
	    { PG_BIN="$$(scripts/fetch-postgres $$major)" && export PG_BIN && \
	        $(CARGO) test --locked --test tests -- --test-threads=8 $(SUITES); } \
	        || failed="$$failed $$major"; \
	done; \
	[ -z "$$failed" ] || { echo "error: not everything passed on PostgreSQL$$failed" >&2; exit 1; }

# Optimized, as it is shipped: the bound on memory is meant for that.
# The sizes and ratios that are promised hold for a release build; nothing else should run beside it.
bounds bloat isolation: compiler ## Memory, the outbox's size, and who is delayed by whom: at full size, of a release build
	@PG_BIN="$$(scripts/install-postgres)" && export PG_BIN && \
	$(CARGO) build --release --locked --bin webhookdb && \
	WEBHOOKDB_FULL_SIZE=1 WEBHOOKDB_BINARY="$(CURDIR)/target/release/webhookdb" \
	$(CARGO) test --locked --test tests $@:: -- --test-threads=1 --nocapture

# What is measured (all of it, unless MEASURES names some of it), of how large a backlog and how often.
MEASURES ?=
ROWS ?= 300000
ROUNDS ?= 5

# The harness is optimized too: it is what takes the requests where their latency is measured.
bench: compiler test-tools ## Rates and memory, as ratios to pg_recvlogical and wrk, into target/bench: ROWS=300000 ROUNDS=5 MEASURES="deliver latency"; and the pieces
	@PG_BIN="$$(scripts/install-postgres)" && export PG_BIN && \
	$(CARGO) build --release --locked --bin webhookdb && \
	WEBHOOKDB_FULL_SIZE=1 WEBHOOKDB_BINARY="$(CURDIR)/target/release/webhookdb" \
	BENCH_MEASURES="$(MEASURES)" BENCH_ROWS="$(ROWS)" BENCH_ROUNDS="$(ROUNDS)" \
	$(CARGO) test --release --locked --test tests bench:: -- --test-threads=1 --nocapture
	@$(CARGO) bench --locked --bench pieces

torture: compiler ## Random load under faults for MINUTES=5, by the schedule of SEED (else a random one); prints a summary
	@PG_BIN="$$(scripts/install-postgres)" && export PG_BIN && \
	TORTURE_MINUTES="$(MINUTES)" TORTURE_SEED="$(SEED)" \
	$(CARGO) test --release --locked --test tests torture::for_minutes -- --exact --ignored --nocapture

# The decoders are safe Rust, in which AddressSanitizer finds nothing; without it the stable toolchain does. An input that takes
# longer than the timeout is a finding too.
fuzz: compiler ## Searches for input that the decoders take badly, SECONDS=60 for each of FUZZ_TARGETS; takes cargo-fuzz and a C++ compiler
	@$(CARGO) fuzz --version >/dev/null 2>&1 || \
	    { echo "error: cargo-fuzz is not installed: cargo install --locked cargo-fuzz" >&2; exit 1; }
	@for target in $(FUZZ_TARGETS); do \
	    corpus="$(CURDIR)/target/fuzz/corpus/$$target" && mkdir -p "$$corpus" && \
	    $(CARGO) fuzz run --sanitizer none --target-dir "$(CURDIR)/target/fuzz" $$target "$$corpus" fuzz/seeds/$$target \
	        -- -max_total_time=$(SECONDS) -timeout=10 -print_final_stats=1 || exit 1; \
	done

fuzz-seeds: compiler ## Records what the fuzz targets begin with anew, from a real server
	@PG_BIN="$$(scripts/install-postgres)" && export PG_BIN && \
	$(CARGO) test --locked --test tests fuzz_seeds::record -- --exact --ignored

# Nothing is compiled here, since this is often root, and nothing under /etc is touched: that is the operator's. The program itself
# makes its man pages and completions, so it has to run on this machine.
install: ## Installs BINARY, the unit, its account, the example config, the SQL, docs, man pages and completions below DESTDIR and prefix; `make uninstall` removes them
	@[ -x "$(BINARY)" ] || { echo "error: there is no $(BINARY): build it first, cargo build --release --locked" >&2; exit 1; }
	$(INSTALL) -d "$(DESTDIR)$(bindir)" "$(DESTDIR)$(unitdir)" "$(DESTDIR)$(sysusersdir)" "$(DESTDIR)$(datadir)/sql" \
	    "$(DESTDIR)$(docdir)/docs/operators" "$(DESTDIR)$(man1dir)" "$(DESTDIR)$(bashcompletiondir)" \
	    "$(DESTDIR)$(zshcompletiondir)" "$(DESTDIR)$(fishcompletiondir)"
	$(INSTALL_PROGRAM) -m 755 "$(BINARY)" "$(DESTDIR)$(bindir)/$(NAME)"
	sed 's|/usr/bin/|$(bindir)/|; s|/usr/share/doc/webhookdb-notifications|$(docdir)|' systemd/webhookdb-notifications.service \
	    >"$(DESTDIR)$(unitdir)/$(NAME).service"
	chmod 644 "$(DESTDIR)$(unitdir)/$(NAME).service"
	$(INSTALL) -m 644 systemd/webhookdb-notifications.sysusers "$(DESTDIR)$(sysusersdir)/$(NAME).conf"
	$(INSTALL) -m 644 sql/setup-replication.sql "$(DESTDIR)$(datadir)/sql/"
	$(INSTALL) -m 644 config.example.toml README.md CHANGELOG.md LICENSE "$(DESTDIR)$(docdir)/"
	$(INSTALL) -m 644 docs/*.md docs/*.json "$(DESTDIR)$(docdir)/docs/"
	$(INSTALL) -m 644 docs/operators/*.md "$(DESTDIR)$(docdir)/docs/operators/"
	umask 022 && "$(BINARY)" man --name $(NAME) --output "$(DESTDIR)$(man1dir)"
	umask 022 && "$(BINARY)" completions bash --name $(NAME) >"$(DESTDIR)$(bashcompletiondir)/$(NAME)"
	umask 022 && "$(BINARY)" completions zsh --name $(NAME) >"$(DESTDIR)$(zshcompletiondir)/_$(NAME)"
	umask 022 && "$(BINARY)" completions fish --name $(NAME) >"$(DESTDIR)$(fishcompletiondir)/$(NAME).fish"

uninstall: ## Removes what `make install` has installed below DESTDIR and prefix
	rm -f "$(DESTDIR)$(bindir)/$(NAME)" "$(DESTDIR)$(unitdir)/$(NAME).service" "$(DESTDIR)$(sysusersdir)/$(NAME).conf" \
	    "$(DESTDIR)$(bashcompletiondir)/$(NAME)" "$(DESTDIR)$(zshcompletiondir)/_$(NAME)" \
	    "$(DESTDIR)$(fishcompletiondir)/$(NAME).fish" "$(DESTDIR)$(man1dir)/$(NAME).1" "$(DESTDIR)$(man1dir)/$(NAME)"-*.1
	rm -rf "$(DESTDIR)$(datadir)" "$(DESTDIR)$(docdir)"

# The package holds what `make install` installs, the program stripped.
deb: build-release ## Makes the Debian package of BINARY, in target/debian; takes cargo-deb
	@$(CARGO_DEB) --version >/dev/null 2>&1 || \
	    { echo "error: cargo-deb is not installed: cargo install --locked cargo-deb" >&2; exit 1; }
	rm -rf $(PACKAGE)
	$(MAKE) install DESTDIR=$(PACKAGE) prefix=/usr INSTALL_PROGRAM="$(INSTALL) -s"
	$(CARGO_DEB) --locked --no-build --output $(DEB)

build-release: compiler
	@[ "$(BINARY)" != target/release/webhookdb ] || $(CARGO) build --release --locked --bin webhookdb

test-container: compiler ## The tests in containers: Postgres of two versions, the Debian package under systemd, compose.yaml; takes Docker or root's rights
	@scripts/test-container

lint: ## Checks formatting, clippy's lints and, where they are installed, cargo-deny and shellcheck
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --all-targets --locked -- -D warnings
	$(CARGO) clippy --locked --manifest-path fuzz/Cargo.toml --no-default-features --target-dir target -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check bans licenses sources; \
	else echo "cargo-deny is not installed: deny.toml was not checked" >&2; fi
	@if command -v shellcheck >/dev/null; then shellcheck -x scripts/install-* scripts/fetch-* scripts/test-container systemd/debian/* tests/containers/*.sh deploy/compose/*.sh .ci/run; \
	else echo "shellcheck is not installed: the scripts were not checked" >&2; fi

fmt: ## Formats the code
	$(CARGO) fmt
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml

clean: ## Removes everything that was built or installed under target/
	$(CARGO) clean

ci: ## What continuous integration runs: lint, then the commands of the README
	.ci/run

compiler:
	@scripts/install-compiler

test-tools:
	@scripts/install-test-tools
