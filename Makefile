# plumbago: build, test, run, install. `make help` lists the targets.
#
# Variants live in folders of their own and never mix:
#   make                          build/                    release
#   make DEBUG=1                  build-debug/              no optimisation, dear asserts
#   make SAN=address,undefined    build-address-undefined/  AddressSanitizer and UBSan
#   make SAN=thread               build-thread/             ThreadSanitizer
#   make CC=clang                 build-clang/              another compiler
#   make WERROR=1                 warnings are errors (development and CI)

VERSION := 0.1.0

CC      ?= cc
ifeq ($(origin CC),default)
CC      := gcc
endif
SAN     ?=
DEBUG   ?= 0
WERROR  ?= 0
PREFIX  ?= /usr/local
DESTDIR ?=

comma := ,
variant := $(if $(filter-out gcc cc,$(notdir $(CC))),-$(notdir $(CC)))$(if $(filter 1,$(DEBUG)),-debug)$(if $(SAN),-$(subst $(comma),-,$(SAN)))
BUILD := build$(variant)

# What the build needs, as pkg-config names (and what has none), and the Debian packages that bring them.
LIBS     := libevent libevent_pthreads liburcu-qsbr libpcre2-8 jansson zlib libxxhash
PLAINLIBS := -lroaring
TESTLIBS := criterion
BUILD_PACKAGES := gcc make pkg-config libc6-dev libevent-dev libjemalloc-dev liburcu-dev libpcre2-dev \
                  libjansson-dev libroaring-dev zlib1g-dev libxxhash-dev tzdata
TEST_PACKAGES  := libcriterion-dev python3 clang libclang-rt-14-dev curl collectd-core carbon-c-relay xz-utils \
                  e2fsprogs util-linux procps

# ---- before anything else: the packages, when one is missing (skipped where dpkg is not) ----
missing = $(shell command -v dpkg-query >/dev/null 2>&1 && for p in $(1); do \
            dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done)
define ensure
@need="$(call missing,$(1))"; if [ -n "$$need" ]; then \
  echo "installing $$need"; sudo=$$( [ "$$(id -u)" = 0 ] || echo sudo ); \
  $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$need >/dev/null; fi
endef

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
            -Wpointer-arith -Wvla -Wformat=2 -Wundef $(if $(filter 1,$(WERROR)),-Werror)
OPTIMISE := $(if $(filter 1,$(DEBUG)),-O0 -DPLUMBAGO_DEBUG,$(if $(SAN),-O1 -DPLUMBAGO_DEBUG,-O2))
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
CFLAGS_ALL  = -std=gnu11 -g -pthread $(OPTIMISE) $(SANFLAGS) $(WARNINGS) -I. -D_GNU_SOURCE \
              -DPLUMBAGO_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(LIBS)) $(CFLAGS)
LDFLAGS_ALL = -pthread $(SANFLAGS) $(LDFLAGS)
# jemalloc is the allocator; the sanitizers bring their own.
LDLIBS_ALL  = $(shell pkg-config --libs $(LIBS)) $(PLAINLIBS) $(if $(SAN),,-ljemalloc) -lm

layer = $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out $(1)/main.c,$(sort $(wildcard $(1)/*.c))))
BASE    := $(call layer,base)
STORAGE := $(call layer,storage)
QUERY   := $(call layer,query)
SERVER  := $(call layer,server)
CORE    := $(BASE) $(STORAGE) $(QUERY) $(SERVER)

UNIT  := $(patsubst tests/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/unit/test_*.c)))
MODEL := $(patsubst tests/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/model/test_*.c)))
CRASH := $(patsubst tests/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/crash/test_*.c)))
TESTHELP := $(patsubst %.c,$(BUILD)/obj/%.o,$(sort $(wildcard tests/help/*.c)))
TESTBINS := $(UNIT) $(MODEL) $(CRASH)
BENCHBINS := $(patsubst bench/%.c,$(BUILD)/bench/%,$(sort $(wildcard bench/*.c bench/micro/*.c)))

.PHONY: all help run test unit bench install clean format packages test-packages binaries tests benches

all: packages
	@$(MAKE) --no-print-directory binaries

help:
	@echo "make            build $(BUILD)/plumbago and $(BUILD)/plumbagoctl"
	@echo "make run        build and start the server (data in ./data, ports 2003 and 8080 on loopback)"
	@echo "make test       build everything in every variant and pass all tests"
	@echo "make unit       only the Criterion tests of this variant (T=name: only tests/*/test_name*)"
	@echo "make bench      measure; see bench/README.md"
	@echo "make install    into DESTDIR$(PREFIX)"
	@echo "make format     clang-format all C files"

packages:
	$(call ensure,$(BUILD_PACKAGES))

test-packages:
	$(call ensure,$(BUILD_PACKAGES) $(TEST_PACKAGES))

binaries: $(BUILD)/plumbago

tests: $(TESTBINS)

benches: $(BENCHBINS)

run: all
	$(BUILD)/plumbago --data-dir ./data

test: test-packages
	@tests/run_all

# T=grid runs the test files whose names begin with test_grid.
unit: $(filter $(BUILD)/tests/%/test_$(T)%,$(TESTBINS))
	@set -e; for t in $^; do echo "== $$t"; $$t; done

bench: all
	@$(MAKE) --no-print-directory benches
	@bench/run

# ---- compile and link ----
$(BUILD)/plumbago: $(BUILD)/obj/server/main.o $(CORE) $(BUILD)/flags
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(LDLIBS_ALL)

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(TESTBINS): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(TESTHELP) $(CORE) $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(shell pkg-config --libs $(TESTLIBS)) $(LDLIBS_ALL)

$(BENCHBINS): $(BUILD)/bench/%: $(BUILD)/obj/bench/%.o $(CORE) $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(LDLIBS_ALL)

# A changed flag rebuilds everything of the variant.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDLIBS_ALL)' | cmp -s - $@ || \
	  echo '$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDLIBS_ALL)' > $@
FORCE:

install: all
	install -D -m 755 $(BUILD)/plumbago $(DESTDIR)$(PREFIX)/bin/plumbago
	install -D -m 644 server/plumbago.conf $(DESTDIR)$(PREFIX)/share/doc/plumbago/plumbago.conf
	install -D -m 644 README.md $(DESTDIR)$(PREFIX)/share/doc/plumbago/README.md

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf build build-*

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
