# SPDX-License-Identifier: MIT
# make            build/whystall and build/libwhystall.so
# make demo       installs what is missing, builds, shows the verdict on a real FastAPI app
# make check      installs what is missing, builds, runs every test that is quick (.ci/run does the same)
# make check-all  and the long ones
# make accuracy   the labelled programs, on every Python version present
# make bench      what whystall costs, as paired ratios
# make fuzz       each reader of what is not ours on hostile bytes, a minute each
# make install    into PREFIX (below DESTDIR); make uninstall takes it out again
# make deb        a Debian package; make wheel, one for pip (both in build/)
# make man        puts the commands and options into doc/whystall.1
# make deps, unit, lint, format, clean
# make V=1        shows the commands

BUILD  ?= build
ifeq ($(origin CC),default)
CC      = gcc
endif
PREFIX ?= /usr/local
# Debian's own: it has the packages that tools/install-deps.sh installs
PYTHON ?= /usr/bin/python3
V      ?=
Q       = $(if $(V),,@)
say     = $(if $(V),,@printf '  %-5s %s\n' '$(1)' '$(patsubst $(BUILD)/%,%,$(2))')
comma  := ,

CFLAGS   ?= -O2 -g
WARN      = -Wall -Wextra -Werror
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -I. $(WARN) $(CFLAGS) -MMD -MP
LIBS      = -lbpf -ldw -lelf -lz -lsqlite3 -ljansson -liberty -lpthread -lm

CLI_SRC  := $(wildcard cli/*.c cli/*/*.c)
# whether a program takes the shim is asked on both sides
CLI_OBJ  := $(CLI_SRC:%.c=$(BUILD)/%.o) $(BUILD)/preload/image.o $(BUILD)/preload/text.o
SHIM_SRC := $(wildcard preload/*.c)
SHIM_OBJ := $(SHIM_SRC:%.c=$(BUILD)/%.o)
UNIT     := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/*_test.c))
C_FILES  := $(wildcard probe/*.[ch] record/*.h preload/*.[ch] cli/*.[ch] cli/*/*.[ch] tests/*/*.[ch])

# Goals that may install what they need; any other only says what is missing.
GROUPS := build $(if $(filter demo check check-all accuracy bench,$(MAKECMDGOALS)),demo) \
	$(if $(filter check check-all accuracy fuzz,$(MAKECMDGOALS)),check) $(if $(filter bench,$(MAKECMDGOALS)),bench) \
	$(if $(filter check check-all wheel,$(MAKECMDGOALS)),wheel)
AUTO   := $(filter deps demo check check-all accuracy bench fuzz wheel,$(MAKECMDGOALS))

.DELETE_ON_ERROR:
.PHONY: all deps unit unit-build demo check check-all accuracy bench fuzz fuzz-build lint format install uninstall deb wheel static man clean
all: $(BUILD)/whystall $(BUILD)/libwhystall.so

$(BUILD)/whystall: $(CLI_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(CLI_OBJ) $(LIBS)

# Against libc alone: nothing else may be needed, and _r_debug is to be found at run time (preload/link.c).
# Its functions call each other directly: where the program itself loads it, others of the names come before them.
$(BUILD)/libwhystall.so: $(SHIM_OBJ) preload/shim.map
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -nostdlib -Wl,-soname,libwhystall.so -Wl,-Bsymbolic-functions -Wl,-z,now -Wl,-z,noexecstack,-z,defs \
		-Wl,--version-script=preload/shim.map -o $@ $(SHIM_OBJ) -l:libc.so.6

$(BUILD)/preload/%.o: preload/%.c | $(BUILD)/.headers
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -fPIC -fvisibility=hidden -ftls-model=initial-exec -fomit-frame-pointer -fno-stack-protector -U_FORTIFY_SOURCE -c -o $@ $<

$(BUILD)/%.o: %.c | $(BUILD)/.headers
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# The names of the system calls by number, as the kernel's own header has them.
$(BUILD)/syscalls.inc: | $(BUILD)/.headers
	$(Q)echo '#include <asm/unistd_64.h>' | $(CC) -E -dM -x c - | \
		sed -n 's/^#define __NR_\([a-z0-9_]*\) \([0-9]*\)$$/[\2] = "\1",/p' > $@
$(BUILD)/cli/sample.o: $(BUILD)/syscalls.inc
$(BUILD)/cli/sample.o: ALL_CFLAGS += -I$(BUILD)

# The probe, for the kernel's BPF machine: it is carried in the program (cli/probe.c). Nothing of this machine's
# kernel goes into it.
CLANG ?= clang
$(BUILD)/probe.bpf.o: $(wildcard probe/*.[ch]) record/arena.h | $(BUILD)/.headers
	$(call say,BPF,$@)
	$(Q)$(CLANG) -target bpf -mcpu=v3 -O2 -g -ffreestanding -D__TARGET_ARCH_x86 -I/usr/include/$(shell $(CC) -print-multiarch) \
		$(WARN) -Wno-unused-parameter -Wno-missing-field-initializers -c -o $@ probe/probe.bpf.c
$(BUILD)/cli/probe.o: $(BUILD)/probe.bpf.o
$(BUILD)/cli/probe.o: ALL_CFLAGS += -Wa,-I$(BUILD)

$(BUILD)/cli/report_schema.o: doc/report.schema.json
$(BUILD)/cli/dump_json.o: doc/dump.schema.json
$(BUILD)/cli/doctor_text.o: doc/doctor.schema.json

# A missing compiler or header is told before the first error message, with the line that installs it.
HEADERS := bpf/libbpf.h elfutils/libdwfl.h gelf.h sqlite3.h jansson.h libiberty/demangle.h
$(BUILD)/.headers: | $(if $(AUTO),deps)
	@mkdir -p $(BUILD)
	@printf '#include <%s>\n' stddef.h stdio.h $(HEADERS) | $(CC) -fsyntax-only -x c - 2>$@.log || { \
		grep -hE 'No such file|not found' $@.log >&2; \
		echo "whystall needs packages that are not here:" >&2; \
		tools/install-deps.sh --say build | sed 's/^/    /' >&2; exit 1; }
	@mv $@.log $@

deps:
	@tools/install-deps.sh $(GROUPS)

# unit tests: tests/unit/NAME_test.c against everything but main
$(BUILD)/tests/unit/%_test: tests/unit/%_test.c $(filter-out $(BUILD)/cli/main.o,$(CLI_OBJ))
	@mkdir -p $(@D)
	$(call say,TEST,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $(filter-out %.h,$^) $(LIBS) -lcmocka
# what the cases run to see native stacks and Python's
DUMPS := $(BUILD)/tests/prog/native_dump $(BUILD)/tests/prog/pystack_dump
$(DUMPS): $(BUILD)/%: %.c $(filter-out $(BUILD)/cli/main.o,$(CLI_OBJ))
	@mkdir -p $(@D)
	$(call say,TEST,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $(filter-out %.h,$^) $(LIBS)
unit-build: $(UNIT) $(DUMPS)
unit: unit-build
	@set -e; for t in $(UNIT); do $$t; done

# fuzzers: tests/fuzz/NAME_fuzz.c against the same, everything built for it by clang
FUZZ := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(wildcard tests/fuzz/*_fuzz.c))
$(BUILD)/tests/fuzz/%_fuzz: tests/fuzz/%_fuzz.c tests/fuzz/input.h $(filter-out $(BUILD)/cli/main.o,$(CLI_OBJ))
	@mkdir -p $(@D)
	$(call say,TEST,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -DLIBFUZZER -fsanitize=fuzzer $(LDFLAGS) -o $@ $(filter-out %.h,$^) $(LIBS)
fuzz-build: $(FUZZ)
fuzz: deps all
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CC=clang \
		CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined" \
		fuzz-build
	@$(PYTHON) tests/fuzz/fuzz.py --build $(BUILD)/fuzz --whystall $(BUILD)/whystall $(ARGS)

# What the accuracy and bench programs load or run; no part of whystall.
$(BUILD)/tests/%.so: tests/%.c | $(BUILD)/.headers
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) -O2 -g -fPIC -shared -o $@ $< -lpthread
$(BUILD)/tests/bench/lock $(BUILD)/tests/bench/waits $(BUILD)/tests/bench/pause: $(BUILD)/%: %.c | $(BUILD)/.headers
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) -O2 -g -o $@ $< -lpthread
FIXTURES := $(BUILD)/tests/accuracy/hold.so $(BUILD)/tests/bench/lock $(BUILD)/tests/bench/waits $(BUILD)/tests/bench/pause

demo: deps all
	@$(PYTHON) demo/demo.py --build $(BUILD)
accuracy: deps all $(FIXTURES)
	@$(PYTHON) tests/accuracy/score.py --build $(BUILD) $(ARGS)
	@$(PYTHON) tests/accuracy/score.py --build $(BUILD) --backend ebpf $(ARGS)
bench: deps all $(FIXTURES)
	@$(PYTHON) tests/bench/bench.py --build $(BUILD) $(ARGS)
check: deps
	@$(PYTHON) tests/check.py --build $(BUILD) --make "$(MAKE)"
check-all: deps
	@$(PYTHON) tests/check.py --build $(BUILD) --make "$(MAKE)" --all

# cppcheck: (ctu)uninitvar takes what a function fills in for something that it reads, comparePointers knows no linker sections
lint: $(BUILD)/syscalls.inc
	@clang-format --dry-run -Werror $(C_FILES)
	@cppcheck --quiet --std=c11 --inline-suppr --error-exitcode=1 -I. -D_GNU_SOURCE -D__x86_64__ \
		--enable=warning,portability --suppress=missingIncludeSystem --suppress=unknownMacro \
		--suppress=allocaCalled --suppress=ctuuninitvar --suppress=uninitvar --suppress=comparePointers $(CLI_SRC) $(SHIM_SRC)
	@printf '%s\n' $(CLI_SRC) $(SHIM_SRC) | xargs -P 2 -n 6 sh -c 'clang-tidy --quiet "$$@" -- -std=gnu11 \
		-D_GNU_SOURCE -I. -I$(BUILD) -ftls-model=initial-exec 2>/dev/null' tidy
format:
	@clang-format -i $(C_FILES)

# What is installed: mode, file, and its place below PREFIX.
COMPLETION := $(BUILD)/completion/whystall $(BUILD)/completion/_whystall
BASH_PLACE := share/bash-completion/completions/whystall
ZSH_PLACE  := share/zsh/site-functions/_whystall
INSTALLED  := 755:$(BUILD)/whystall:bin/whystall 755:$(BUILD)/libwhystall.so:lib/whystall/libwhystall.so \
	644:doc/whystall.1:share/man/man1/whystall.1 644:$(BUILD)/completion/whystall:$(BASH_PLACE) \
	644:$(BUILD)/completion/_whystall:$(ZSH_PLACE)

$(BUILD)/completion/%: $(BUILD)/whystall
	@mkdir -p $(@D)
	$(Q)$(BUILD)/whystall help --completion $(if $(filter _%,$*),zsh,bash) >$@

install: all $(COMPLETION)
	$(Q)set -e; for row in $(INSTALLED); do IFS=:; set -- $$row; unset IFS; \
		echo "  $(DESTDIR)$(PREFIX)/$$3"; install -D -m $$1 "$$2" "$(DESTDIR)$(PREFIX)/$$3"; done
uninstall:
	$(Q)set -e; for row in $(INSTALLED); do rm -f "$(DESTDIR)$(PREFIX)/$${row##*:}"; done; \
		rmdir "$(DESTDIR)$(PREFIX)/lib/whystall" 2>/dev/null || true

# The same program in one file that needs no library of the machine it runs on, for the wheel.
static: $(BUILD)/static/whystall
$(BUILD)/static/whystall: $(CLI_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -static -o $@ $(CLI_OBJ) $(LIBS) -llzma -lbz2 -lzstd 2>$@.log || { cat $@.log >&2; exit 1; }

man: $(BUILD)/whystall
	@$(BUILD)/whystall help --man >$(BUILD)/man.part
	@sed -i -e '/^\.\\" { whystall help --man$$/,/^\.\\" }$$/{//!d}' -e '/^\.\\" { whystall help --man$$/r $(BUILD)/man.part' doc/whystall.1

deb: all $(COMPLETION)
	@tools/deb.sh $(BUILD)
wheel: deps
	@$(PYTHON) python/backend.py $(BUILD)

clean:
	rm -rf $(BUILD)

-include $(CLI_OBJ:.o=.d) $(SHIM_OBJ:.o=.d)
