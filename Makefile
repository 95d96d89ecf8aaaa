# postback: a PostgreSQL extension (extension/) and its HTTP daemon (shim/).
#
# The first half needs nothing but make: it is what runs on a bare machine.
# The second half needs PGXS; the first calls it with BUILDING=1.

PG_CONFIG ?= pg_config

# Where the daemon and its systemd units are installed.
SBINDIR ?= /usr/local/sbin
UNITDIR ?= /usr/local/lib/systemd/system

# make run
PORT ?= 8080
DATA ?= .demo

# make check: empty for all, or any of unit regress isolation tap crash lint fuzz bench
TESTS ?=

# make soak: requests per number of connections, seconds of slow connections
REQUESTS ?= 1000000
DURATION ?= 60

# make fuzz: see tests/fuzz/run
TARGETS ?=
RUNS ?=
SECONDS ?=
SEED ?=
MINIMISE ?=

ifndef BUILDING

BUILD = $(MAKE) --no-print-directory BUILDING=1

.PHONY: default all install uninstall installcheck check crash run bench soak fuzz coverage valgrind docs upgrade-script clean help packages

default: all
	@echo "Built. 'make help' tells what else there is."

all installcheck:
	+@$(BUILD) $@

install uninstall: all
	+@$(BUILD) $@

run:
	@PORT='$(PORT)' DATA='$(DATA)' PG_CONFIG='$(PG_CONFIG)' exec bash tests/house/run

check:
	@TESTS='$(TESTS)' PG_CONFIG='$(PG_CONFIG)' exec bash tests/house/check

fuzz:
	@TARGETS='$(TARGETS)' RUNS='$(RUNS)' FUZZ_SECONDS='$(SECONDS)' SEED='$(SEED)' MINIMISE='$(MINIMISE)' exec bash tests/fuzz/run

coverage:
	@exec bash tests/fuzz/run coverage

valgrind:
	@ONLY='$(ONLY)' PG_CONFIG='$(PG_CONFIG)' exec bash tests/house/valgrind

# KILLS, SEED and RATE reach the tests through the environment.
crash: export KILLS := $(KILLS)
crash: export SEED := $(SEED)
crash: export RATE := $(RATE)
crash:
	@TESTS=crash PG_CONFIG='$(PG_CONFIG)' exec bash tests/house/check

bench:
	@PG_CONFIG='$(PG_CONFIG)' exec bash tests/bench/run

# The long versions of tests that make check has short; they judge times too.
soak:
	@TESTS=tap ONLY='$(or $(ONLY),030_hostile_http 035_faults 036_soak 037_disk_full)' JOBS=1 VERBOSE=1 STRICT=1 HOSTILE_SPLITS=all \
		REQUESTS='$(REQUESTS)' DURATION='$(DURATION)' PG_CONFIG='$(PG_CONFIG)' exec bash tests/house/check

docs:
	+@$(BUILD) programs
	@perl tests/lint/manual --fix

upgrade-script:
	@PG_CONFIG='$(PG_CONFIG)' exec bash tests/house/upgrade-script

packages:
	@PG_CONFIG='$(PG_CONFIG)' exec bash tests/house/install-packages build run check

clean:
	rm -rf .build postback.so postback--*.sql shim/postbackd

help:
	@echo 'make            build the extension and the daemon'
	@echo 'make install    install both (PG_CONFIG=$(PG_CONFIG) SBINDIR=$(SBINDIR) UNITDIR=$(UNITDIR) DESTDIR=$(DESTDIR))'
	@echo 'make run        a demonstration in a private cluster; Ctrl-C stops it (PORT=$(PORT) DATA=$(DATA))'
	@echo 'make check      run every test in private clusters (TESTS="unit regress isolation tap crash lint fuzz bench")'
	@echo 'make crash      kill -9 under load, all answers and deliveries checked (KILLS=25 SEED=time RATE=4000)'
	@echo 'make fuzz       fuzz what reads bytes from outside (TARGETS="url csv" RUNS=100000000 SECONDS=600 SEED=7)'
	@echo 'make coverage   lines of the core reached by unit tests and corpora; fails below 90 %'
	@echo 'make valgrind   the regression tests with every backend under valgrind (ONLY="money ulid"); about half an hour'
	@echo 'make bench      measure (BENCH=help tells how to choose rows)'
	@echo 'make soak       the long versions of the tests of faults, hostile and slow clients (REQUESTS=$(REQUESTS) DURATION=$(DURATION) seconds)'
	@echo 'make docs       make the tables of README.md anew from those of the code'
	@echo 'make packages   install the Debian packages that the above need, where missing'
	@echo 'make upgrade-script   the script from the last release to this version, as far as it can be made'
	@echo 'make clean      remove everything that was built'

else

POSTBACK_VERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" postback.control)

ifeq ($(shell command -v $(PG_CONFIG)),)
$(error $(PG_CONFIG) not found: install the development packages ('make packages' on Debian), or set PG_CONFIG)
endif

B = .build
CORE_SOURCES = $(sort $(wildcard extension/core/*.c))
CORE_OBJECTS = $(CORE_SOURCES:%.c=$(B)/%.o)
EXTENSION_OBJECTS = $(patsubst %.c,$(B)/%.o,$(sort $(wildcard extension/*.c)))
SHIM_OBJECTS = $(patsubst %.c,$(B)/%.o,$(sort $(wildcard shim/*.c)))
INSTALL_SOURCES = $(sort $(shell find extension/install -name '*.sql'))

# Unit tests: test_* of the core, shim_test_* of the daemon; each built plain and once more with sanitizers.
CORE_TESTS = $(patsubst tests/unit/%.c,%,$(sort $(wildcard tests/unit/test_*.c)))
SHIM_TESTS = $(patsubst tests/unit/%.c,%,$(sort $(wildcard tests/unit/shim_test_*.c)))
SHIM_TESTED = $(filter-out $(B)/shim/main.o,$(SHIM_OBJECTS))
sanitized = $(patsubst $(B)/%,$(B)/sanitized/%,$(1))

# Fuzzers, and the core's tests once more with clang's counters for coverage.
FUZZERS = $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZED_OBJECTS = $(CORE_OBJECTS) $(B)/shim/framing.o $(B)/shim/forwarded.o $(B)/shim/options.o $(B)/shim/log.o
fuzzed = $(patsubst $(B)/%,$(B)/fuzzed/%,$(1))
covered = $(patsubst $(B)/%,$(B)/covered/%,$(1))

UNITS = postbackd-serve.service postbackd-send.service

MODULE_big = postback
EXTENSION = postback
DATA_built = postback--$(POSTBACK_VERSION).sql
OBJS = $(EXTENSION_OBJECTS) $(CORE_OBJECTS)
PG_CPPFLAGS = -DPOSTBACK_VERSION='"$(POSTBACK_VERSION)"'
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter

# No bitcode: the functions here gain nothing from being inlined.
override with_llvm := no
override DATA := $(wildcard extension/upgrade/*.sql)

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Our own flags for what knows nothing of PostgreSQL's headers.
OWN_CFLAGS = -std=c11 -Wall -Wextra -Werror -Wmissing-prototypes -O2 -g -fstack-protector-strong
OWN_CPPFLAGS = -Iextension/core
SANITIZE = -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FUZZ_CC = clang
FUZZ = -O2 -fsanitize=fuzzer,address,undefined -fno-sanitize-coverage=trace-cmp -fno-sanitize-recover=all -fno-omit-frame-pointer
COVER = -O1 -fprofile-instr-generate -fcoverage-mapping
SHIM_PACKAGES = libmicrohttpd libpq libcurl libcares libcrypto
SHIM_CFLAGS := $(shell pkg-config --cflags $(SHIM_PACKAGES))
SHIM_LIBS := $(shell pkg-config --libs $(SHIM_PACKAGES))
DEPEND = -MMD -MP

# Programs that the tests run.
PROGRAM_SOURCES = $(sort $(wildcard tests/oracle/*.c tests/lint/*.c)) tests/bench/load.c tests/bench/receiver.c tests/crash/client.c
PROGRAMS = $(patsubst %.c,$(B)/programs/%,$(notdir $(PROGRAM_SOURCES)))
BROKEN = $(B)/programs/postbackd-EARLY_ANSWER $(B)/programs/postbackd-EARLY_SETTLE

.PHONY: programs
programs: $(PROGRAMS) $(BROKEN)

.PHONY: unit
unit: $(foreach test,$(CORE_TESTS) $(SHIM_TESTS),$(B)/unit/$(test) $(B)/sanitized/$(test))

.PHONY: fuzzers covered
fuzzers: $(FUZZERS:%=$(B)/fuzz/%)
covered: $(FUZZERS:%=$(B)/covered/fuzz/%) $(CORE_TESTS:%=$(B)/covered/unit/%)

all: shim/postbackd

# Everything is built again when the flags, the server or the version change.
FLAGS = $(CC) $(POSTBACK_VERSION) $(shell $(PG_CONFIG) --version) $(CPPFLAGS) $(CFLAGS) $(OWN_CFLAGS) $(SANITIZE) $(FUZZ) $(COVER) $(SHIM_CFLAGS)

$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

.PHONY: FORCE

# V=1 shows whole commands.
Q = $(if $(V),,@)
say = @$(if $(V),:,echo '  ')

# Objects of the core are shared by the extension and the daemon.
CORE_COMPILE = $(OWN_CFLAGS) $(OWN_CPPFLAGS) $(DEPEND) -fPIC -fvisibility=hidden
SHIM_COMPILE = $(OWN_CFLAGS) -D_GNU_SOURCE $(PG_CPPFLAGS) $(OWN_CPPFLAGS) $(SHIM_CFLAGS) $(DEPEND)

$(CORE_OBJECTS): $(B)/%.o: %.c $(B)/flags Makefile
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(CORE_COMPILE) -c -o $@ $<

$(EXTENSION_OBJECTS): $(B)/%.o: %.c $(B)/flags Makefile
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(CFLAGS) $(OWN_CPPFLAGS) $(CPPFLAGS) $(DEPEND) -c -o $@ $<

$(SHIM_OBJECTS): $(B)/%.o: %.c $(B)/flags Makefile
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(SHIM_COMPILE) -D_FORTIFY_SOURCE=2 -c -o $@ $<

$(call sanitized,$(CORE_OBJECTS)): $(B)/sanitized/%.o: %.c $(B)/flags Makefile
	@mkdir -p $(@D)
	$(say) CC $< with sanitizers
	$(Q)$(CC) $(CORE_COMPILE) $(SANITIZE) -c -o $@ $<

$(call sanitized,$(SHIM_OBJECTS)): $(B)/sanitized/%.o: %.c $(B)/flags Makefile
	@mkdir -p $(@D)
	$(say) CC $< with sanitizers
	$(Q)$(CC) $(SHIM_COMPILE) $(SANITIZE) -c -o $@ $<

# The daemon's flags do for the core too.
$(call fuzzed,$(FUZZED_OBJECTS)): $(B)/fuzzed/%.o: %.c $(B)/flags Makefile
	@mkdir -p $(@D)
	$(say) FUZZ_CC $<
	$(Q)$(FUZZ_CC) $(SHIM_COMPILE) $(FUZZ) -c -o $@ $<

$(call covered,$(FUZZED_OBJECTS)): $(B)/covered/%.o: %.c $(B)/flags Makefile
	@mkdir -p $(@D)
	$(say) FUZZ_CC $< with counters
	$(Q)$(FUZZ_CC) $(SHIM_COMPILE) $(COVER) -c -o $@ $<

shim/postbackd: $(SHIM_OBJECTS) $(CORE_OBJECTS)
	$(say) LD $@
	$(Q)$(CC) -o $@ $(SHIM_OBJECTS) $(CORE_OBJECTS) -Wl,-z,relro -Wl,-z,now -Wl,--as-needed $(SHIM_LIBS)

# Daemons that break a promise on purpose, which the crash test has to notice.
EARLY_ANSWER = db
EARLY_SETTLE = send
$(BROKEN): $(B)/programs/postbackd-%: $(SHIM_OBJECTS) $(CORE_OBJECTS)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(SHIM_COMPILE) -DPOSTBACK_TEST_$* -o $@ shim/$($*).c $(filter-out $(B)/shim/$($*).o,$(SHIM_OBJECTS)) \
		$(CORE_OBJECTS) -Wl,--as-needed $(SHIM_LIBS)

# The install script: one concept per file, in the order of their names.
$(DATA_built): $(INSTALL_SOURCES) $(shell find extension/install -type d) postback.control Makefile
	@{ printf '%s\n\n' '/* postback $(POSTBACK_VERSION), made from extension/install */' \
		'\echo Use "CREATE EXTENSION postback" to load this file. \quit'; \
	   for f in $(INSTALL_SOURCES); do cat $$f && echo || exit 1; done; } > $@.new && mv $@.new $@
	$(say) MADE $@

# $(call test-program,PROGRAMS,DIRECTORY,OBJECTS,FLAGS,LIBRARIES,SOURCES,COMPILER)
define test-program
$(1): $(B)/$(2)/%: $(or $(6),tests/unit/)%.c $(3) $(B)/flags Makefile
	@mkdir -p $$(@D)
	$$(say) $(if $(7),FUZZ_)CC $$@
	$$(Q)$(or $(7),$(CC)) $(OWN_CFLAGS) $(4) -D_GNU_SOURCE $(OWN_CPPFLAGS) -Ishim $(SHIM_CFLAGS) $(DEPEND) -o $$@ $$< $(3) $(5)
endef

$(eval $(call test-program,$(CORE_TESTS:%=$(B)/unit/%),unit,$(CORE_OBJECTS),,-lcmocka))
$(eval $(call test-program,$(SHIM_TESTS:%=$(B)/unit/%),unit,$(SHIM_TESTED) $(CORE_OBJECTS),,$(SHIM_LIBS) -lcmocka))
$(eval $(call test-program,$(CORE_TESTS:%=$(B)/sanitized/%),sanitized,$(call sanitized,$(CORE_OBJECTS)),$(SANITIZE),-lcmocka))
$(eval $(call test-program,$(SHIM_TESTS:%=$(B)/sanitized/%),sanitized,$(call sanitized,$(SHIM_TESTED) $(CORE_OBJECTS)),$(SANITIZE),$(SHIM_LIBS) -lcmocka))
$(eval $(call test-program,$(FUZZERS:%=$(B)/fuzz/%),fuzz,$(call fuzzed,$(FUZZED_OBJECTS)),$(FUZZ),$(SHIM_LIBS),tests/fuzz/fuzz_,$(FUZZ_CC)))
$(eval $(call test-program,$(FUZZERS:%=$(B)/covered/fuzz/%),covered/fuzz,$(call covered,$(FUZZED_OBJECTS)),$(COVER) -fsanitize=fuzzer,$(SHIM_LIBS),tests/fuzz/fuzz_,$(FUZZ_CC)))
$(eval $(call test-program,$(CORE_TESTS:%=$(B)/covered/unit/%),covered/unit,$(call covered,$(CORE_OBJECTS)),$(COVER),-lcmocka,,$(FUZZ_CC)))

vpath %.c $(sort $(dir $(PROGRAM_SOURCES)))
$(PROGRAMS): $(B)/programs/%: %.c $(CORE_OBJECTS) $(B)/flags Makefile
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(OWN_CFLAGS) $(OWN_CPPFLAGS) $(DEPEND) -o $@ $< $(CORE_OBJECTS)

install: install-daemon
uninstall: uninstall-daemon

.PHONY: install-daemon uninstall-daemon
install-daemon: shim/postbackd
	$(MKDIR_P) '$(DESTDIR)$(SBINDIR)' '$(DESTDIR)$(UNITDIR)'
	$(INSTALL_PROGRAM) shim/postbackd '$(DESTDIR)$(SBINDIR)/postbackd'
	for unit in $(UNITS); do \
		sed 's|@SBINDIR@|$(SBINDIR)|g' shim/$$unit.in > '$(DESTDIR)$(UNITDIR)'/$$unit && \
		chmod 644 '$(DESTDIR)$(UNITDIR)'/$$unit || exit 1; \
	done

uninstall-daemon:
	rm -f '$(DESTDIR)$(SBINDIR)/postbackd' $(UNITS:%='$(DESTDIR)$(UNITDIR)'/%)

-include $(shell test -d $(B) && find $(B) -name '*.d')

endif
